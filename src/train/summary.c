/* run.json: what a run was and what came of it, for the report and for scripts. */
#include <string.h>

#include "format/json.h"
#include "train/loop.h"

static json_t *plan_json(const hone_plan *plan)
{
    json_t *list = json_array();
    int i;

    for (i = 0; i < plan->n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I}", "purpose", plan->item[i].purpose, "detail",
                                        plan->item[i].detail, "bytes", (json_int_t)plan->item[i].bytes));
    return list;
}

static json_t *eval_json(const hone_train_result *out)
{
    return json_pack("{s:f, s:f, s:f, s:I, s:I, s:I}", "loss", out->eval.loss, "perplexity",
                     out->eval.perplexity, "accuracy", out->eval.accuracy, "tokens",
                     (json_int_t)out->eval.tokens, "rows", (json_int_t)out->eval.rows, "step",
                     (json_int_t)out->best_step);
}

static const char *method(const hone_config *c)
{
    return c->training.finetuning_type == HONE_FINETUNING_LORA   ? "lora"
           : c->training.finetuning_type == HONE_FINETUNING_FULL ? "full"
                                                                 : "freeze";
}

int hone_loop_write_summary(const hone_loop *l, const hone_plan *plan, hone_error *err)
{
    const hone_run *r = l->r;
    const hone_train_result *out = l->out;
    json_t *doc = json_pack(
        "{s:b, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, "
        "s:I, s:i, s:o}",
        "stopped", out->stopped, "steps", (json_int_t)out->steps, "total_steps", (json_int_t)r->steps,
        "train_loss", out->train_loss, "tokens", (json_int_t)out->tokens, "trained_tokens",
        (json_int_t)out->trained_tokens, "setup_seconds", out->setup_seconds, "seconds", out->seconds,
        "estimated_seconds", l->estimated_seconds, "peak_gflops", l->peak_gflops, "device",
        hone_device_name(r->dev), "threads", hone_device_threads(r->dev), "precision",
        hone_model_precision(r->model) == HONE_PRECISION_F32 ? "f32" : "bf16", "model",
        r->c->model.name_or_path, "method", method(r->c), "trained_values", (json_int_t)r->adapter->n, "rows",
        (json_int_t)(r->train ? r->n_train : hone_dataset_size(r->data)), "eval_rows", (json_int_t)r->n_eval,
        "planned_bytes", (json_int_t)out->planned_bytes, "peak_bytes", (json_int_t)out->peak_bytes,
        "recompute", plan->recompute, "plan", plan_json(plan));
    char *path = hone_path_join(r->c->training.output_dir, "run.json");
    hone_buf b = {0};
    int rc = 0;

    if (doc && r->replay.draw) {
        json_object_set_new(doc, "replay_rows", json_integer((json_int_t)r->replay.n));
        json_object_set_new(doc, "replayed_rows_per_epoch", json_integer((json_int_t)r->replay.draw));
    }
    if (doc && out->has_eval)
        json_object_set_new(doc, "eval", eval_json(out));
    if (doc)
        hone_json_dump(&b, doc, JSON_INDENT(1));
    hone_buf_putc(&b, '\n');
    if (!doc || !path || b.failed)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for run.json");
    if (!rc)
        rc = hone_file_write(path, b.data, b.len, err);
    json_decref(doc);
    hone_buf_clear(&b);
    hone_free(path);
    return rc;
}
