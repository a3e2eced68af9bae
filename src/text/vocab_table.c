/* The vocabulary: see vocab_table.h. */
#include <string.h>

#include "text/vocab_table.h"

#define PROBES 4096  /* longer chains mean a file made to defeat the hash */
#define N_SHIFTED 68 /* bytes whose character is not themselves: U+0100 .. U+0143 */

/* Byte of U+0100 + i: the bytes that are no printable Latin-1 character, in increasing order. */
static unsigned shifted_byte(uint32_t i)
{
    return i < 33 ? i : i < 67 ? 0x7f + (i - 33) : 0xad;
}

uint32_t hone_char_of_byte(unsigned byte)
{
    if (byte <= 0x20)
        return 0x100 + byte;
    if (byte >= 0x7f && byte <= 0xa0)
        return 0x100 + 33 + (byte - 0x7f);
    return byte == 0xad ? 0x143 : byte;
}

int hone_byte_of_char(uint32_t c)
{
    if (c < 0x100)
        return hone_char_of_byte(c) == c ? (int)c : -1;
    return c < 0x100 + N_SHIFTED ? (int)shifted_byte(c - 0x100) : -1;
}

size_t hone_vocab_unspell(const hone_vocab *v, char *out, const char *spelling, size_t len, bool *raw)
{
    const unsigned char *s = (const unsigned char *)spelling;
    size_t i = 0, n = 0;

    *raw = false;
    if (v->verbatim) {
        memcpy(out, spelling, len);
        return len;
    }
    while (i < len) {
        if (s[i] > 0x20 && s[i] < 0x7f) {
            out[n++] = (char)s[i++];
        } else if (s[i] >= 0xc2 && s[i] <= 0xc5 && i + 1 < len) {
            int byte = hone_byte_of_char((s[i] & 0x1fu) << 6 | (s[i + 1] & 0x3fu));

            if (byte < 0)
                break;
            out[n++] = (char)byte;
            i += 2;
        } else {
            break;
        }
    }
    if (i == len)
        return n;
    *raw = true;
    memcpy(out, spelling, len);
    return len;
}

void hone_vocab_spell(const hone_vocab *v, int32_t id, hone_buf *out)
{
    const hone_vocab_token *t = &v->token[id];
    uint32_t i;
    char utf8[4];

    if (t->raw || v->verbatim) {
        hone_buf_add(out, v->bytes + t->at, t->len);
        return;
    }
    for (i = 0; i < t->len; i++) {
        unsigned byte = (unsigned char)v->bytes[t->at + i];

        hone_buf_add(out, utf8, hone_utf8_put(utf8, (int32_t)hone_char_of_byte(byte)));
    }
}

void hone_vocab_clear(hone_vocab *v)
{
    hone_free(v->bytes);
    hone_free(v->token);
    hone_free(v->slot);
    memset(v, 0, sizeof *v);
}

static bool grow_tokens(hone_vocab *v, uint32_t need)
{
    uint32_t capacity = HONE_MAX(need, v->capacity * 2);
    hone_vocab_token *token;

    if (need <= v->capacity)
        return true;
    capacity = HONE_MAX(HONE_MIN(capacity, HONE_VOCAB_MAX), 1024);
    token = hone_realloc_array(v->token, capacity, sizeof *token);
    if (!token)
        return false;
    memset(token + v->capacity, 0, (capacity - v->capacity) * sizeof *token);
    v->token = token;
    v->capacity = capacity;
    return true;
}

static bool well_formed(const char *s, size_t n)
{
    size_t i = 0;
    int32_t c = 0;

    while (i < n && c >= 0)
        i += hone_utf8_get(s + i, n - i, &c);
    return c >= 0;
}

