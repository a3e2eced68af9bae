/* What a configuration says about preparing, as the options of the pass. */
#include <string.h>

#include "data/data.h"

/* Shares of the stages when none are given. */
static const double stages[3] = {0.5, 0.3, 0.2};

static void choose_from(hone_choose_options *o, const hone_config *c)
{
    const double *stage = c->data.mix_stages.n == 3 ? c->data.mix_stages.item : stages;

    *o = (hone_choose_options){.balance = c->data.mix_balance,
                               .method = c->data.mix_method,
                               .temperature = c->data.mix_temperature,
                               .max_per_task = c->data.mix_max_per_task,
                               .weight = c->data.mix_weights.item,
                               .n_weight = c->data.mix_weights.n,
                               .order = c->data.scores_sort ? HONE_ORDER_CURRICULUM : c->data.mix_order,
                               .curriculum =
                                   c->data.scores_sort ? c->data.scores_sort : c->data.mix_curriculum,
                               .stage = {stage[0], stage[1], stage[2]},
                               .split_by = c->data.split_by,
                               .val_size = c->data.eval_data_path.n ? 0 : c->data.val_size,
                               .seed = (uint64_t)c->training.seed};
}

static hone_quality_options quality_from(const hone_config *c)
{
    return (hone_quality_options){.enabled = c->data.quality_enabled,
                                  .rules = (const char *const *)c->data.quality_rules.item,
                                  .n_rules = c->data.quality_rules.n,
                                  .set = (const char *const *)c->data.quality_set.item,
                                  .n_set = c->data.quality_set.n,
                                  .only = (const char *const *)c->data.quality_only.item,
                                  .n_only = c->data.quality_only.n,
                                  .skip = (const char *const *)c->data.quality_skip.item,
                                  .n_skip = c->data.quality_skip.n,
                                  .label_pattern = c->data.label_pattern,
                                  .label_words = c->data.label_words};
}

void hone_prepare_options_read(hone_prepare_options *out, hone_choose_options *choose, const hone_config *c)
{
    const hone_strings *against =
        c->data.contamination_against.n ? &c->data.contamination_against : &c->data.eval_data_path;

    choose_from(choose, c);
    *out = (hone_prepare_options){.rows = {.fields = &c->data.fields,
                                           .roles = &c->data.roles,
                                           .text_rows = c->data.text_rows,
                                           .mask_history = c->data.mask_history,
                                           .keep_going = c->data.invalid == HONE_INVALID_DROP},
                                  .max_samples = c->data.max_samples,
                                  .exact = c->data.dedup_exact,
                                  .near = c->data.dedup_near,
                                  .threshold = c->data.dedup_threshold,
                                  .ngram = c->data.dedup_ngram,
                                  .against = (const char *const *)against->item,
                                  .n_against = against->n,
                                  .share = c->data.contamination_share,
                                  .contamination_ngram = c->data.contamination_ngram,
                                  .quality = quality_from(c),
                                  .filter = (const char *const *)c->data.scores_filter.item,
                                  .n_filter = c->data.scores_filter.n,
                                  .weight = c->data.scores_weight,
                                  .choose = choose,
                                  .threads = c->training.dataloader_num_workers};
}
