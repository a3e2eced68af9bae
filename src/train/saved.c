/* What lies in output_dir at any moment: results are replaced whole; the root holds the best one so far when there are
 * evaluation rows (else the newest), checkpoint-N the one after step N with all that the run needs to go on from there. */
#include <string.h>
#include <unistd.h>

#include "text/tokenizer.h"
#include "train/loop.h"

/* ---- results and checkpoints --------------------------------------------------------------------------------- */

int hone_loop_save_result(hone_loop *l, const char *dir, hone_error *err)
{
    const hone_run *r = l->r;

    if (!hone_adapter_is_low_rank(r->adapter)) {
        int rc = hone_tokenizer_export(r->c->model.name_or_path, dir, err);

        return rc ? rc : hone_model_save(r->model, r->adapter, dir, r->c->training.save_precision, err);
    }
    return hone_adapter_save(r->adapter, dir, hone_chat_hash(r->chat), hone_tokenizer_hash(r->tok), err);
}

static char *checkpoint_path(const hone_loop *l, int64_t step)
{
    char name[40];

    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    return hone_path_join(l->r->c->training.output_dir, name);
}

static void remove_file(const char *dir, const char *name)
{
    char *path = hone_path_join(dir, name);

    if (path)
        unlink(path);
    hone_free(path);
}

/* Removes what save_checkpoint wrote; a folder with other files stays with these. The state goes first: without it a
 * folder is no checkpoint any more. */
static void remove_checkpoint(const hone_loop *l, int64_t step)
{
    static const char *const adapter[] = {"adapter_model.safetensors", "adapter_config.json", NULL};
    const char *const *file = hone_adapter_is_low_rank(l->r->adapter) ? adapter : hone_model_files;
    char *dir = checkpoint_path(l, step);
    size_t i;

    if (dir) {
        remove_file(dir, HONE_CHECKPOINT_FILE);
        remove_file(dir, HONE_ROW_LOSS_FILE);
    }
    for (i = 0; dir && file[i]; i++)
        remove_file(dir, file[i]);
    if (dir && !hone_adapter_is_low_rank(l->r->adapter))
        hone_tokenizer_remove_files(dir);
    if (dir)
        rmdir(dir);
    hone_free(dir);
}

/* What the order of the data, the random numbers and the trained tensors follow from: a checkpoint of a run that differs
 * here can not be continued. */
static void describe(char out[600], const hone_run *r)
{
    const hone_config *c = r->c;
    uint64_t tensors = 0;
    char replay[64] = "";
    size_t i;

    for (i = 0; i < r->adapter->n_params; i++) {
        const hone_param *p = &r->adapter->param[i];
        const int64_t shape[] = {(int64_t)p->role, p->layer, p->module, p->rows, p->cols};

        tensors = hone_hash64(tensors, shape, sizeof shape);
    }
    for (i = 0; i < HONE_COUNT(r->adapter->token_patch); i++)
        tensors = hone_hash64(tensors, r->adapter->token_patch[i].id,
                              (size_t)r->adapter->token_patch[i].n * sizeof(int32_t));
    if (r->replay.draw)
        snprintf(replay, sizeof replay, ", replayed %zu of %zu", r->replay.draw, r->replay.n);
    snprintf(
        out, 600,
        "training.seed %lld, per_device_train_batch_size %d, gradient_accumulation_steps %d, shuffle %s%s, "
        "packing %d/%d, optim %d, model.max_length %d, rows %016llx%s, trained tensors %016llx",
        (long long)c->training.seed, c->training.per_device_train_batch_size,
        c->training.gradient_accumulation_steps, r->feed.p.shuffle ? "true" : "false",
        r->feed.p.group ? " by length" : "", c->training.packing, (int)c->training.packing_strategy,
        (int)c->training.optim, c->model.max_length,
        r->train ? (unsigned long long)hone_dataset_hash(r->data) : 0, replay, (unsigned long long)tensors);
}

/* The blocks of a checkpoint, where they lie. */
static hone_checkpoint blocks_of(const hone_loop *l, char text[600])
{
    hone_checkpoint c = {
        .text = text, .value = l->r->adapter->value, .value_bytes = l->r->adapter->n * sizeof(float)};

    describe(text, l->r);
    c.optimizer = hone_optimizer_state(l->optimizer, &c.optimizer_bytes, &c.optimizer_in_file);
    return c;
}

static int write_state(const hone_loop *l, const char *dir, int64_t step, hone_error *err)
{
    char text[600];
    hone_checkpoint c = blocks_of(l, text);

    c.state = (hone_checkpoint_state){.step = step,
                                      .at = l->at,
                                      .tokens = l->out->tokens,
                                      .trained_tokens = l->out->trained_tokens,
                                      .loss = l->loss,
                                      .weight = l->weight,
                                      .best = l->best,
                                      .evaluated = l->out->has_eval,
                                      .kept = l->kept,
                                      .guard = l->guard,
                                      .plateau = l->plateau,
                                      .seconds = hone_now() - l->started,
                                      .eval_due = l->eval_due};
    return hone_checkpoint_write(dir, &c, err);
}

