/* What a GGUF file says of its tokenizer, for reading it and for writing it anew. */
#ifndef HONE_TEXT_TOKENIZER_GGUF_H
#define HONE_TEXT_TOKENIZER_GGUF_H

#include "format/gguf.h"
#include "text/tokenizer_impl.h"

enum hone_gguf_family_flags {
    HONE_GGUF_IGNORE_MERGES = 1,
    HONE_GGUF_ADD_BOS = 2,
    HONE_GGUF_NFC = 4,
    HONE_GGUF_TEXT = 8,   /* a model over characters, else over bytes */
    HONE_GGUF_SCORES = 16 /* SentencePiece's: merges follow from scores */
};

/* What the name of a pre-tokenizer, or of a model over characters, stands for. */
typedef struct hone_gguf_family {
    const char *pre;
    const char *scanner[3]; /* in order, each with the behaviour Isolated; NULL: no more */
    unsigned flags;
} hone_gguf_family;

/* HONE_ENOENT: the file has no vocabulary; HONE_EUNSUPPORTED. */
int hone_gguf_family_of(const hone_gguf_family **out, const hone_gguf *g, const char *path, hone_error *err);

#endif
