/* hone train --dry-run: all that can go wrong before the first step, found without one. Data, template, model, adapter and
 * plan come from the run's own preparation; what a run would meet later only is looked at here: whether its folder can be
 * written, and whether the disk holds its checkpoints. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "train/optimizer.h"
#include "train/row_loss.h"
#include "train/run.h"

/* That files can be written in a folder that may still have to be made. */
static int check_folder(const char *key, const char *path, uint64_t *free_bytes, hone_error *err)
{
    char *at = hone_path_nearest(path);
    struct statvfs s;
    int rc = 0;

    if (!at)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (!hone_path_is_dir(at))
        rc = hone_error_set(err, HONE_EIO, "%s %s: %s is not a folder", key, path, at);
    else if (access(at, W_OK | X_OK) != 0 || statvfs(at, &s) != 0)
        rc = hone_error_set(err, HONE_EIO, "%s %s: can not write in %s: %s", key, path, at, strerror(errno));
    else
        *free_bytes = (uint64_t)s.f_bavail * s.f_frsize;
    hone_free(at);
    return rc;
}

/* Files of a result and of the state beside it. */
static void checkpoint_sizes(const hone_run *r, hone_dry_run *out)
{
    const uint64_t values = r->adapter->n * sizeof(float);
    const int64_t limit = r->c->training.save_total_limit;
    int64_t points = r->save_every ? (r->steps + r->save_every - 1) / r->save_every : 0;

    out->result_bytes = hone_adapter_is_low_rank(r->adapter)
                            ? values
                            : r->model->w->mapped_bytes + r->model->w->copied_bytes + r->model->w->file_bytes;
    out->checkpoint_bytes = out->result_bytes + values + hone_optimizer_measure(r->adapter, r->c).states +
                            hone_row_losses_size(r->train ? hone_dataset_size(r->data) : 0);
    if (limit > 0) /* one more before the oldest goes */
        points = HONE_MIN(points, limit + 1);
    out->checkpoints = points;
    out->disk_bytes = out->result_bytes + (uint64_t)points * out->checkpoint_bytes;
}

static bool same_disk(const char *a, const char *b)
{
    char *x = hone_path_nearest(a), *y = hone_path_nearest(b);
    struct stat s, t;
    const bool same = x && y && stat(x, &s) == 0 && stat(y, &t) == 0 && s.st_dev == t.st_dev;

    hone_free(x);
    hone_free(y);
    return same;
}

/* Room for the files that the run would still make; what it takes of the disk of the checkpoints is not free for them. */
static int check_offload(const hone_run *r, hone_dry_run *out, hone_error *err)
{
    const char *dir = hone_config_offload_dir(r->c);
    const uint64_t need = hone_optimizer_measure(r->adapter, r->c).file;
    uint64_t left;
    int rc = need ? check_folder("training.offload_dir", dir, &left, err) : 0;

    if (rc || !need)
        return rc;
    if (need > left)
        return hone_error_set(
            err, HONE_EIO, "training.offload_dir %s: the optimiser's states need %.2f GB, %.2f GB are free",
            dir, (double)need / 1e9, (double)left / 1e9);
    if (same_disk(dir, r->c->training.output_dir))
        out->disk_free -= HONE_MIN(need, out->disk_free);
    return 0;
}

static int first_micro_batch(hone_run *r, hone_dry_run *out, hone_error *err)
{
    const uint32_t *which;
    size_t n;
    int rc = hone_feed_load(&r->feed, (hone_position){0}, err);

    if (rc)
        return rc;
    which = hone_feed_micro(&r->feed, 0, &n);
    out->batch_rows = which ? (int64_t)n : 0;
    out->batch_tokens = which ? (int64_t)hone_dataset_tokens(r->data, which, n) : 0;
    out->batch_trained = which ? hone_count_targets(r->data, which, n) : 0;
    return 0;
}

