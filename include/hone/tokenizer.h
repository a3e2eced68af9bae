/* Text to token ids and back.
 *
 * A tokenizer comes from a Hugging Face directory (tokenizer.json, tokenizer_config.json), from a tokenizer.json
 * alone, or from the vocabulary inside a GGUF file. Ids are those of the `tokenizers` library, exactly. */
#ifndef HONE_TOKENIZER_H
#define HONE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hone_tokenizer hone_tokenizer;

/* Half-open byte range [begin, end) of a text. */
typedef struct hone_span {
    size_t begin, end;
} hone_span;

/* A growing list of tokens. Zero-initialise; the encoder appends; hone_tokens_clear frees. Token i stands for
 * the bytes [begin[i], end[i]) of the text given (before normalisation); ranges never decrease. */
typedef struct hone_tokens {
    int32_t *id;
    uint32_t *begin, *end;
    size_t n, capacity;
} hone_tokens;

enum hone_encode_flags {
    HONE_ENCODE_SPECIAL = 1, /* add what the post-processor adds (BOS, EOS); off for chat-rendered text */
};

/* Opens PATH: a directory, a tokenizer.json, or a GGUF file. The tokenizer copies what it needs.
 * Errors: HONE_ENOENT, HONE_EFORMAT (file and place), HONE_EUNSUPPORTED (names the component). */
HONE_API int hone_tokenizer_open(hone_tokenizer **out, const char *path, hone_error *err);
HONE_API void hone_tokenizer_close(hone_tokenizer *t); /* NULL is fine */

/* Appends the tokens of text[0..len) to out. Text must be UTF-8; ill-formed bytes are replaced by U+FFFD
 * before encoding (offsets still refer to the given bytes).
 *   plain, n_plain   sorted, disjoint ranges whose bytes came from a message: an added token marked
 *                    `special: true` matches only where it touches none of them. NULL, 0 = none.
 * Thread-safe: one tokenizer may be used by many threads. len < 2^32. */
HONE_API int hone_tokenizer_encode(const hone_tokenizer *t, hone_tokens *out, const char *text, size_t len,
                                   const hone_span *plain, size_t n_plain, unsigned flags, hone_error *err);
HONE_API void hone_tokens_clear(hone_tokens *tokens);

/* The text of ids[0..n), as the decoder of the tokenizer defines it: *out is NUL-terminated UTF-8, freed by the
 * caller with hone_free; *len may be NULL. skip_special drops tokens marked special. Ids outside the vocabulary
 * are dropped. */
HONE_API int hone_tokenizer_decode(const hone_tokenizer *t, char **out, size_t *len, const int32_t *ids,
                                   size_t n, bool skip_special, hone_error *err);

/* The bytes one token contributes to a stream (byte-level: raw bytes, maybe not whole characters; special
 * tokens: their text). Borrowed; valid while t lives. NULL and *len 0 for ids outside the vocabulary. */
HONE_API const char *hone_tokenizer_piece(const hone_tokenizer *t, int32_t id, size_t *len);

HONE_API int32_t hone_tokenizer_vocab_size(const hone_tokenizer *t); /* largest id + 1 */
/* Id of the token whose text is exactly `text` (added tokens first, then vocabulary spelling), or -1. */
HONE_API int32_t hone_tokenizer_find(const hone_tokenizer *t, const char *text);
HONE_API bool hone_tokenizer_is_special(const hone_tokenizer *t, int32_t id);
HONE_API int32_t hone_tokenizer_bos(const hone_tokenizer *t); /* -1: none */
HONE_API int32_t hone_tokenizer_eos(const hone_tokenizer *t); /* -1: none */

/* Hash of everything that decides ids (vocabulary, merges, added tokens, components); an adapter carries it. */
HONE_API uint64_t hone_tokenizer_hash(const hone_tokenizer *t);

/* Writes the tokenizer and the chat templates of `path` (as above) into the folder `dir`, made when missing, for a
 * checkpoint that is written anew: a directory's files as they are, the vocabulary of a GGUF file as tokenizer.json
 * (byte-level BPE) or tokenizer.model (SentencePiece), tokenizer_config.json and chat_template.jinja. Each file is atomic.
 * HONE_EUNSUPPORTED: a kind of vocabulary that no such file can hold; nothing is written then. */
HONE_API int hone_tokenizer_export(const char *path, const char *dir, hone_error *err);

/* Frees memory that the library handed over. NULL is fine. */
HONE_API void hone_free(void *p);

#ifdef __cplusplus
}
#endif
#endif
