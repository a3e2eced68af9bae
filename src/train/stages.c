/* Several trainings that follow one another in one run.
 *
 * Each stage is a run of its own in output_dir/stage-N-NAME, with its own checkpoints and metrics, that starts from the
 * result of the one before: an adapter goes on from its files, a whole model from its directory. A stage is over when its
 * folder holds FINISHED, which is written last; going on skips such stages and goes on inside the first other one, so the
 * bits are those of a run that never stopped. At the end the last stage's result is output_dir's as well (the same files,
 * by hard links where the file system has them). */
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "train/run.h"

#define FINISHED "finished"

static const char *const adapter_files[] = {"adapter_model.safetensors", "adapter_config.json", NULL};

char *hone_train_stage_dir(const hone_config *c, size_t i)
{
    char name[100];

    snprintf(name, sizeof name, "stage-%zu-%.60s", i + 1, c->stage[i].name);
    return hone_path_join(c->training.output_dir, name);
}

/* A file in the folder of a stage. Allocated. */
static char *stage_path(const hone_config *c, size_t i, const char *file)
{
    char *dir = hone_train_stage_dir(c, i), *path;

    if (!dir)
        return NULL;
    path = hone_path_join(dir, file);
    hone_free(dir);
    return path;
}

/* Gives a text of a configuration another value, which it then owns. */
static int replace(char **field, char *value, hone_error *err)
{
    hone_free(*field);
    *field = value;
    return value ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory");
}

/* The configuration of stage i as a run of its own. */
static int make_stage(hone_config **out, const hone_config *c, size_t i, bool resume, hone_error *err)
{
    char name[32];
    hone_config *s;
    int rc = hone_config_of_stage(&s, c, i, err);

    *out = NULL;
    if (rc)
        return rc;
    snprintf(name, sizeof name, "stage-%zu", i + 1);
    rc = replace(&s->training.output_dir, hone_train_stage_dir(c, i), err);
    if (!rc)
        rc = replace(&s->training.resume_from_checkpoint, hone_strdup(resume ? "auto" : "false"), err);
    if (!rc && s->training.logging_dir)
        rc = replace(&s->training.logging_dir, hone_path_join(c->training.logging_dir, name), err);
    if (!rc && s->data.cache && !s->data.cache_dir)
        rc = replace(&s->data.cache_dir, hone_path_join(c->training.output_dir, "cache"), err);
    if (!rc && i)
        rc = replace(c->training.finetuning_type == HONE_FINETUNING_LORA ? &s->lora.init_adapter
                                                                         : &s->model.name_or_path,
                     hone_train_stage_dir(c, i - 1), err);
    if (rc)
        hone_config_free(s);
    else
        *out = s;
    return rc;
}

/* The same file under another path. */
static int share_file(const char *from, const char *to, hone_error *err)
{
    hone_map map = {0};
    int rc;

    unlink(to);
    if (link(from, to) == 0)
        return 0;
    rc = hone_map_open(&map, from, err);
    if (!rc)
        rc = hone_file_write(to, map.data, map.size, err);
    hone_map_close(&map);
    return rc;
}

static int share_tokenizer(const hone_config *c, hone_error *err)
{
    char *from = hone_train_stage_dir(c, c->n_stages - 1);
    int rc = from ? hone_tokenizer_export(from, c->training.output_dir, err)
                  : hone_error_set(err, HONE_ENOMEM, "out of memory");

    hone_free(from);
    return rc;
}

/* The last stage's result as that of the run. */
static int share_result(const hone_config *c, hone_error *err)
{
    const char *const *file =
        c->training.finetuning_type == HONE_FINETUNING_LORA ? adapter_files : hone_model_files;
    size_t i;
    int rc = 0;

    for (i = 0; !rc && file[i]; i++) {
        char *from = stage_path(c, c->n_stages - 1, file[i]),
             *to = hone_path_join(c->training.output_dir, file[i]);

        if (!from || !to)
            rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
        else if (hone_path_exists(from))
            rc = share_file(from, to, err);
        hone_free(from);
        hone_free(to);
    }
    if (!rc && c->training.finetuning_type != HONE_FINETUNING_LORA)
        rc = share_tokenizer(c, err);
    return rc;
}

/* What an earlier run left: nothing of it counts when this one begins anew. */
static int forget_stages(const hone_config *c, hone_error *err)
{
    size_t i;

    for (i = 0; i < c->n_stages; i++) {
        char *path = stage_path(c, i, FINISHED);

        if (!path)
            return hone_error_set(err, HONE_ENOMEM, "out of memory");
        unlink(path);
        hone_free(path);
    }
    return 0;
}

static int begin(const hone_config *c, bool *resume, hone_error *err)
{
    const char *from = c->training.resume_from_checkpoint;
    char *path;
    int rc;

    *resume = from && strcmp(from, "false") != 0;
    if ((rc = hone_mkdirs(c->training.output_dir, err)))
        return rc;
    path = hone_path_join(c->training.output_dir, "config.yaml");
    rc = path ? hone_config_save(c, path, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");
    hone_free(path);
    return rc || *resume ? rc : forget_stages(c, err);
}

/* One stage, unless it is over already. */
static int run_stage(const hone_config *c, size_t i, bool resume, hone_device *dev,
                     const hone_train_callbacks *cb, hone_train_result *out, hone_error *err)
{
    char *finished = stage_path(c, i, FINISHED), line[160];
    const bool over = finished && hone_path_exists(finished);
    hone_config *s = NULL;
    int rc = finished ? make_stage(&s, c, i, resume, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");

    snprintf(line, sizeof line, "stage %zu of %zu: %s%s", i + 1, c->n_stages, c->stage[i].name,
             over ? " (finished before)" : "");
    if (!rc && cb && cb->note)
        cb->note(cb->ud, line);
    if (!rc && !over) {
        rc = hone_run_whole(s, dev, cb, out, err);
        if (!rc && !out->stopped)
            rc = hone_file_write(finished, "", 0, err);
    }
    hone_config_free(s);
    hone_free(finished);
    return rc;
}

int hone_train_run(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                   hone_train_result *out, hone_error *err)
{
    bool resume;
    size_t i;
    int rc;

    if (!c->n_stages)
        return hone_run_whole(c, dev, cb, out, err);
    memset(out, 0, sizeof *out);
    rc = hone_config_check(c, err);
    if (!rc)
        rc = begin(c, &resume, err);
    for (i = 0; !rc && i < c->n_stages && !out->stopped; i++)
        rc = run_stage(c, i, resume, dev, cb, out, err);
    return rc || out->stopped ? rc : share_result(c, err);
}