static int add_token(hone_vocab *v, int64_t id, const char *text, size_t len, bool spelled, hone_error *err)
{
    hone_vocab_token *t;

    if (id < 0 || id >= HONE_VOCAB_MAX)
        return hone_error_set(err, HONE_ELIMIT, "token id %lld is not within 0..%u", (long long)id,
                              HONE_VOCAB_MAX - 1);
    if (v->verbatim && !well_formed(text, len))
        return hone_error_set(err, HONE_EFORMAT, "token %lld is no UTF-8", (long long)id);
    if (len > UINT32_MAX - v->n_bytes)
        return hone_error_set(err, HONE_ELIMIT, "the vocabulary holds more than 4 GiB of text");
    if (!grow_tokens(v, (uint32_t)id + 1))
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
    if (!v->bytes || v->n_bytes + len > v->bytes_capacity) { /* an empty first token needs an address too */
        size_t capacity = HONE_MAX(HONE_MAX(v->bytes_capacity * 2, v->n_bytes + len), (size_t)1 << 16);
        char *bytes = hone_realloc(v->bytes, capacity);

        if (!bytes)
            return hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
        v->bytes = bytes;
        v->bytes_capacity = capacity;
    }
    t = &v->token[id];
    if (t->used)
        return hone_error_set(err, HONE_EFORMAT, "two tokens have the id %lld", (long long)id);
    t->used = true;
    t->at = (uint32_t)v->n_bytes;
    if (spelled) {
        t->len = (uint32_t)hone_vocab_unspell(v, v->bytes + v->n_bytes, text, len, &t->raw);
    } else {
        memcpy(v->bytes + v->n_bytes, text, len);
        t->len = (uint32_t)len;
    }
    v->n_bytes += t->len;
    v->n = HONE_MAX(v->n, (uint32_t)id + 1);
    v->n_used++;
    if (!t->raw)
        v->longest = HONE_MAX(v->longest, t->len);
    return 0;
}

int hone_vocab_add(hone_vocab *v, int64_t id, const char *spelling, size_t len, hone_error *err)
{
    return add_token(v, id, spelling, len, true, err);
}

int hone_vocab_add_bytes(hone_vocab *v, int64_t id, const char *bytes, size_t len, hone_error *err)
{
    return add_token(v, id, bytes, len, false, err);
}

/* Place of a key: the slot that holds it or the empty one where it belongs; NULL: too long a chain. */
static hone_vocab_slot *locate(const hone_vocab *v, const void *bytes, size_t len, bool raw, uint32_t *tag)
{
    uint64_t h = hone_hash_bytes(bytes, len) ^ raw;
    uint32_t i = (uint32_t)h & v->mask, probe;

    *tag = (uint32_t)(h >> 32);
    for (probe = 0; probe < PROBES; probe++, i = (i + 1) & v->mask) {
        hone_vocab_slot *s = &v->slot[i];
        const hone_vocab_token *t;

        if (s->id < 0)
            return s;
        if (s->tag != *tag)
            continue;
        t = &v->token[s->id];
        if (t->len == len && t->raw == raw && !memcmp(v->bytes + t->at, bytes, len))
            return s;
    }
    return NULL;
}

int hone_vocab_index(hone_vocab *v, bool unique, hone_error *err)
{
    uint32_t size = 1024, i, tag;

    if (!v->n)
        return hone_error_set(err, HONE_EFORMAT, "the vocabulary is empty");
    while (size < v->n_used + v->n_used / 2)
        size *= 2;
    v->slot = hone_alloc(size * sizeof *v->slot);
    if (!v->slot)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
    memset(v->slot, 0xff, size * sizeof *v->slot);
    v->mask = size - 1;
    for (i = 0; i < v->n; i++) {
        const hone_vocab_token *t = &v->token[i];
        hone_vocab_slot *s;

        if (!t->used)
            continue;
        s = locate(v, v->bytes + t->at, t->len, t->raw, &tag);
        if (!s)
            return hone_error_set(err, HONE_ELIMIT, "the vocabulary defeats the hash table");
        if (s->id >= 0 && unique)
            return hone_error_set(err, HONE_EFORMAT, "tokens %d and %u are the same", s->id, i);
        s->tag = tag;
        s->id = (int32_t)i;
    }
    return 0;
}

int32_t hone_vocab_find(const hone_vocab *v, const void *bytes, size_t len, bool raw)
{
    uint32_t tag;
    const hone_vocab_slot *s = locate(v, bytes, len, raw, &tag);

    return s ? s->id : -1;
}

int32_t hone_vocab_find_spelling(const hone_vocab *v, const char *spelling, size_t len)
{
    char small[256], *bytes = len <= sizeof small ? small : hone_alloc(len);
    bool raw;
    size_t n;
    int32_t id;

    if (!bytes)
        return -2;
    n = hone_vocab_unspell(v, bytes, spelling, len, &raw);
    id = hone_vocab_find(v, bytes, n, raw);
    if (bytes != small)
        hone_free(bytes);
    return id;
}
