/* The memory plan: every block a run will hold, by purpose, before it is taken.
 *
 * The figures are those of the functions that allocate (hone_activations_size, hone_workspace_size, ...), so the plan
 * can not drift from the run. Mapped files count whole, save the tensors that train, which are read once: a training step
 * reads every other weight. */
#include <string.h>

#include "train/flops.h"
#include "train/optimizer.h"
#include "train/row_loss.h"
#include "train/run.h"
#include "train/samples.h"

static void activation_params(const hone_run *r, int recompute, hone_activation_params *p)
{
    *p = (hone_activation_params){.tokens = r->tokens,
                                  .targets = r->targets,
                                  .max_seq = r->max_seq,
                                  .recompute = recompute,
                                  .training = true};
}

/* Of an optimiser with states in a file, what it needs beyond `block` bytes of off-loaded weights: no block of weights is
 * resident while it is at work. */
static uint64_t beside(const hone_optimizer_size *o, uint64_t block)
{
    const uint64_t window = o->memory - o->scratch;

    return o->scratch + (window > block ? window - block : 0);
}

void hone_run_plan(const hone_run *r, int recompute, hone_plan *plan)
{
    const hone_weights *w = r->model->w;
    const hone_weights_use use = hone_weights_used(w, &r->adapter->view);
    const hone_optimizer_size optimizer = hone_optimizer_measure(r->adapter, r->c);
    const uint64_t n = r->adapter->n * sizeof(float);
    hone_activation_params ap;
    hone_workspace_spec ws;

    memset(plan, 0, sizeof *plan);
    plan->recompute = recompute;
    plan->tokens = r->tokens;
    plan->available = r->memory ? r->memory : hone_memory_available();
    activation_params(r, recompute, &ap);
    hone_model_workspace_spec(&ws, r->model, r->adapter, &ap);

    hone_plan_add(plan, "program", r->program_bytes, "resident at the start");
    if (w->offloaded)
        hone_plan_add(plan, "weights, off-loaded", use.rest + use.block,
                      "a block at a time; %.3g GB in files", (double)(use.mapped + w->file_bytes) / 1e9);
    else
        hone_plan_add(plan, "weights, mapped", use.mapped, "the checkpoint, as stored");
    if (w->n_quantised && !w->offloaded)
        hone_plan_add(plan, "weights, quantised", w->quantised_bytes, "%d linear layers, %s%s",
                      w->n_quantised, hone_dtype_name(w->form.type), w->form.nested ? ", double" : "");
    hone_plan_add(plan, "weights, copied", w->copied_bytes, "norms, biases, reordered rows");
    hone_plan_add(plan, "text and data", r->text_bytes, "tokenizer, template, token ids");
    if (!r->train)
        hone_plan_add(plan, "data, prepared", hone_dataset_making_bytes(),
                      "beside the training: a shard and its rows");
    if (r->shard_bytes)
        hone_plan_add(plan, "data, mapped", r->shard_bytes, "token shards, as stored");
    if (hone_adapter_is_low_rank(r->adapter))
        hone_plan_add(plan, "adapter", hone_adapter_bytes(r->adapter), "r %d, %zu values, f32", r->adapter->r,
                      r->adapter->n);
    else
        hone_plan_add(plan, "trained weights", n, "%zu values of %zu tensors, f32", r->adapter->n,
                      r->adapter->n_params);
    hone_plan_add(plan, "gradients", n, "f32");
    if (optimizer.file)
        hone_plan_add(plan, "optimiser", beside(&optimizer, w->offloaded ? use.block : 0),
                      "%s; %.3g GB in a file", optimizer.name, (double)optimizer.file / 1e9);
    else
        hone_plan_add(plan, "optimiser", optimizer.memory, "%s", optimizer.name);
    plan->file_bytes = optimizer.file + w->file_bytes;
    hone_activations_plan(plan, r->model, r->adapter, &ap);
    hone_plan_add(plan, "workspace", hone_workspace_size(r->dev, &ws), "of the ops");
    hone_plan_add(plan, "row losses", hone_row_losses_size(r->train ? hone_dataset_size(r->data) : 0),
                  r->train ? "first and last of every row" : "8 bytes a row, as they come");
    if (hone_samples_wanted(r))
        hone_plan_add(plan, "sample answers",
                      r->cb.generator->bytes(r->model, r->adapter, hone_samples_capacity(r)),
                      "keys and values of %d positions, during an evaluation", hone_samples_capacity(r));
    hone_plan_add(plan, "batch", hone_packer_size(r->tokens, r->max_seq), "ids, targets, weights, offsets");
}

