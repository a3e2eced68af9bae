/* What corpus rules keep of a row: 64 bytes, made while its texts are scanned. */
#include <pthread.h>
#include <string.h>

#include "data/quality_impl.h"

_Static_assert(sizeof(digest) <= 64, "a million digests are 64 MB");

#define NAME_LIMIT                                                                                           \
    65536 /* names kept; a pattern that gives another label for every row must not fill the memory */

typedef struct name_entry {
    uint32_t hash;
    char *name; /* NULL: free */
} name_entry;

struct name_table {
    pthread_mutex_t lock;
    name_entry *slot;
    size_t n, n_slots;
};

int names_open(struct name_table **out, hone_error *err)
{
    struct name_table *t = hone_calloc(1, sizeof *t);

    *out = t;
    if (!t)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    pthread_mutex_init(&t->lock, NULL);
    t->n_slots = 256;
    t->slot = hone_calloc(t->n_slots, sizeof *t->slot);
    return t->slot ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory");
}

void names_close(struct name_table *t)
{
    size_t i;

    if (!t)
        return;
    for (i = 0; t->slot && i < t->n_slots; i++)
        hone_free(t->slot[i].name);
    hone_free(t->slot);
    pthread_mutex_destroy(&t->lock);
    hone_free(t);
}

static name_entry *find_name(const struct name_table *t, uint32_t hash)
{
    size_t at;

    for (at = hash & (t->n_slots - 1); t->slot[at].name && t->slot[at].hash != hash;)
        at = (at + 1) & (t->n_slots - 1);
    return &t->slot[at];
}

/* Keeps the table at most half full. */
static int grow_names(struct name_table *t, hone_error *err)
{
    struct name_table bigger = {.n_slots = 2 * t->n_slots};
    size_t i;

    if (2 * (t->n + 1) <= t->n_slots)
        return 0;
    bigger.slot = hone_calloc(bigger.n_slots, sizeof *bigger.slot);
    if (!bigger.slot)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < t->n_slots; i++)
        if (t->slot[i].name)
            *find_name(&bigger, t->slot[i].hash) = t->slot[i];
    hone_free(t->slot);
    t->slot = bigger.slot;
    t->n_slots = bigger.n_slots;
    return 0;
}

const char *names_get(struct name_table *t, uint32_t hash)
{
    const name_entry *e = find_name(t, hash);

    return e->name ? e->name : "";
}

