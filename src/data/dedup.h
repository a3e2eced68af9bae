/* Private to src/data: n-grams of characters, groups of nearly equal texts, and texts that repeat evaluation rows. */
#ifndef HONE_DATA_DEDUP_H
#define HONE_DATA_DEDUP_H

#include "data/data.h"

#define NGRAM_LIMIT 64

/* ---- ngram.c ------------------------------------------------------------------------------------------------------- */

/* A growing list of 64-bit hashes; zero-initialise, freed with hone_free(value). */
typedef struct ngrams {
    uint64_t *value;
    size_t n, capacity;
} ngrams;

/* Appends the text with every run of white space (space, tab, line ends) as one space, and none at its ends. */
void text_squeeze(hone_buf *out, const char *text, size_t len);
/* Appends the hash of every n-gram of characters (code points) of a squeezed text, in its order, repeated ones too. A
 * shorter text is its own only n-gram, an empty one has none. n <= NGRAM_LIMIT. HONE_ENOMEM. */
int ngrams_add(ngrams *g, const char *text, size_t len, int n, hone_error *err);
/* Sorts and leaves out what is repeated. */
void ngrams_sort(ngrams *g);
/* |a and b| / |a or b| of two sorted lists; 1 for two empty ones. */
double ngrams_jaccard(const ngrams *a, const ngrams *b);

/* ---- dedup.c --------------------------------------------------------------------------------------------------------- */

typedef struct dedup_options {
    bool near;        /* false: only equal texts */
    double threshold; /* Jaccard, (0, 1] */
    int ngram;        /* characters */
    size_t threads;
} dedup_options;

typedef struct dedup dedup;

int dedup_open(dedup **out, const dedup_options *options, hone_error *err);
void dedup_close(dedup *d); /* NULL is fine */

/* What is known of a text alone; made on any thread. */
typedef struct dedup_digest {
    const char *text; /* squeezed; stays where it is until the close */
    uint32_t len;
    float score; /* of a group, the text with the highest score is kept, of equal ones the first */
    uint64_t hash;
    uint32_t *key; /* [dedup_keys(d)] of the bands; may go after dedup_add */
} dedup_digest;

size_t dedup_keys(const dedup *d);
/* Fills hash and key of a digest with text, len and key set. `scratch` is the thread's own. HONE_ENOMEM. */
int dedup_make(const dedup *d, dedup_digest *digest, ngrams *scratch, hone_error *err);
/* The next text. */
int dedup_add(dedup *d, const dedup_digest *digest, hone_error *err);
/* Finds the groups of all texts added. */
int dedup_run(dedup *d, hone_error *err);
/* After the run: the text that is kept for text i (i itself when it is), and the exact Jaccard similarity of the two. */
size_t dedup_kept(const dedup *d, size_t i, double *similarity);

/* ---- contamination.c ------------------------------------------------------------------------------------------------- */

typedef struct contamination contamination;

/* Reads the rows of evaluation files, all of which must be good. share: (0, 1]. */
int contamination_open(contamination **out, const char *const *paths, size_t n, const hone_rows_options *rows,
                       int ngram, double share, hone_error *err);
void contamination_close(contamination *c); /* NULL is fine */

typedef struct contamination_hit {
    const char *file; /* borrowed from the contamination */
    uint64_t line, row;
    double share; /* of the n-grams of that row's question */
} contamination_hit;

/* Memory of one thread; zero-initialise. */
typedef struct contamination_scratch {
    ngrams grams;
    hone_buf squeezed;
    uint32_t
        *seen; /* [rows of the evaluation] n-grams of each that the present row holds; all 0 in between */
    uint32_t *touched; /* [rows of the evaluation] */
} contamination_scratch;

/* Whether a conversation (as hone_row has it) holds a question of the evaluation: 1 and the fullest hit (the first of
 * equals), 0, or HONE_ENOMEM. On any thread. */
int contamination_check(const contamination *c, contamination_scratch *s, contamination_hit *hit,
                        const json_t *root, hone_error *err);
void contamination_scratch_clear(contamination_scratch *s);

#endif