/* The folders that a run writes in, and the checkpoint it goes on from. */
static int check_places(const hone_config *c, hone_dry_run *out, hone_error *err)
{
    char *dir = NULL;
    uint64_t unused;
    size_t i;
    int rc = check_folder("training.output_dir", c->training.output_dir, &out->disk_free, err);

    for (i = 0; !rc && c->training.logging_dir && i < c->training.report_to.n; i++)
        if (!strcmp(c->training.report_to.item[i], "tensorboard"))
            rc = check_folder("training.logging_dir", c->training.logging_dir, &unused, err);
    if (!rc)
        rc = hone_resume_folder(&dir, c, err);
    hone_free(dir);
    return rc;
}

static int dry_run_one(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                       hone_dry_run *out, hone_error *err)
{
    hone_plan plan[3];
    hone_run r;
    int chosen, rc;

    memset(out, 0, sizeof *out);
    rc = hone_run_prepare(&r, c, dev, cb, err);
    if (rc)
        return rc;
    rc = hone_run_choose(&r, plan, &chosen, err);
    if (!rc)
        rc = first_micro_batch(&r, out, err);
    if (!rc)
        rc = check_places(c, out, err);
    if (!rc)
        rc = check_offload(&r, out, err);
    if (!rc) {
        out->plan = plan[chosen];
        out->eval_rows = (int64_t)r.n_eval;
        out->questions = (int64_t)r.held_out.n_questions;
        hone_run_estimate(&r, 0, &out->begin);
        checkpoint_sizes(&r, out);
    }
    hone_run_clear(&r);
    return rc;
}

/* Stage i as one that writes no tokens and looks for no checkpoint: a stage begins where there is none. */
static int make_stage(hone_config **out, const hone_config *c, size_t i, hone_error *err)
{
    static const char *const change[] = {"data.streaming=false", "data.cache=false",
                                         "training.resume_from_checkpoint=false"};
    int rc = hone_config_of_stage(out, c, i, err);
    size_t k;

    for (k = 0; !rc && k < HONE_COUNT(change); k++)
        rc = hone_config_set(*out, change[k], err);
    return rc;
}

/* Stages follow one another: time and space add up, the memory is that of the one that needs the most. */
static int add_stage(hone_dry_run *all, const hone_config *c, size_t i, hone_device *dev,
                     const hone_train_callbacks *cb, hone_error *err)
{
    const hone_dry_run before = *all;
    hone_config *s;
    hone_dry_run r;
    int rc = make_stage(&s, c, i, err);

    if (!rc)
        rc = dry_run_one(s, dev, cb, &r, err);
    if (!rc) {
        if (!i || r.plan.total > before.plan.total)
            *all = r;
        all->begin.steps = before.begin.steps + r.begin.steps;
        all->begin.seconds = before.begin.seconds + r.begin.seconds;
        all->checkpoints = before.checkpoints + r.checkpoints;
        all->disk_bytes = before.disk_bytes + r.disk_bytes;
    }
    hone_config_free(s);
    return rc;
}

int hone_train_dry_run(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                       hone_dry_run *out, hone_error *err)
{
    size_t i;
    int rc = c->n_stages ? hone_config_check(c, err) : dry_run_one(c, dev, cb, out, err);

    if (c->n_stages)
        memset(out, 0, sizeof *out);
    for (i = 0; !rc && i < c->n_stages; i++)
        rc = add_stage(out, c, i, dev, cb, err);
    if (!rc && out->disk_bytes > out->disk_free) {
        char need[64];

        snprintf(need, sizeof need, "%.2f GB", (double)out->disk_bytes / 1e9);
        rc = hone_error_set(err, HONE_EIO,
                            "training.output_dir %s: %lld checkpoints and the result need %s, %.2f GB are "
                            "free; lower training.save_total_limit",
                            c->training.output_dir, (long long)out->checkpoints, need,
                            (double)out->disk_free / 1e9);
    }
    return rc;
}
