/* The files that TensorBoard reads: TFRecords (length, checksum, data, checksum), each an Event in protobuf encoding.
 * Only what a run writes is here: file version, scalars, texts. A record is built in memory and written at once, so that
 * a reader of the growing file meets whole records or the cut end of the last, which it waits for.
 * Field numbers are those of tensorflow's event.proto, summary.proto and tensor.proto. */
#include "train/events.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct hone_events {
    FILE *file;
    char *path;
};

/* ---- framing ------------------------------------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, a byte a step from a table that the first call fills. */
static uint32_t crc_table[256];

static void make_table(void)
{
    uint32_t i, k;

    for (i = 0; i < 256; i++) {
        uint32_t x = i;

        for (k = 0; k < 8; k++)
            x = x >> 1 ^ (x & 1 ? 0x82F63B78u : 0);
        crc_table[i] = x;
    }
}

/* The checksum as a TFRecord stores it: rotated, so that a file of checksums keeps its own checksum meaningful. */
static uint32_t masked_crc(const void *data, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *p = data;
    uint32_t crc = UINT32_MAX;

    pthread_once(&once, make_table);
    while (n--)
        crc = crc_table[(crc ^ *p++) & 255] ^ crc >> 8;
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void put_le(hone_buf *out, uint64_t x, int bytes)
{
    for (; bytes--; x >>= 8)
        hone_buf_putc(out, (char)(x & 255));
}

void hone_events_record(hone_buf *out, const void *data, size_t n)
{
    uint8_t length[8];
    int i;

    for (i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> 8 * i);
    hone_buf_add(out, length, sizeof length);
    put_le(out, masked_crc(length, sizeof length), 4);
    hone_buf_add(out, data, n);
    put_le(out, masked_crc(data, n), 4);
}

/* ---- protobuf ------------------------------------------------------------------------------------------------------ */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_varint(hone_buf *out, uint64_t x)
{
    for (; x > 127; x >>= 7)
        hone_buf_putc(out, (char)((x & 127) | 128));
    hone_buf_putc(out, (char)x);
}

static void put_field(hone_buf *out, int field, int wire)
{
    put_varint(out, (uint64_t)field << 3 | (uint64_t)wire);
}

static void put_bytes(hone_buf *out, int field, const void *bytes, size_t n)
{
    put_field(out, field, BYTES);
    put_varint(out, n);
    hone_buf_add(out, bytes, n);
}

static void put_text(hone_buf *out, int field, const char *text)
{
    put_bytes(out, field, text, strlen(text));
}

/* Appends a message built apart, since its length stands before it, and frees it. */
static void put_message(hone_buf *out, int field, hone_buf *message)
{
    out->failed |= message->failed;
    put_bytes(out, field, message->data ? message->data : "", message->len);
    hone_buf_clear(message);
}

void hone_events_header(hone_buf *out, double wall_time, int64_t step)
{
    uint64_t bits;

    memcpy(&bits, &wall_time, sizeof bits);
    put_field(out, 1, FIXED64);
    put_le(out, bits, 8);
    if (step) {
        put_field(out, 2, VARINT);
        put_varint(out, (uint64_t)step);
    }
}

void hone_events_put_version(hone_buf *event)
{
    put_text(event, 3, "brain.Event:2");
}

void hone_events_put_start(hone_buf *event)
{
    hone_buf session = {0};

    put_field(&session, 1, VARINT);
    put_varint(&session, 1); /* START */
    put_message(event, 7, &session);
}

void hone_events_put_scalars(hone_buf *event, const hone_event_scalar *scalar, size_t n)
{
    hone_buf summary = {0};
    size_t i;

    for (i = 0; i < n; i++) {
        hone_buf value = {0};
        float x = (float)scalar[i].value;
        uint32_t bits;

        memcpy(&bits, &x, sizeof bits);
        put_text(&value, 1, scalar[i].tag);
        put_field(&value, 2, FIXED32);
        put_le(&value, bits, 4);
        put_message(&summary, 1, &value);
    }
    put_message(event, 5, &summary);
}

void hone_events_put_text(hone_buf *event, const char *tag, const char *text)
{
    hone_buf summary = {0}, value = {0}, metadata = {0}, plugin = {0}, tensor = {0}, shape = {0}, dim = {0};

    put_text(&value, 1, tag);
    put_field(&dim, 1, VARINT); /* one string */
    put_varint(&dim, 1);
    put_message(&shape, 2, &dim);
    put_field(&tensor, 1, VARINT);
    put_varint(&tensor, 7); /* DT_STRING */
    put_message(&tensor, 2, &shape);
    put_text(&tensor, 8, text);
    put_message(&value, 8, &tensor);
    put_text(&plugin, 1, "text");
    put_message(&metadata, 1, &plugin);
    put_message(&value, 9, &metadata);
    put_message(&summary, 1, &value);
    put_message(event, 5, &summary);
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

static int fail(const hone_events *e, hone_error *err)
{
    return hone_error_set(err, HONE_EIO, "%s: cannot write: %s", e->path, strerror(errno));
}

/* Writes an event as a record and frees it. */
static int write_event(hone_events *e, hone_buf *event, hone_error *err)
{
    hone_buf record = {0};
    int rc = 0;

    if (!event->failed)
        hone_events_record(&record, event->data, event->len);
    if (event->failed || record.failed)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", e->path);
    else if (fwrite(record.data, 1, record.len, e->file) != record.len || fflush(e->file) != 0)
        rc = fail(e, err);
    hone_buf_clear(&record);
    hone_buf_clear(event);
    return rc;
}

static double wall_time(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int hone_events_open(hone_events **out, const char *dir, int64_t resumed, hone_error *err)
{
    hone_events *e = hone_calloc(1, sizeof *e);
    double now = wall_time();
    hone_buf event = {0};
    char name[200], host[100] = "localhost";
    int rc;

    *out = NULL;
    if (!e)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "events.out.tfevents.%010lld.%s.%ld.0", (long long)now, host, (long)getpid());
    e->path = hone_path_join(dir, name);
    rc = e->path ? hone_mkdirs(dir, err) : hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    if (!rc && !(e->file = fopen(e->path, "abe")))
        rc = fail(e, err);
    if (!rc) {
        hone_events_header(&event, now, resumed > 0 ? resumed + 1 : 0);
        hone_events_put_version(&event);
        rc = write_event(e, &event, err);
    }
    if (!rc && resumed > 0) {
        hone_events_header(&event, now, resumed + 1);
        hone_events_put_start(&event);
        rc = write_event(e, &event, err);
    }
    if (rc)
        hone_events_close(e, NULL);
    else
        *out = e;
    return rc;
}

int hone_events_scalars(hone_events *e, int64_t step, const hone_event_scalar *scalar, size_t n,
                        hone_error *err)
{
    hone_buf event = {0};

    hone_events_header(&event, wall_time(), step);
    hone_events_put_scalars(&event, scalar, n);
    return write_event(e, &event, err);
}

int hone_events_text(hone_events *e, int64_t step, const char *tag, const char *text, hone_error *err)
{
    hone_buf event = {0};

    hone_events_header(&event, wall_time(), step);
    hone_events_put_text(&event, tag, text);
    return write_event(e, &event, err);
}

int hone_events_close(hone_events *e, hone_error *err)
{
    int rc = 0;

    if (!e)
        return 0;
    if (e->file && fsync(fileno(e->file)) != 0)
        rc = fail(e, err);
    if (e->file && fclose(e->file) != 0 && !rc)
        rc = fail(e, err);
    hone_free(e->path);
    hone_free(e);
    return rc;
}
