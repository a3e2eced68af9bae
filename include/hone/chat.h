/* Conversations: the model's own chat template, and which tokens are trained.
 *
 * A conversation is JSON text: either an array of messages, or an object
 *   {"messages": [{"role", "content", ...}], "tools": [...], "chat_template_kwargs": {...}}.
 * The template is the model's own Jinja, run by hone's interpreter with the origin of every output byte. */
#ifndef HONE_CHAT_H
#define HONE_CHAT_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hone_chat hone_chat;

/* One rendering. Owned by the caller, zero-initialised before, hone_rendering_clear after. */
typedef struct hone_rendering {
    char *text;        /* NUL-terminated UTF-8 */
    size_t len;        /* bytes */
    uint32_t *origin;  /* [len] 0 = template text; else 1 + index of the message the byte came from (tools and
                          keyword arguments count as HONE_ORIGIN_OTHER; a role that is a plain word counts as
                          template text, since templates build header tokens from it) */
    hone_span *marked; /* output ranges of {% generation %} blocks, in order */
    size_t n_marked;
} hone_rendering;

#define HONE_ORIGIN_OTHER 0xffffffffu

/* A conversation as the model is trained on it. */
typedef struct hone_encoding {
    hone_tokens tokens;
    uint8_t *mask;    /* [tokens.n] 1 = this token is a target */
    int32_t *turn;    /* [tokens.n] index of the message a trained token belongs to, or -1 */
    size_t n_trained; /* tokens with mask 1 */
    size_t straddled; /* tokens that cross the border of a trained span */
    bool eot_trained; /* every assistant turn that has an end-of-turn token has it in the mask */
    hone_rendering rendering;
} hone_encoding;

enum hone_chat_flags {
    HONE_CHAT_GENERATION_PROMPT = 1, /* add_generation_prompt = true */
};

/* Opens the chat template that belongs to PATH (HF directory or GGUF file), see specs of `chat_template.jinja`,
 * tokenizer_config.json and `tokenizer.chat_template`. `tok` must outlive the chat. A model without a template gets
 * ChatML when its vocabulary has <|im_start|> and <|im_end|> (hone_chat_notice says so), else HONE_ENOENT.
 * Errors: HONE_EFORMAT with template line for a syntax error or an unsupported construct. */
HONE_API int hone_chat_open(hone_chat **out, const char *path, const hone_tokenizer *tok, hone_error *err);
/* The same from template text. `vars_json`: object of extra variables (bos_token, ...) or NULL. */
HONE_API int hone_chat_open_text(hone_chat **out, const char *jinja, size_t len, const hone_tokenizer *tok,
                                 const char *vars_json, hone_error *err);
HONE_API void hone_chat_close(hone_chat *chat);
HONE_API const char *hone_chat_notice(const hone_chat *chat); /* NULL, or one line the user should read */
HONE_API const hone_tokenizer *hone_chat_tokenizer(const hone_chat *chat); /* the one it was opened with */
HONE_API uint64_t hone_chat_hash(const hone_chat *chat);                   /* of the template text */

/* Renders a conversation. Errors: HONE_EINVAL (raise_exception text, undefined access, with template line),
 * HONE_ELIMIT (output, loop or depth bound), HONE_EFORMAT (the JSON). */
HONE_API int hone_chat_render(const hone_chat *chat, hone_rendering *out, const char *conversation,
                              size_t len, unsigned flags, hone_error *err);
HONE_API void hone_rendering_clear(hone_rendering *r);

/* Renders, tokenises and masks. With HONE_CHAT_GENERATION_PROMPT the mask is all 0 (a prompt for inference).
 * The trained span of an assistant turn runs from the byte after its generation prompt to its end-of-turn token,
 * that token included. Errors as hone_chat_render. */
HONE_API int hone_chat_encode(const hone_chat *chat, hone_encoding *out, const char *conversation, size_t len,
                              unsigned flags, hone_error *err);
HONE_API void hone_encoding_clear(hone_encoding *e);

/* Ids that end an assistant turn: the template's own end-of-turn token, the eos ids of the tokenizer, of
 * generation_config.json / config.json, or of the GGUF metadata. Borrowed, *n entries. */
HONE_API const int32_t *hone_chat_stop_ids(const hone_chat *chat, size_t *n);

#ifdef __cplusplus
}
#endif
#endif