/* Memory in use already, which does not have to be available any more. */
static uint64_t held(const hone_run *r)
{
    return r->memory ? 0
                     : r->program_bytes + r->text_bytes + r->model->w->copied_bytes +
                           r->model->w->quantised_bytes + hone_adapter_bytes(r->adapter);
}

bool hone_run_fits(const hone_run *r, const hone_plan *plan)
{
    return plan->total <= plan->available + held(r);
}

/* Adds what a setting would save, when that is more than nothing. */
static void offer(hone_buf *b, const char *setting, uint64_t now, uint64_t then)
{
    if (then < now)
        hone_buf_printf(b, "%s %s saves %.3g GB", b->len ? ";" : ":", setting, (double)(now - then) / 1e9);
}

/* The settings that lower the plan of a level, each with the bytes it saves. */
static void savings(hone_buf *b, const hone_run *r, const hone_plan plan[3], int level)
{
    const hone_config *c = r->c;
    const uint64_t now = plan[level].total, n = r->adapter->n * sizeof(float);
    const uint64_t optimizer = hone_optimizer_measure(r->adapter, c).memory;
    const hone_weights_use use = hone_weights_used(r->model->w, &r->adapter->view);
    hone_config eight = *c, away = *c;
    hone_run half = *r;
    hone_plan other;
    char setting[80];

    if (level < 2)
        offer(b, "training.gradient_checkpointing: 2", now, plan[2].total);
    half.tokens = (r->tokens + 1) / 2;
    half.targets = (r->targets + 1) / 2;
    hone_run_plan(&half, level, &other);
    if (c->training.per_device_train_batch_size > 1)
        snprintf(setting, sizeof setting, "training.per_device_train_batch_size: %d",
                 c->training.per_device_train_batch_size / 2);
    else
        snprintf(setting, sizeof setting, "model.max_length: %d", half.tokens);
    offer(b, setting, now, other.total);
    eight.training.optim = HONE_OPTIM_ADAMW_8BIT;
    if (c->training.optim == HONE_OPTIM_ADAMW)
        offer(b, "training.optim: adamw_8bit", optimizer, hone_optimizer_measure(r->adapter, &eight).memory);
    away.training.offload_optimizer = true;
    offer(b, "training.offload_optimizer: true", optimizer, hone_optimizer_measure(r->adapter, &away).memory);
    if (!r->model->w->offloaded)
        offer(b, "training.offload_base: true", use.mapped + use.heap, use.rest + use.block);
    if (!hone_adapter_is_low_rank(r->adapter)) /* factors are about a hundredth */
        offer(b, "training.finetuning_type: lora", now, now - (2 * n + optimizer) / 100 * 99);
}

int hone_run_choose(const hone_run *r, hone_plan plan[3], int *chosen, hone_error *err)
{
    const int want = r->c->training.gradient_checkpointing;
    hone_buf ways = {0};
    int level, rc;

    for (level = 0; level < 3; level++)
        hone_run_plan(r, level, &plan[level]);
    for (level = want == HONE_RECOMPUTE_AUTO ? 0 : want; level < 3; level++) {
        *chosen = level;
        if (hone_run_fits(r, &plan[level]))
            return 0;
        if (want != HONE_RECOMPUTE_AUTO)
            break;
    }
    level = *chosen;
    savings(&ways, r, plan, level);
    rc = hone_error_set(err, HONE_ENOMEM,
                        "the run needs %.3g GB and %.3g GB are %s (recomputation level %d, "
                        "%d positions)%s",
                        (double)(plan[level].total - held(r)) / 1e9, (double)plan[level].available / 1e9,
                        r->memory ? "allowed" : "free", level, r->tokens, ways.data ? ways.data : "");
    hone_buf_clear(&ways);
    return rc;
}

#define ASSUMED_SHARE 0.6 /* of the machine's peak */

void hone_run_estimate(const hone_run *r, int64_t done, hone_train_begin *out)
{
    const double rows = (double)HONE_MAX(r->epoch.rows, 1), tokens = (double)r->epoch.tokens;
    double epochs;

    *out = (hone_train_begin){.steps = r->steps, .done = done, .assumed_share = ASSUMED_SHARE};
    out->peak_gflops = hone_device_peak_gflops(r->dev, r->model->act == HONE_BF16, HONE_PEAK_SECONDS);
    if (!r->train || r->per_epoch < 1)
        return;
    epochs = (double)(r->steps - done) / (double)r->per_epoch;
    /* as if all rows were of the mean length, whose pairs are fewest: attention is the small part */
    out->gflop =
        epochs * hone_step_gflop(&r->model->w->arch, r->adapter, tokens, tokens * (tokens / rows + 1) / 2);
    out->seconds = out->gflop / (out->peak_gflops * out->assumed_share);
}
