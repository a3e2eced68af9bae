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
/* The next text; of a group, the one with the highest score is kept, of equal ones the first. */
int dedup_add(dedup *d, const char *text, size_t len, float score, hone_error *err);
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

/* Whether a conversation (as hone_row has it) holds a question of the evaluation: 1 and the fullest hit (the first of
 * equals), 0, or HONE_ENOMEM. */
int contamination_check(contamination *c, contamination_hit *hit, const json_t *root, hone_error *err);

#endif
