/* Rows that are worth training on, stage by stage:
 *   read      every row is converted and looked at alone: is it good, what do the rules say, does it repeat an evaluation
 *             row; on several threads (prepare_read.c)
 *   compare   equal and nearly equal rows are grouped, one of a group stays; the rules that need all rows see those left
 *   score     figures by a model of the rows that are left; filters
 *   choose    balance, mix, split, order (choose.c)
 *   write     rows, ledger, summary, callbacks (prepare_write.c)
 * Every row has one state, set once; a stage looks only at rows that are still in. So a row that was dropped for its own
 * sake stands for no other. */
#include <math.h>
#include <string.h>

#include "data/prepare.h"

int prepare_no_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the rows");
}

void prepare_tell(preparation *p, const char *stage, uint64_t rows, uint64_t done, uint64_t total)
{
    hone_progress at = {.stage = stage, .rows = rows, .done = done, .total = total};

    if (p->options->progress)
        p->options->progress(p->options->ud, &at);
}

static int find_duplicates(preparation *p, hone_error *err)
{
    double similarity;
    size_t i;
    int rc = dedup_run(p->dedup, err);

    for (i = 0; !rc && i < p->n_compared; i++)
        if (dedup_kept(p->dedup, i, &similarity) != i)
            p->row[p->of_compared[i]].state = ROW_DUPLICATE;
    return rc;
}

/* The rules that need all rows. */
static int check_all(preparation *p, hone_error *err)
{
    size_t i;
    int rc = 0;

    for (i = 0; !rc && i < p->n; i++)
        if (p->row[i].state == ROW_IN)
            rc = quality_observe(p->quality, i, p->row[i].digest, err);
    if (!rc)
        rc = quality_finish(p->quality, &p->corpus, &p->n_corpus, err);
    for (i = 0; !rc && i < p->n_corpus; i++) {
        const quality_corpus_finding *f = &p->corpus[i];

        if (f->row < p->n && p->row[f->row].state == ROW_IN &&
            quality_rule(p->quality, f->finding.rule).action == QUALITY_DROP) {
            p->row[f->row].state = ROW_RULE;
            p->row[f->row].rule = f->finding.rule;
        }
    }
    return rc;
}

static int check_options(const hone_prepare_options *o, hone_error *err)
{
    if ((o->near && (o->ngram < 1 || o->ngram > NGRAM_LIMIT || !(o->threshold > 0 && o->threshold <= 1))) ||
        (o->n_against && (o->contamination_ngram < 1 || o->contamination_ngram > NGRAM_LIMIT ||
                          !(o->share > 0 && o->share <= 1))))
        return hone_error_set(err, HONE_EINVAL, "n-grams have 1 to %d characters, thresholds lie in (0, 1]",
                              NGRAM_LIMIT);
    if (o->choose && o->choose->val_size > 0 && o->output && !o->validation)
        return hone_error_set(err, HONE_EINVAL, "rows are held out, but no file is given for them");
    return 0;
}

static int open_parts(preparation *p, const char *const *paths, size_t n, hone_error *err)
{
    const hone_prepare_options *o = p->options;
    dedup_options d = {o->near, o->threshold, o->ngram, data_threads(o->threads)};
    hone_rows_options strict = o->rows;
    int rc = prepare_filters(p, err);

    strict.keep_going = false; /* of evaluation rows */
    if (!rc && o->quality.enabled)
        rc = quality_open(&p->quality, &o->quality, err);
    if (!rc && o->n_against)
        rc = contamination_open(&p->contamination, o->against, o->n_against, &strict, o->contamination_ngram,
                                o->share, err);
    if (!rc && (o->exact || o->near))
        rc = dedup_open(&p->dedup, &d, err);
    if (!rc)
        rc = hone_rows_open(&p->rows, paths, n, &o->rows, err);
    return rc;
}

int hone_data_prepare(const char *const *paths, size_t n, const hone_prepare_options *o,
                      hone_ledger_counts *counts, hone_error *err)
{
    preparation p = {.options = o};
    int rc = check_options(o, err);

    *counts = (hone_ledger_counts){0};
    if (!rc)
        rc = open_parts(&p, paths, n, err);
    if (!rc)
        rc = prepare_read(&p, err);
    if (!rc)
        prepare_tell(&p, "compare", 0, 0, p.n);
    if (!rc && p.dedup)
        rc = find_duplicates(&p, err);
    if (!rc && p.quality)
        rc = check_all(&p, err);
    if (!rc)
        rc = prepare_score_rows(&p, err);
    if (!rc)
        rc = prepare_choose(&p, err);
    if (!rc)
        rc = prepare_write(&p, counts, err);
    hone_rows_close(p.rows);
    dedup_close(p.dedup);
    contamination_close(p.contamination);
    prepare_read_clear(&p);
    quality_close(p.quality);
    names_clear(&p.task);
    names_clear(&p.label);
    names_clear(&p.group);
    choice_clear(&p.choice);
    hone_free(p.row);
    hone_free(p.of_compared);
    hone_free(p.score);
    hone_free(p.filter);
    hone_free(p.chosen);
    return rc;
}
