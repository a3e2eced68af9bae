/* The tokenizer from inside: shared by its loaders and its encoder.
 *
 * Encoding is a chain: repair of UTF-8; added tokens found in the given text; normaliser; added tokens found in the
 * normalised text; pre-tokenizer; model; what the post-processor adds. A loader (tokenizer.json, GGUF) fills the parts,
 * then hone_tokenizer_finish checks and indexes them. */
#ifndef HONE_TEXT_TOKENIZER_IMPL_H
#define HONE_TEXT_TOKENIZER_IMPL_H

#include "text/bpe.h"
#include "text/normal.h"
#include "text/pretoken.h"
#include "text/tokenizer.h"

enum hone_normalizer { HONE_NORMALIZER_NONE, HONE_NORMALIZER_NFC };
enum hone_decoder {
    HONE_DECODER_JOIN,
    HONE_DECODER_BYTES
}; /* without a decoder tokens are joined with spaces */

/* Added tokens that are looked for together, in order of their bytes. */
typedef struct hone_added_set {
    struct hone_added_entry {
        char *text; /* as looked for: normalised where the token is */
        size_t len;
        uint32_t token; /* index into hone_tokenizer.added */
    } * entry;
    size_t n;
    uint32_t first[257]; /* entries that start with byte b: first[b] .. first[b + 1] */
    int only; /* the one byte all entries start with, or -1 */
} hone_added_set;

typedef struct hone_role {
    char *name, *text;
} hone_role;

struct hone_tokenizer {
    hone_vocab vocab;
    hone_bpe bpe;
    enum hone_normalizer normalizer;
    hone_pretoken pretoken;
    enum hone_decoder decoder;

    hone_added_token *added; /* by id */
    size_t n_added, added_capacity;
    hone_added_set in_given, in_normalized;
    uint8_t *special; /* [vocab.n] */

    int32_t *prefix, *suffix; /* what the post-processor puts around a text */
    size_t n_prefix, n_suffix;

    hone_role *role;
    size_t n_roles;
    int32_t *eos_id;
    size_t n_eos_ids;
    int32_t bos, eos;
    uint64_t hash;
};

/* ---- building (tokenizer_build.c) ------------------------------------------------------------------------------------- */

/* Adds an added token that stands in the vocabulary; text is copied. The vocabulary must be indexed. */
int hone_tokenizer_add(hone_tokenizer *t, const hone_added_token *token, hone_error *err);
/* The text an added token is looked for by, normalised where the token is; freed by the caller. */
int hone_tokenizer_search_text(const hone_tokenizer *t, const hone_added_token *token, char **text,
                               size_t *len, hone_error *err);
/* Sets or replaces a role. */
int hone_tokenizer_set_role(hone_tokenizer *t, const char *name, const char *text, size_t len,
                            hone_error *err);
/* Appends an id to a list (prefix, suffix, eos_id). */
int hone_tokenizer_push_id(int32_t **list, size_t *n, int32_t id, hone_error *err);
/* Adds an end id unless it is there. Negative: none. */
int hone_tokenizer_push_eos(hone_tokenizer *t, int32_t id, hone_error *err);
/* After everything is there: sorts, indexes, resolves bos and eos by role unless set, and hashes. */
int hone_tokenizer_finish(hone_tokenizer *t, hone_error *err);

/* Finds the next added token of a set in v at or after `from`. Of the tokens that start at the leftmost possible place,
 * the longest. A special token is passed over where its origin touches a plain range. Returns its entry, or NULL. */
const struct hone_added_entry *hone_added_find(const hone_tokenizer *t, const hone_added_set *set,
                                               const hone_view *v, size_t from, const hone_span *plain,
                                               size_t n_plain, size_t *begin);

/* ---- loaders ------------------------------------------------------------------------------------------------------------ */

int hone_tokenizer_load_json(hone_tokenizer *t, const char *path, hone_error *err);
/* tokenizer_config.json and special_tokens_map.json of a folder; both may be absent. */
int hone_tokenizer_load_config(hone_tokenizer *t, const char *folder, hone_error *err);
int hone_tokenizer_load_gguf(hone_tokenizer *t, const char *path, hone_error *err);

#endif
