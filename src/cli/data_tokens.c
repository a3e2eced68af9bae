/* hone data prepare --tokens: the prepared rows rendered and tokenised, as the token shards that hone train finds. */
#include "cli.h"

static void on_note(void *ud, const char *line)
{
    (void)ud;
    note("%s", line);
}

/* One file with the configuration's options. Its rows are hone's own: the names that the raw files use, and the number of
 * rows that was wanted of them, are behind. */
static int make(const hone_config *c, const hone_chat *chat, const char *path, hone_error *err)
{
    char *cache_dir, sequences[32], tokens[32], packs_text[32], bytes[32];
    hone_dataset_options o;
    hone_dataset_report report;
    hone_config with = *c;
    uint64_t packs;
    int rc;

    with.data.cache = true;
    rc = hone_dataset_options_from(&o, &cache_dir, &with, err);
    o.rows.fields = NULL;
    o.rows.roles = NULL;
    o.max_samples = 0;
    o.note = on_note;
    o.progress = progress_wanted() ? progress_rows : NULL;
    if (!rc)
        rc = hone_dataset_build_cache(&path, 1, chat, &o, &report, &packs, err);
    progress(NULL);
    if (!rc)
        note("%s: %s sequences, %s tokens, %s packs of at most %d; %s of token shards in %s", path,
             count_text(sequences, report.sequences), count_text(tokens, report.tokens),
             count_text(packs_text, packs), o.max_length, size_text(bytes, report.mapped_bytes), cache_dir);
    hone_free(cache_dir);
    return rc;
}

int data_make_tokens(const hone_config *c, const char *train, const char *validation)
{
    hone_error err = HONE_ERROR_INIT;
    hone_tokenizer *tokenizer = NULL;
    hone_chat *chat = NULL;
    int rc;

    if (!c->model.name_or_path)
        return fail("--tokens needs model.name_or_path: its tokenizer and chat template");
    rc = hone_tokenizer_open(&tokenizer, c->model.name_or_path, &err);
    if (!rc)
        rc = hone_chat_open(&chat, c->model.name_or_path, tokenizer, &err);
    if (!rc)
        rc = make(c, chat, train, &err);
    if (!rc && validation)
        rc = make(c, chat, validation, &err);
    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    return rc ? fail_with(&err) : EXIT_SUCCESS;
}
