/* The tokenizer from inside: shared by its loaders and its encoder.
 *
 * Encoding is a chain: repair of UTF-8; added tokens found in the given text; normaliser; added tokens found in the
 * normalised text; pre-tokenizer; model; what the post-processor adds. A loader (tokenizer.json, GGUF) fills the parts,
 * then hone_tokenizer_finish checks and indexes them. */
#ifndef HONE_TEXT_TOKENIZER_IMPL_H
#define HONE_TEXT_TOKENIZER_IMPL_H

#include <jansson.h>

#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"
#include "text/unigram.h"

/* A kind of model: how it encodes one piece. What it works with stands in the tokenizer, one member for each kind. */
typedef struct hone_model_kind {
    const char *name;
    int (*piece)(const hone_tokenizer *t, hone_model_work *w, const unsigned char *s, size_t n);
} hone_model_kind;

extern const hone_model_kind hone_model_bytes, hone_model_text,
    hone_model_unigram; /* BPE of both kinds; Unigram */

/* Added tokens that are looked for together, in order of their bytes. */
typedef struct hone_added_set {
    struct hone_added_entry {
        char *text; /* as looked for: normalised where the token is */
        size_t len;
        uint32_t token; /* index into hone_tokenizer.added */
    } * entry;
    size_t n;
    uint32_t first[257]; /* entries that start with byte b: first[b] .. first[b + 1] */
    int only;            /* the one byte all entries start with, or -1 */
} hone_added_set;

typedef struct hone_role {
    char *name, *text;
} hone_role;

#define HONE_SHOWN_SPECIAL 2 /* a bit of hone_tokenizer.special */

struct hone_tokenizer {
    const hone_model_kind *model;
    hone_vocab vocab;
    hone_bpe bpe;
    hone_unigram unigram;
    hone_normalizer normalizer;
    hone_pretoken pretoken;
    hone_decoder decoder;

    hone_added_token *added; /* by id */
    size_t n_added, added_capacity;
    hone_added_set in_given, in_normalized;
    uint8_t *special;    /* [vocab.n] 1 = special; decoding skips those where HONE_SHOWN_SPECIAL is set */
    uint32_t *respelled; /* [vocab.n] 1 + entry of in_normalized whose text decoding shows; NULL: none */
    char *piece_bytes;   /* what tokens add to a stream, where that is not their own bytes; else NULL */
    uint32_t *piece_end; /* [vocab.n] */

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
/* Appends the text of a token as the decoder sees it. */
void hone_tokenizer_spell(const hone_tokenizer *t, int32_t id, hone_buf *out);
/* The token of a role, or -1. */
int32_t hone_tokenizer_role_id(const hone_tokenizer *t, const char *name);
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
/* A SentencePiece model, alone or (folder not NULL) with the tokenizer_config.json beside it. */
int hone_tokenizer_load_sentencepiece(hone_tokenizer *t, const char *path, const char *folder,
                                      hone_error *err);
/* Lines of base64 and rank; the name of the file or the configuration beside it says the rest. */
int hone_tokenizer_load_tiktoken(hone_tokenizer *t, const char *path, const char *folder, hone_error *err);

/* tokenizer_config.json of a folder, for the loaders that build on it; *config NULL: there is no file, or no folder. */
int hone_tokenizer_read_config(json_t **config, const char *folder, hone_error *err);
/* What such a file adds to a vocabulary without tokenizer.json: its added_tokens_decoder, and by add_bos_token (absent: `bos`)
 * and add_eos_token what HONE_ENCODE_SPECIAL adds. NULL: only `bos` counts. */
int hone_tokenizer_apply_config(hone_tokenizer *t, const json_t *config, const char *path, bool bos,
                                hone_error *err);
/* The .tiktoken file of a folder, freed by the caller; NULL: there is none, or more than one. */
int hone_tokenizer_find_tiktoken(char **file, const char *folder, hone_error *err);

/* What loaders share: the parts of a text model of SentencePiece's kind. Merges by score: score[id] of each token, `part`
 * non-zero for those that take part. */
int hone_tokenizer_bpe_by_score(hone_tokenizer *t, const float *score, const uint8_t *part,
                                bool byte_fallback, hone_error *err);
/* U+2581 to a space, bytes, and with `strip` one space off the front. */
int hone_tokenizer_sentencepiece_decoder(hone_tokenizer *t, bool strip, hone_error *err);

#endif
