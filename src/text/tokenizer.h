/* What the rest of hone may ask a tokenizer beyond the public header: its added tokens and its named special tokens.
 * The chat template sees the named ones as variables, and the end-of-turn ids stop generation. */
#ifndef HONE_TEXT_TOKENIZER_H
#define HONE_TEXT_TOKENIZER_H

#include "hone/tokenizer.h"

/* One added token: a text that is found in the input before the model splits it. */
typedef struct hone_added_token {
    const char *text; /* NUL-terminated, UTF-8 */
    size_t len;       /* bytes */
    int32_t id;
    bool special;     /* dropped by decode with skip_special; never matches bytes that came from a message */
    bool single_word; /* matches only where no word character stands on either side */
    bool lstrip;      /* takes the white space to its left along */
    bool rstrip;      /* takes the white space to its right along */
    bool normalized;  /* found in the normalised text, not in the given one */
} hone_added_token;

/* The added tokens in order of id. From a GGUF file: its CONTROL (special) and USER_DEFINED tokens. Borrowed. */
const hone_added_token *hone_tokenizer_added(const hone_tokenizer *t, size_t *n);

/* Text of a special token by its role: "bos_token", "eos_token", "unk_token", "pad_token", ... any key that ends in
 * "_token" in tokenizer_config.json or special_tokens_map.json, the names of a dictionary `extra_special_tokens`, or the
 * `tokenizer.ggml.*_token_id` keys of a GGUF file (then also "eot_token" and "eom_token"). NULL: no such role.
 * Borrowed. */
const char *hone_tokenizer_special_text(const hone_tokenizer *t, const char *name);
/* The same as a list, i = 0, 1, ...: the name of the i-th role and its text; NULL past the end. Borrowed. */
const char *hone_tokenizer_special_name(const hone_tokenizer *t, size_t i, const char **text);

/* Ids that end an answer, without repetition, the eos token first: eos, and eot and eom where a GGUF file names them.
 * Borrowed; *n may be 0. (generation_config.json is the model's affair, not the tokenizer's.) */
const int32_t *hone_tokenizer_eos_ids(const hone_tokenizer *t, size_t *n);

/* Removes what hone_tokenizer_export writes from a folder. */
void hone_tokenizer_remove_files(const char *dir);

#endif
