/* Speed of preparing: the training rows of a configuration through reading, rules, near-duplicates and writing, then what is
 * left through rendering, tokenising, packing and writing token shards; seconds of both, wall clock and CPU.
 *
 * usage: bench_data CONFIG.yaml FOLDER [THREADS]
 * bench/data_prepare.py runs it on a million rows, bench/data_against_datasets.py compares it with Python libraries. */
#include <stdlib.h>
#include <time.h>

#include "base/base.h"
#include "hone/data.h"

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *config = NULL;
    hone_tokenizer *tokenizer = NULL;
    hone_chat *chat = NULL;
    hone_choose_options choose;
    hone_prepare_options o;
    hone_dataset_options d;
    hone_dataset_report report;
    hone_ledger_counts counts;
    char *cache = NULL, *file[4] = {NULL};
    double start = hone_now(), prepared, done, cpu;
    const char *train[1];
    uint64_t packs;
    int threads = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 0, i;
    int rc = 1;

    if (argc < 3) {
        fprintf(stderr, "usage: %s CONFIG.yaml FOLDER [THREADS]\n", argv[0]);
        return 2;
    }
    for (i = 0; i < 4; i++) {
        static const char *const name[] = {"train.jsonl", "validation.jsonl", "ledger.jsonl", "summary.json"};

        file[i] = hone_path_join(argv[2], name[i]);
        if (!file[i])
            goto fail;
    }
    if (hone_config_load(&config, argv[1], &err))
        goto fail;
    hone_prepare_options_read(&o, &choose, config);
    o.threads = threads;
    o.output = file[0];
    o.validation = file[1];
    o.ledger = file[2];
    o.summary = file[3];
    if (hone_data_prepare((const char *const *)config->data.train_data_path.item,
                          config->data.train_data_path.n, &o, &counts, &err))
        goto fail;
    prepared = hone_now();
    cpu = cpu_seconds();
    if (hone_tokenizer_open(&tokenizer, config->model.name_or_path, &err) ||
        hone_chat_open(&chat, config->model.name_or_path, tokenizer, &err) ||
        hone_dataset_options_from(&d, &cache, config, &err))
        goto fail;
    d.threads = threads;
    train[0] = file[0];
    if (hone_dataset_build_cache(train, 1, chat, &d, &report, &packs, &err))
        goto fail;
    done = hone_now();
    printf("{\"rows\":%llu,\"used\":%llu,\"tokens\":%llu,\"packs\":%llu,\"prepare_seconds\":%.3f,"
           "\"cache_seconds\":%.3f,\"prepare_cpu\":%.3f,\"cache_cpu\":%.3f,\"peak_mib\":%.0f}\n",
           (unsigned long long)counts.rows, (unsigned long long)counts.used,
           (unsigned long long)report.tokens, (unsigned long long)packs, prepared - start, done - prepared,
           cpu, cpu_seconds() - cpu, (double)hone_rss_peak() / 1048576);
    rc = 0;
fail:
    if (rc)
        fprintf(stderr, "%s\n", err.message);
    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    hone_config_free(config);
    hone_free(cache);
    for (i = 0; i < 4; i++)
        hone_free(file[i]);
    return rc;
}
