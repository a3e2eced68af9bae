/* Generation: a session holds one conversation's keys and values over one model, with or without its adapter. */
#ifndef HONE_GENERATE_H
#define HONE_GENERATE_H

#include "chat.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hone_session hone_session;

/* Stages run in the order of transformers: repetition penalty, temperature, top_k, top_p, min_p. */
typedef struct hone_sampling {
    double temperature;        /* 0 = greedy */
    int32_t top_k;             /* 0 = off */
    double top_p;              /* 1 = off */
    double min_p;              /* 0 = off */
    double repetition_penalty; /* 1 = off */
    uint64_t seed;
} hone_sampling;

HONE_API hone_sampling
hone_sampling_default(void); /* 0.7, 50, 0.9, 0, 1.1, 0: config-keys' inference section */

typedef enum hone_finish { HONE_FINISH_STOP, HONE_FINISH_LENGTH, HONE_FINISH_CANCELLED } hone_finish;

typedef struct hone_generation {
    int32_t *id; /* generated ids, the stop id included */
    size_t n;
    char *text; /* decoded, without special tokens; NUL-terminated UTF-8 */
    hone_finish finish;
    int32_t prompt_tokens;
    int32_t reused_tokens; /* prompt positions whose keys and values were kept from the turn before */
    double prompt_seconds, seconds; /* prefill alone; all of it */
} hone_generation;

/* Called once a token with the text that became whole UTF-8 (len 0: none yet), and between the parts of a long prompt
 * with len 0; returning false stops the generation. */
typedef bool (*hone_stream_fn)(void *ud, const char *text, size_t len);

/* `capacity`: most positions a conversation may reach, 0 = the model's context, at most 4096 (memory is taken at once and
 * counted by hone_session_size). The model, tokenizer and chat must outlive the session, and so must every adapter it
 * answers with. chat NULL: no hone_session_chat, and answers stop at the tokenizer's eos. HONE_EINVAL when the model
 * knows fewer positions than asked for. */
HONE_API int hone_session_open(hone_session **out, hone_model *m, const hone_tokenizer *tok,
                               const hone_chat *chat, int32_t capacity, hone_error *err);
HONE_API void hone_session_close(hone_session *s); /* NULL is fine */
HONE_API size_t
hone_session_size(const hone_session *s); /* bytes it holds, keys and values the most of them */
/* The same before it is opened, when it will answer with `a`. capacity > 0. */
HONE_API size_t hone_session_bytes(const hone_model *m, const hone_adapter *a, int32_t capacity);

/* Answers a conversation (JSON as in chat.h) with the adapter (NULL = base). The prompt's longest common prefix with
 * what the session holds (same adapter) is not computed again. max_new_tokens 0: as many as fit. HONE_ELIMIT when the
 * prompt does not fit. *out is set on success only; hone_generation_clear after. */
HONE_API int hone_session_chat(hone_session *s, const hone_adapter *a, const char *conversation, size_t len,
                               const hone_sampling *sampling, int32_t max_new_tokens, hone_stream_fn stream,
                               void *ud, hone_generation *out, hone_error *err);
/* The same from prompt ids. */
HONE_API int hone_session_generate(hone_session *s, const hone_adapter *a, const int32_t *ids, size_t n,
                                   const hone_sampling *sampling, int32_t max_new_tokens,
                                   hone_stream_fn stream, void *ud, hone_generation *out, hone_error *err);
HONE_API void hone_generation_clear(hone_generation *g);

/* The calls above as a table, for a layer that may not know this one: training asks for sample answers through it. */
typedef struct hone_generator {
    size_t (*bytes)(const hone_model *m, const hone_adapter *a, int32_t capacity);
    int (*open)(hone_session **out, hone_model *m, const hone_tokenizer *tok, const hone_chat *chat,
                int32_t capacity, hone_error *err);
    int (*generate)(hone_session *s, const hone_adapter *a, const int32_t *ids, size_t n,
                    const hone_sampling *sampling, int32_t max_new_tokens, hone_stream_fn stream, void *ud,
                    hone_generation *out, hone_error *err);
    void (*close)(hone_session *s);
    void (*clear)(hone_generation *g);
} hone_generator;
HONE_API const hone_generator *hone_generator_get(void);

#ifdef __cplusplus
}
#endif
#endif
