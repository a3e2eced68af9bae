/* Loading a model for generate and chat. */
#include <string.h>
#include <unistd.h>

#include "cli.h"

int device_open(hone_device **out, const common *c, hone_error *err)
{
    hone_device_params p = hone_device_default();
    int rc = hone_isa_parse(&p.isa, c->isa, err);

    if (rc)
        return rc;
    p.threads = (int)c->threads;
    p.pin = c->pin;
    return hone_device_open(out, &p, err);
}

hone_precision precision_of(const char *text)
{
    if (strcmp(text, "f32") == 0)
        return HONE_PRECISION_F32;
    return strcmp(text, "bf16") == 0 ? HONE_PRECISION_BF16 : HONE_PRECISION_AUTO;
}

const char *const quant_name[HONE_QUANT_Q8_0 + 1] = {[HONE_QUANT_AUTO] = "auto",
                                                     [HONE_QUANT_NONE] = "none",
                                                     [HONE_QUANT_NF4] = "nf4",
                                                     [HONE_QUANT_FP4] = "fp4",
                                                     [HONE_QUANT_Q8_0] = "q8_0"};

hone_model_params model_params_of(const char *precision, const char *quant)
{
    hone_model_params p = hone_model_default();
    size_t q;

    p.precision = precision_of(precision);
    for (q = 0; q < sizeof quant_name / sizeof *quant_name; q++)
        if (!strcmp(quant, quant_name[q]))
            p.quant = (hone_quant)q;
    return p;
}

void adapter_compare(const hone_adapter *a, const hone_tokenizer *tokenizer, const hone_chat *chat,
                     const char *dir)
{
    uint64_t template_hash, tokenizer_hash;

    hone_adapter_hashes(a, &template_hash, &tokenizer_hash);
    if (tokenizer_hash && tokenizer_hash != hone_tokenizer_hash(tokenizer))
        warn("%s was trained with another tokenizer than this model has: answers may be wrong", dir);
    if (template_hash && chat && template_hash != hone_chat_hash(chat))
        warn("%s was trained with another chat template than this model has: answers may be wrong", dir);
}

static int open_parts(engine *e, const common *c, const char *model, const char *adapter,
                      const hone_model_params *as, int64_t context, bool need_chat, hone_error *err)
{
    hone_model_params p = *as;
    int rc;

    hone_model_params_of_adapter(&p, adapter);
    rc = device_open(&e->device, c, err);
    if (!rc)
        rc = hone_tokenizer_open(&e->tokenizer, model, err);
    if (rc)
        return rc;
    if (need_chat) {
        rc = hone_chat_open(&e->chat, model, e->tokenizer, err);
        if (rc)
            return rc;
        if (hone_chat_notice(e->chat))
            note("%s", hone_chat_notice(e->chat));
    }
    rc = hone_model_open(&e->model, e->device, model, &p, err);
    if (!rc && hone_model_notice(e->model))
        note("%s", hone_model_notice(e->model));
    if (!rc && adapter)
        rc = hone_adapter_open(&e->adapter, e->model, adapter, err);
    if (!rc && adapter)
        adapter_compare(e->adapter, e->tokenizer, e->chat, adapter);
    if (!rc)
        rc = hone_session_open(&e->session, e->model, e->tokenizer, e->chat, (int32_t)context, err);
    return rc;
}

int engine_open(engine *e, const common *c, const char *model, const char *adapter,
                const hone_model_params *open, int64_t context, bool need_chat)
{
    hone_error err = HONE_ERROR_INIT;

    if (open_parts(e, c, model, adapter, open, context, need_chat, &err))
        return fail_with(&err);
    return 0;
}

void engine_close(engine *e)
{
    hone_session_close(e->session);
    hone_adapter_close(e->adapter);
    hone_model_close(e->model);
    hone_chat_close(e->chat);
    hone_tokenizer_close(e->tokenizer);
    hone_device_close(e->device);
    memset(e, 0, sizeof *e);
}

sampling_options sampling_options_default(void)
{
    hone_sampling d = hone_sampling_default();
    sampling_options s = {.temperature = d.temperature,
                          .top_p = d.top_p,
                          .min_p = d.min_p,
                          .repetition_penalty = d.repetition_penalty,
                          .top_k = d.top_k,
                          .max_new_tokens = 1024};

    return s;
}

static void take_settings(sampling_options *s, const hone_config *c)
{
    if (!s->given.repetition_penalty)
        s->repetition_penalty = c->inference.repetition_penalty;
    if (!s->given.temperature) {
        s->temperature = c->inference.do_sample ? c->inference.temperature : 0;
        s->given.repetition_penalty = true; /* a greedy configuration means its penalty, too */
    }
    if (!s->given.top_k)
        s->top_k = c->inference.top_k;
    if (!s->given.top_p)
        s->top_p = c->inference.top_p;
    if (!s->given.max_new_tokens)
        s->max_new_tokens = c->inference.max_new_tokens;
}

int sampling_options_complete(sampling_options *s, const char *config, const char *adapter)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c = NULL;
    char *beside = NULL;
    int rc = 0;

    if (!config && !adapter)
        return 0;
    if (!config && asprintf(&beside, "%s/config.yaml", adapter) < 0)
        return fail("out of memory");
    if (!config && access(beside, R_OK) != 0)
        goto out;
    if (hone_config_load(&c, config ? config : beside, &err) == 0)
        take_settings(s, c);
    else if (config)
        rc = fail_with(&err);
    else
        warn("%s; its inference settings are not used", err.message);
out:
    hone_config_free(c);
    free(beside);
    return rc;
}

hone_sampling sampling_of(const sampling_options *o)
{
    hone_sampling s = {o->temperature, (int32_t)o->top_k,     o->top_p,
                       o->min_p,       o->repetition_penalty, (uint64_t)o->seed};

    if (o->temperature == 0 && !o->given.repetition_penalty)
        s.repetition_penalty = 1;
    return s;
}