/* Hash of a name, 0 of none. The name itself is kept the first time it is met. */
static int name_hash(check *c, uint32_t *out, const char *name)
{
    struct name_table *t = c->q->names;
    uint64_t full;
    name_entry *e;
    int rc = 0;

    *out = 0;
    if (!name)
        return 0;
    full = hone_hash64(0, name, strlen(name));
    *out = (uint32_t)(full ^ full >> 32);
    *out += !*out;
    if (c->s->known[*out & 255] == *out)
        return 0;
    pthread_mutex_lock(&t->lock);
    rc = grow_names(t, c->err);
    e = find_name(t, *out);
    if (!rc && !e->name) {
        e->hash = *out;
        e->name = hone_strdup(name);
        if (e->name)
            t->n++;
        else
            rc = hone_error_set(c->err, HONE_ENOMEM, "out of memory");
    }
    pthread_mutex_unlock(&t->lock);
    if (!rc)
        c->s->known[*out & 255] = *out;
    return rc;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

static uint64_t hash_tokens(const text_scan *s)
{
    uint64_t hash = 0x9e3779b97f4a7c15u;
    uint32_t i;

    for (i = 0; i < s->n_tokens; i++) {
        hash = (hash ^ s->token[i]) * 0xd6e8feb86659fd93u;
        hash ^= hash >> 32;
    }
    return mix(hash);
}

/* One-permutation MinHash (Li, Owen, Zhang 2012): one hash a pair; its top bits choose the class, the smallest of the
 * others stays. */
static void sketch_of(uint16_t out[16], const text_scan *s)
{
    uint32_t i, n = s->n_tokens;

    for (i = 0; i < 16; i++)
        out[i] = UINT16_MAX;
    for (i = 0; i < n; i++) {
        uint64_t hash = (uint64_t)s->token[i] << 32 | s->token[i + 1 < n ? i + 1 : 0];
        uint16_t low;

        if (i + 1 == n && n > 1)
            break;
        hash = (hash ^ hash >> 29) * 0xd6e8feb86659fd93u;
        hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15u;
        low = (uint16_t)(hash >> 40);
        low -= low == UINT16_MAX;
        if (low < out[hash >> 60])
            out[hash >> 60] = low;
    }
}

double digest_similarity(const digest *a, const digest *b)
{
    unsigned both = 0, any = 0;
    size_t i;

    for (i = 0; i < 16; i++) {
        any += a->sketch[i] != UINT16_MAX || b->sketch[i] != UINT16_MAX;
        both += a->sketch[i] != UINT16_MAX && a->sketch[i] == b->sketch[i];
    }
    return any ? (double)both / any : 1;
}

/* The form of an answer: what its structure is, the strictest first. */
static enum text_form form_of(const text_scan *s)
{
    uint32_t i, lines = 0, numbered = 0, bullets = 0, headings = 0, tables = 0, c;

    if (s->first == s->last)
        return FORM_NONE;
    if (s->n_fences >= 2)
        return FORM_CODE;
    c = s->cp[s->first];
    if ((c == '{' && s->cp[s->last - 1] == '}') || (c == '[' && s->cp[s->last - 1] == ']'))
        return FORM_JSON;
    for (i = 0; i < s->n_lines; i++) {
        uint32_t at = s->line[i], end = i + 1 < s->n_lines ? s->line[i + 1] : s->n, digits = 0;

        while (at < end && (scan_class(s, at) == CHAR_SPACE || scan_class(s, at) == CHAR_NEWLINE))
            at++;
        if (at + 1 >= end)
            continue;
        lines++;
        c = s->cp[at];
        if (c == '#') {
            headings++;
        } else if (c == '|') {
            tables++;
        } else if ((c == '-' || c == '*' || c == '+') && s->cp[at + 1] == ' ') {
            bullets++;
        } else if (c == 0x2022 || c == 0x00b7 || c == 0x25cf) {
            bullets++;
        } else {
            for (; at + 1 < end && scan_class(s, at) == CHAR_DIGIT && digits < 3; at++)
                digits++;
            c = s->cp[at];
            if (c == '.' && at + 1 < end && scan_class(s, at + 1) == CHAR_DIGIT) /* 15.3 is a number */
                continue;
            numbered += digits && (c == '.' || c == ')' || c == 0x3001 || c == 0xff0e || c == 0xff09);
        }
    }
    if (headings)
        return FORM_HEADINGS;
    if (tables >= 2)
        return FORM_TABLE;
    if (numbered >= 2)
        return FORM_NUMBERED;
    if (bullets >= 2)
        return FORM_BULLETS;
    return lines <= 1 && s->n_tokens <= 8 ? FORM_SHORT : FORM_PROSE;
}

int digest_message(digest_maker *m, check *c, int role, bool answer)
{
    const text_scan *s = c->text;
    uint64_t hash = hash_tokens(s);

    if (answer) {
        m->d.context = m->context;
        m->d.answer = hash;
        m->d.tokens = s->n_tokens;
        m->d.asked = (uint16_t)HONE_MIN(m->asked, (uint32_t)UINT16_MAX);
        m->d.form = (uint8_t)(s->n ? form_of(s) : FORM_CALL);
        m->d.answered = true;
        sketch_of(m->d.sketch, s);
    }
    m->context = mix(m->context ^ (hash + (uint64_t)role + 1));
    m->asked += s->n_tokens;
    return 0;
}

int digest_finish(digest_maker *m, check *c, digest *out)
{
    int rc;

    if (!c->label_known) {
        c->label = quality_label(c->q, c->s, c->row);
        c->label_known = true;
    }
    rc = name_hash(c, &m->d.task, c->row->task);
    if (!rc)
        rc = name_hash(c, &m->d.label, c->label);
    if (!rc)
        memcpy(out, &m->d, sizeof m->d);
    return rc;
}