/* Everything of checkpoint-N in a folder beside it, which then takes its place. */
static int write_checkpoint(hone_loop *l, int64_t step, hone_error *err)
{
    char *dir = checkpoint_path(l, step);
    hone_buf partial = {0};
    int rc;

    hone_buf_printf(&partial, "%s.partial", dir ? dir : "");
    rc = dir && !partial.failed ? hone_mkdirs(partial.data, err)
                                : hone_error_set(err, HONE_ENOMEM, "out of memory while saving a checkpoint");
    if (!rc)
        rc = hone_loop_save_result(l, partial.data, err);
    if (!rc)
        rc = write_state(l, partial.data, step, err);
    if (!rc)
        rc = hone_row_losses_save(&l->rows, partial.data, err);
    if (!rc) {
        remove_checkpoint(l, step); /* of an earlier run */
        rc = hone_path_rename(partial.data, dir, err);
    }
    if (rc)
        hone_checkpoint_sweep(l->r->c->training.output_dir);
    hone_buf_clear(&partial);
    hone_free(dir);
    return rc;
}

int hone_loop_save(hone_loop *l, int64_t step, hone_error *err)
{
    int64_t limit = l->r->c->training.save_total_limit, i;
    int64_t *saved;
    int rc;

    if (l->n_saved && l->saved[l->n_saved - 1] == step)
        return 0;
    saved = hone_realloc_array(l->saved, (size_t)l->n_saved + 1, sizeof *saved);
    if (saved)
        l->saved = saved;
    rc = saved ? write_checkpoint(l, step, err)
               : hone_error_set(err, HONE_ENOMEM, "out of memory while saving a checkpoint");
    if (rc)
        return rc;
    l->saved[l->n_saved++] = step;
    for (i = 0; limit > 0 && l->n_saved > limit && i < l->n_saved - 1;) {
        if (l->saved[i] == l->best.step) {
            i++;
            continue;
        }
        remove_checkpoint(l, l->saved[i]);
        memmove(l->saved + i, l->saved + i + 1, (size_t)(l->n_saved - i - 1) * sizeof *l->saved);
        l->n_saved--;
    }
    return 0;
}

/* ---- going on -------------------------------------------------------------------------------------------------- */

/* Lists the checkpoints up to the resumed one, so that save_total_limit counts them. */
static int list_saved(hone_loop *l, hone_error *err)
{
    int64_t step;

    for (step = 1; step <= l->resumed; step++) {
        char *dir = checkpoint_path(l, step), *file = dir ? hone_path_join(dir, HONE_CHECKPOINT_FILE) : NULL;
        int64_t *saved = l->saved;
        const bool there = file && hone_path_exists(file);

        if (there)
            saved = hone_realloc_array(l->saved, (size_t)l->n_saved + 1, sizeof *saved);
        hone_free(dir);
        hone_free(file);
        if (!file || (there && !saved))
            return hone_error_set(err, HONE_ENOMEM, "out of memory for the list of checkpoints");
        l->saved = saved;
        if (there)
            l->saved[l->n_saved++] = step;
    }
    return 0;
}

int hone_resume_folder(char **dir, const hone_config *c, hone_error *err)
{
    const char *from = c->training.resume_from_checkpoint;
    const bool any = from && !strcmp(from, "auto");
    char *file;
    int rc = 0;

    *dir = NULL;
    if (!from || !strcmp(from, "false"))
        return 0;
    if (any || !strcmp(from, "true")) {
        rc = hone_checkpoint_newest(dir, c->training.output_dir, err);
        return rc || *dir || any
                   ? rc
                   : hone_error_set(err, HONE_ENOENT,
                                    "training.resume_from_checkpoint: there is no whole checkpoint in %s; "
                                    "`auto` begins when there is none",
                                    c->training.output_dir);
    }
    *dir = hone_strdup(from);
    file = *dir ? hone_path_join(*dir, HONE_CHECKPOINT_FILE) : NULL;
    if (!file)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    else if (!hone_path_exists(file))
        rc = hone_error_set(err, HONE_ENOENT,
                            "training.resume_from_checkpoint: %s is no checkpoint: it has no %s", from,
                            HONE_CHECKPOINT_FILE);
    hone_free(file);
    if (rc) {
        hone_free(*dir);
        *dir = NULL;
    }
    return rc;
}

int hone_loop_resume(hone_loop *l, hone_error *err)
{
    hone_run *r = l->r;
    char text[600], line[300], *dir;
    hone_checkpoint c;
    int rc = hone_resume_folder(&dir, r->c, err);

    if (rc || !dir)
        return rc;
    c = blocks_of(l, text);
    rc = hone_checkpoint_read(&c, dir, err);
    if (!rc)
        rc = hone_adapter_update(r->adapter, err);
    if (!rc) {
        const hone_checkpoint_state s = c.state;

        snprintf(line, sizeof line, "going on after step %lld from %.200s", (long long)s.step, dir);
        hone_run_note(r, line);
        l->resumed = l->out->steps = s.step;
        l->at = s.at;
        l->out->tokens = s.tokens;
        l->out->trained_tokens = s.trained_tokens;
        l->loss = s.loss;
        l->weight = s.weight;
        l->best = s.best;
        l->kept = s.kept;
        l->guard = s.guard;
        l->out->has_eval = s.evaluated;
        l->out->skipped = s.guard.skipped;
        l->plateau = s.plateau;
        l->eval_due = s.eval_due;
        l->before = s.seconds;
        if (hone_row_losses_load(&l->rows, dir, NULL))
            hone_run_note(r, "the checkpoint has no losses of rows: those of rows.jsonl begin anew");
        rc = list_saved(l, err);
    }
    hone_free(dir);
    return rc;
}
