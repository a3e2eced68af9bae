/* hone bench step: the speed of one training step beside the machine's own peak. */
#include <string.h>

#include "cli.h"

static json_t *result_json(const hone_bench_params *p, const hone_bench_result *r, const char *mode,
                           const char *precision)
{
    return json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:i, s:s, s:s, s:s, s:s, s:i, "
                     "s:i, s:i, s:i}",
                     "tokens_per_second", json_number(r->tokens_per_second), "tokens_per_second_best",
                     json_number(r->tokens_per_second_best), "peak_bytes", (json_int_t)r->peak_bytes,
                     "planned_bytes", (json_int_t)r->planned_bytes, "machine_peak_gflops",
                     json_number(r->machine_peak_gflops), "gflop_per_token", json_number(r->gflop_per_token),
                     "attention_gflop_per_token", json_number(r->attention_gflop_per_token), "roofline_share",
                     json_number(r->roofline_share), "loss_first", json_number(r->loss_first), "loss_last",
                     json_number(r->loss_last), "device", r->device, "threads", r->threads, "model",
                     p->model ? p->model : p->shape, "mode", mode, "precision", precision, "quant",
                     quant_name[p->open.quant], "r", p->r, "tokens", (int)p->tokens, "recompute",
                     p->recompute, "steps", p->steps);
}

static void print_result(const hone_bench_params *p, const hone_bench_result *r, const char *precision)
{
    char peak[32], plan[32];

    printf("%s, ", p->model ? p->model : p->shape);
    if (p->full)
        printf("full");
    else
        printf("LoRA r %d", p->r);
    if (p->open.quant > HONE_QUANT_NONE)
        printf(" on %s", quant_name[p->open.quant]);
    printf(", %d tokens, %s, %s with %d threads, median of %d steps\n", (int)p->tokens, precision, r->device,
           r->threads, p->steps);
    printf("  tokens/s          %10.1f   (best %.1f)\n", r->tokens_per_second, r->tokens_per_second_best);
    printf("  GFLOP a token     %10.3f   (attention %.3f)\n", r->gflop_per_token,
           r->attention_gflop_per_token);
    printf("  machine GFLOP/s   %10.1f   (multiply-adds in registers, measured beside every step)\n",
           r->machine_peak_gflops);
    printf("  share of peak     %9.1f %%\n", 100 * r->roofline_share);
    printf("  peak memory       %10s   (planned %s)\n", size_text(peak, r->peak_bytes),
           size_text(plan, r->planned_bytes));
    printf("  loss              %10.4f   to %.4f\n", r->loss_first, r->loss_last);
}

static int run(const common *c, const hone_bench_params *p, const char *mode, const char *precision,
               bool json)
{
    hone_error err = HONE_ERROR_INIT;
    hone_bench_result result;
    hone_device *device = NULL;
    int rc = EXIT_SUCCESS;

    memset(&result, 0, sizeof result);
    if (device_open(&device, c, &err) || hone_bench_step(p, device, &result, &err)) {
        rc = fail_with(&err);
        goto out;
    }
    if (p->open.precision == HONE_PRECISION_AUTO)
        precision = hone_device_has_bf16(device) ? "bf16" : "f32";
    if (json)
        rc = json_print(result_json(p, &result, mode, precision));
    else
        print_result(p, &result, precision);
out:
    hone_device_close(device);
    return rc;
}

int command_bench(int argc, char **argv)
{
    common c = {0};
    const char *model = NULL, *shape = NULL, *mode = "lora", *precision = "auto", *quant = "none",
               *what = NULL;
    int64_t r = 8, tokens = 512, steps = 5, seed = 42, recompute = 0;
    double dropout = 0;
    bool json = false, cold = false;
    const option options[] = {
        MODEL_OPTION(model),
        {.name = "--shape",
         .kind = OPTION_CHOICE,
         .value = &shape,
         .argument = "NAME",
         .choices = "smol|qwen",
         .help = "Random weights in the shape of SmolLM2-135M or Qwen2.5-0.5B, instead of a model."},
        {.name = "--mode",
         .kind = OPTION_CHOICE,
         .value = &mode,
         .argument = "M",
         .choices = "lora|full",
         .standard = "lora",
         .help = "What is trained: an adapter, or the whole model."},
        {.name = "--r",
         .kind = OPTION_INT,
         .value = &r,
         .argument = "N",
         .min = 1,
         .max = 1024,
         .standard = "8",
         .help = "Rank of the adapter, on all linear layers."},
        {.name = "--tokens",
         .kind = OPTION_INT,
         .value = &tokens,
         .argument = "N",
         .min = 2,
         .max = 1e6,
         .standard = "512",
         .help = "Tokens of the one document; every position is a target."},
        {.name = "--steps",
         .kind = OPTION_INT,
         .value = &steps,
         .argument = "N",
         .min = 1,
         .max = 1e6,
         .standard = "5",
         .help = "Steps timed, after one to warm up."},
        {.name = "--cold",
         .kind = OPTION_FLAG,
         .value = &cold,
         .help = "No step to warm up: for steps of minutes."},
        {.name = "--recompute",
         .kind = OPTION_INT,
         .value = &recompute,
         .argument = "N",
         .max = 2,
         .standard = "0",
         .help = "What backward computes again instead of keeping it: 0 nothing, 1 norms and gated products, "
                 "2 whole blocks."},
        {.name = "--dropout",
         .kind = OPTION_NUMBER,
         .value = &dropout,
         .argument = "P",
         .max = 0.99,
         .standard = "0",
         .help = "Dropout on the adapter's input."},
        PRECISION_OPTION(precision),
        {.name = "--quant",
         .kind = OPTION_CHOICE,
         .value = &quant,
         .argument = "Q",
         .choices = "none|nf4|fp4|q8_0",
         .standard = "none",
         .help = "Quantises the linear layers of a 16- or 32-bit base, or the random weights."},
        {.name = "--seed",
         .kind = OPTION_INT,
         .value = &seed,
         .argument = "N",
         .max = 9e15,
         .standard = "42",
         .help = "Seed of ids, weights and adapter."},
        JSON_OPTION(json),
        {0}};
    const usage u = {"bench",
                     "step --model PATH | --shape smol|qwen [OPTIONS]",
                     "Times a training step on one document: forward, backward, clipping and optimiser. The "
                     "machine's matrix peak is measured beside every step, so that the share of it "
                     "means something on a busy machine too.",
                     options,
                     1,
                     1};
    hone_bench_params p;
    parse_result parsed;
    int n;

    parsed = options_parse(&u, &c, argc, argv, &what, &n);
    if (parsed != PARSE_RUN)
        return parse_exit(parsed);
    if (strcmp(what, "step") != 0)
        return usage_error(&u, "there is no bench '%s', there is: step", what);
    if (!model == !shape)
        return usage_error(&u, "give either --model or --shape");
    if (strcmp(mode, "full") == 0 && strcmp(quant, "none") != 0)
        return usage_error(&u, "--quant: a quantised base can not be trained itself (--mode full)");
    memset(&p, 0, sizeof p);
    p.model = model;
    p.shape = shape;
    p.full = strcmp(mode, "full") == 0;
    p.r = (int)r;
    p.tokens = (int32_t)tokens;
    p.steps = (int)steps;
    p.cold = cold;
    p.recompute = (int)recompute;
    p.dropout = dropout;
    p.open = model_params_of(precision, quant);
    p.seed = (uint64_t)seed;
    return run(&c, &p, mode, precision, json);
}
