/* The chat layer from inside: chat.c opens, chat_encode.c renders and masks. */
#ifndef HONE_TEXT_CHAT_IMPL_H
#define HONE_TEXT_CHAT_IMPL_H

#include "base/base.h"
#include "text/template.h"
#include "text/tokenizer.h"

typedef struct hone_id_set {
    int32_t *id;
    size_t n;
} hone_id_set;

struct hone_chat {
    const hone_tokenizer *tok; /* NULL: renders only */
    hone_template *plain;      /* the default template */
    hone_template *tool_use;   /* what conversations with tools get, NULL: the default */
    json_t *vars;              /* object: bos_token and so on */
    char *notice;
    uint64_t hash;
    hone_id_set stop; /* end an assistant turn: see hone_chat_stop_ids */
    hone_id_set
        eot; /* stop, and the end-of-turn texts that models are known to use where the vocabulary has them */
};

bool hone_id_set_has(const hone_id_set *s, int32_t id);
/* Adds an id unless it is negative or there. */
int hone_id_set_add(hone_id_set *s, int32_t id, hone_error *err);

/* Finds the token with which the template ends an assistant turn, by rendering a small dialogue: the first one after
 * the answer that `eot` knows, else the first special one. *id is -1 when the template writes none or refuses. */
int hone_chat_probe_eot(const hone_chat *chat, int32_t *id, hone_error *err);

#endif
