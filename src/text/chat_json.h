/* Conversations that are parsed already. */
#ifndef HONE_TEXT_CHAT_JSON_H
#define HONE_TEXT_CHAT_JSON_H

#include <jansson.h>

#include "hone/chat.h"

/* hone_chat_encode of a conversation as JSON values, which are only read. */
int hone_chat_encode_json(const hone_chat *chat, hone_encoding *out, json_t *conversation, unsigned flags,
                          hone_error *err);

#endif
