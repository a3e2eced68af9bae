/* Thrift's compact protocol, as much as parquet's headers need: fields, integers, binaries, lists, and skipping the
 * rest. Every read is held against the end of the bytes; the first fault makes all later reads yield nothing, so that
 * a caller checks once at its end. */
#include "data/parquet.h"

static uint8_t byte_of(thrift *t)
{
    if (t->failed || t->at == t->end) {
        t->failed = true;
        return 0;
    }
    return *t->at++;
}

static uint64_t varint(thrift *t)
{
    uint64_t x = 0;
    int shift;

    for (shift = 0; shift < 64; shift += 7) {
        uint8_t b = byte_of(t);

        x |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return x;
    }
    t->failed = true;
    return 0;
}

int64_t thrift_int(thrift *t)
{
    uint64_t x = varint(t);

    return (int64_t)(x >> 1 ^ -(x & 1)); /* zigzag */
}

thrift_type thrift_field(thrift *t, int *id)
{
    uint8_t head = byte_of(t);
    int type = head & 15;

    if (t->failed || type == THRIFT_STOP)
        return THRIFT_STOP;
    if (type > THRIFT_STRUCT)
        t->failed = true;
    *id = head >> 4 ? *id + (head >> 4) : (int)(int16_t)thrift_int(t);
    if (*id < 0 || *id > INT16_MAX)
        t->failed = true;
    return t->failed ? THRIFT_STOP : (thrift_type)type;
}

size_t thrift_list(thrift *t, thrift_type *element)
{
    uint8_t head = byte_of(t);
    uint64_t n = head >> 4;

    *element = (thrift_type)(head & 15);
    if (n == 15)
        n = varint(t);
    /* An element has at least one byte, so a list is never longer than what is left. */
    if (t->failed || n > (uint64_t)(t->end - t->at) || *element == THRIFT_STOP || *element > THRIFT_STRUCT)
        t->failed = true;
    return t->failed ? 0 : (size_t)n;
}

size_t thrift_binary(thrift *t, const uint8_t **out)
{
    uint64_t n = varint(t);

    if (t->failed || n > (uint64_t)(t->end - t->at)) {
        t->failed = true;
        n = 0;
    }
    *out = t->at;
    t->at += n;
    return (size_t)n;
}

void thrift_skip(thrift *t, thrift_type type, int depth)
{
    thrift_type element, value;
    const uint8_t *bytes;
    uint64_t n, i;
    int id = 0;

    if (depth > PARQUET_DEPTH)
        t->failed = true;
    if (t->failed)
        return;
    switch (type) {
    case THRIFT_STOP:
    case THRIFT_TRUE:
    case THRIFT_FALSE:
        break;
    case THRIFT_BYTE:
        byte_of(t);
        break;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64:
        varint(t);
        break;
    case THRIFT_DOUBLE:
        if (t->end - t->at < 8)
            t->failed = true;
        else
            t->at += 8;
        break;
    case THRIFT_BINARY:
        thrift_binary(t, &bytes);
        break;
    case THRIFT_LIST:
    case THRIFT_SET:
        n = thrift_list(t, &element);
        for (i = 0; i < n && !t->failed; i++)
            if (element == THRIFT_TRUE || element == THRIFT_FALSE)
                byte_of(t); /* inside a list, a boolean has a byte of its own */
            else
                thrift_skip(t, element, depth + 1);
        break;
    case THRIFT_MAP:
        n = varint(t);
        if (!n)
            break;
        value = (thrift_type)byte_of(t);
        element = (thrift_type)(value >> 4);
        value &= 15;
        if (n > (uint64_t)(t->end - t->at) || element == THRIFT_STOP || value == THRIFT_STOP ||
            element > THRIFT_STRUCT || value > THRIFT_STRUCT)
            t->failed = true;
        for (i = 0; i < n && !t->failed; i++) {
            thrift_skip(t, element == THRIFT_TRUE || element == THRIFT_FALSE ? THRIFT_BYTE : element,
                        depth + 1);
            thrift_skip(t, value == THRIFT_TRUE || value == THRIFT_FALSE ? THRIFT_BYTE : value, depth + 1);
        }
        break;
    case THRIFT_STRUCT:
        while ((element = thrift_field(t, &id)) != THRIFT_STOP)
            thrift_skip(t, element, depth + 1);
        break;
    }
}
