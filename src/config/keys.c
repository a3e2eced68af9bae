/* The one table of configuration keys. The parser, `--set`, the reference text and the saved configuration all walk
 * it, so that a key is added by adding a row here and a field in hone/config.h. Rows of one section stand together,
 * and so do the rows nested under one name; the saved file follows this order. */
#include <float.h>
#include <limits.h>
#include <string.h>

#include "config/keys.h"

#define AT(field) offsetof(hone_config, field)
#define POSITIVE .min = 0, .max = DBL_MAX, .flags = KEY_ABOVE_MIN
#define NOT_NEGATIVE .min = 0, .max = DBL_MAX
#define FROM(low) .min = (low), .max = INT32_MAX

static const config_choice bias_choice[] = {{"none", HONE_BIAS_NONE, false},
                                            {"all", HONE_BIAS_ALL, false},
                                            {"lora_only", HONE_BIAS_LORA_ONLY, false},
                                            {0}};
static const config_choice finetuning_choice[] = {{"lora", HONE_FINETUNING_LORA, false},
                                                  {"full", HONE_FINETUNING_FULL, false},
                                                  {"freeze", HONE_FINETUNING_FREEZE, false},
                                                  {0}};
static const config_choice schedule_choice[] = {
    {"cosine", HONE_SCHEDULE_COSINE, false},
    {"linear", HONE_SCHEDULE_LINEAR, false},
    {"constant", HONE_SCHEDULE_CONSTANT, false},
    {"constant_with_warmup", HONE_SCHEDULE_CONSTANT_WITH_WARMUP, false},
    {"cosine_with_restarts", HONE_SCHEDULE_COSINE_WITH_RESTARTS, false},
    {"polynomial", HONE_SCHEDULE_POLYNOMIAL, false},
    {"inverse_sqrt", HONE_SCHEDULE_INVERSE_SQRT, false},
    {"cosine_with_min_lr", HONE_SCHEDULE_COSINE_WITH_MIN_LR, false},
    {"cosine_warmup_with_min_lr", HONE_SCHEDULE_COSINE_WARMUP_WITH_MIN_LR, false},
    {"warmup_stable_decay", HONE_SCHEDULE_WARMUP_STABLE_DECAY, false},
    {"reduce_lr_on_plateau", HONE_SCHEDULE_REDUCE_ON_PLATEAU, false},
    {"greedy", HONE_SCHEDULE_GREEDY, false},
    {0}};
static const config_choice curve_choice[] = {{"linear", HONE_CURVE_LINEAR, false},
                                             {"cosine", HONE_CURVE_COSINE, false},
                                             {"1-sqrt", HONE_CURVE_ONE_MINUS_SQRT, false},
                                             {0}};
static const config_choice threshold_choice[] = {{"auto", HONE_THRESHOLD_AUTO, false},
                                                 {"rel", HONE_THRESHOLD_REL, false},
                                                 {"abs", HONE_THRESHOLD_ABS, false},
                                                 {0}};
static const config_choice loss_choice[] = {
    {"nll", HONE_LOSS_NLL, false}, {"dft", HONE_LOSS_DFT, false}, {0}};
static const config_choice optim_choice[] = {{"adamw_torch", HONE_OPTIM_ADAMW, false},
                                             {"adamw", HONE_OPTIM_ADAMW, true},
                                             {"adamw_torch_fused", HONE_OPTIM_ADAMW, true},
                                             {"adamw_8bit", HONE_OPTIM_ADAMW_8BIT, false},
                                             {"adamw_bnb_8bit", HONE_OPTIM_ADAMW_8BIT, true},
                                             {"adafactor", HONE_OPTIM_ADAFACTOR, false},
                                             {"sgd", HONE_OPTIM_SGD, false},
                                             {0}};
static const config_choice precision_choice[] = {{"auto", HONE_PRECISION_AUTO, false},
                                                 {"bf16", HONE_PRECISION_BF16, false},
                                                 {"f32", HONE_PRECISION_F32, false},
                                                 {0}};
static const config_choice recompute_choice[] = {{"auto", HONE_RECOMPUTE_AUTO, false},
                                                 {"0", 0, false},
                                                 {"1", 1, false},
                                                 {"2", 2, false},
                                                 {"false", 0, false},
                                                 {"true", 2, false},
                                                 {0}};
static const config_choice strategy_choice[] = {{"no", HONE_STRATEGY_NO, false},
                                                {"steps", HONE_STRATEGY_STEPS, false},
                                                {"epoch", HONE_STRATEGY_EPOCH, false},
                                                {0}};
static const config_choice overlong_choice[] = {{"error", HONE_OVERLONG_ERROR, false},
                                                {"drop", HONE_OVERLONG_DROP, false},
                                                {"truncate", HONE_OVERLONG_TRUNCATE, false},
                                                {"split", HONE_OVERLONG_SPLIT, false},
                                                {0}};

static const config_choice sampling_choice[] = {{"auto", HONE_SAMPLER_AUTO, false},
                                                {"random", HONE_SAMPLER_RANDOM, false},
                                                {"sequential", HONE_SAMPLER_SEQUENTIAL, false},
                                                {"group_by_length", HONE_SAMPLER_BY_LENGTH, false},
                                                {0}};
static const config_choice toggle_choice[] = {{"auto", HONE_TOGGLE_AUTO, false},
                                              {"true", HONE_TOGGLE_TRUE, false},
                                              {"false", HONE_TOGGLE_FALSE, false},
                                              {0}};
static const config_choice spike_choice[] = {{"note", HONE_SPIKE_NOTE, false},
                                             {"skip", HONE_SPIKE_SKIP, false},
                                             {"stop", HONE_SPIKE_STOP, false},
                                             {0}};
static const config_choice packing_choice[] = {
    {"step", HONE_PACKING_STEP, false}, {"bfd", HONE_PACKING_BFD, false}, {0}};
static const config_choice text_choice[] = {{"paragraph", HONE_TEXT_PARAGRAPH, false},
                                            {"line", HONE_TEXT_LINE, false},
                                            {"file", HONE_TEXT_FILE, false},
                                            {0}};
static const config_choice balance_choice[] = {{"none", HONE_BALANCE_NONE, false},
                                               {"task", HONE_BALANCE_TASK, false},
                                               {"label", HONE_BALANCE_LABEL, false},
                                               {0}};
static const config_choice method_choice[] = {{"down", HONE_BALANCE_DOWN, false},
                                              {"up", HONE_BALANCE_UP, false},
                                              {"temperature", HONE_BALANCE_TEMPERATURE, false},
                                              {0}};
static const config_choice quant_choice[] = {
    {"nf4", HONE_QUANT_NF4, false}, {"fp4", HONE_QUANT_FP4, false}, {0}};
static const config_choice compute_choice[] = {{"auto", HONE_COMPUTE_AUTO, false},
                                               {"float32", HONE_COMPUTE_F32, false},
                                               {"bfloat16", HONE_COMPUTE_BF16, false},
                                               {"float16", HONE_COMPUTE_F16, false},
                                               {0}};
static const config_choice order_choice[] = {{"file", HONE_ORDER_FILE, false},
                                             {"shuffle", HONE_ORDER_SHUFFLE, false},
                                             {"curriculum", HONE_ORDER_CURRICULUM, false},
                                             {"staged", HONE_ORDER_STAGED, false},
                                             {0}};
static const config_choice split_choice[] = {{"row", HONE_SPLIT_ROW, false},
                                             {"group", HONE_SPLIT_GROUP, false},
                                             {"task", HONE_SPLIT_TASK, false},
                                             {0}};
static const config_choice invalid_choice[] = {
    {"error", HONE_INVALID_ERROR, false}, {"drop", HONE_INVALID_DROP, false}, {0}};

const config_key config_keys[] = {
    {"model", "name_or_path", NULL, KIND_PATH, AT(model.name_or_path), .unset = "required",
     .help = "The base model: a GGUF file or a Hugging Face directory."},
    {"model", "max_length", NULL, KIND_INT, AT(model.max_length), "2048", FROM(1),
     .help = "Longest sequence in tokens; data.overlong says what happens to longer rows."},
    {"model", "load_in_4bit", NULL, KIND_BOOL, AT(model.load_in_4bit), "false",
     .help = "Quantise a 16- or 32-bit base to NF4 (double quantised) while loading. A GGUF base keeps its "
             "own format."},
    {"model", "load_in_8bit", NULL, KIND_BOOL, AT(model.load_in_8bit), "false",
     .help = "The same with Q8_0 blocks."},
    {"model", "bnb_4bit_quant_type", NULL, KIND_CHOICE, AT(model.bnb_4bit_quant_type), "nf4",
     .choice = quant_choice, .help = "The codes of load_in_4bit."},
    {"model", "bnb_4bit_use_double_quant", NULL, KIND_BOOL, AT(model.bnb_4bit_use_double_quant), "true",
     .help = "Quantise the scales of load_in_4bit, too: 4.13 bits a weight instead of 4.5."},
    {"model", "bnb_4bit_compute_dtype", NULL, KIND_CHOICE, AT(model.bnb_4bit_compute_dtype), "auto",
     .choice = compute_choice,
     .help = "Arithmetic with load_in_4bit, as transformers has the key: another way to write "
             "training.precision. There is no float16 arithmetic on a CPU: it computes as `auto`."},
    {"model", "cache_dir", NULL, KIND_PATH, AT(model.cache_dir), .unset = "the user's cache directory",
     .help = "Where fetched models lie."},
    {"model", "trust_remote_code", NULL, KIND_BOOL, AT(model.trust_remote_code), "false",
     .flags = KEY_NO_EFFECT, .help = "Accepted, without effect: hone runs no code of a model."},
    {"model", "use_fast_tokenizer", NULL, KIND_BOOL, AT(model.use_fast_tokenizer), "true",
     .flags = KEY_NO_EFFECT, .help = "Accepted, without effect: there is one tokenizer."},

    {"lora", "r", NULL, KIND_INT, AT(lora.r), "8", .min = 1, .max = 4096, .help = "Rank of the adapter."},
    {"lora", "lora_alpha", NULL, KIND_NUMBER, AT(lora.lora_alpha), "16", POSITIVE,
     .help = "Scaling: the adapter's output is multiplied by lora_alpha / r."},
    {"lora", "lora_dropout", NULL, KIND_NUMBER, AT(lora.lora_dropout), "0.05", .min = 0, .max = 1,
     .flags = KEY_BELOW_MAX, .help = "Dropout on the adapter's input."},
    {"lora", "target_modules", NULL, KIND_TARGETS, AT(lora.target_modules), "all-linear",
     .help = "The layers that get an adapter: a list of names, one regular expression for the whole name, or "
             "`all-linear` (every linear layer but the output head)."},
    {"lora", "exclude_modules", NULL, KIND_TARGETS, AT(lora.limits.exclude), .unset = "none",
     .help = "Layers that get none although target_modules names them: a list of names, or one regular "
             "expression for the whole name."},
    {"lora", "layers_to_transform", NULL, KIND_NUMBERS, AT(lora.limits.layers), .unset = "all", FROM(0),
     .help = "Numbers of the blocks, from 0, that get an adapter; with a list of target_modules."},
    {"lora", "layers_pattern", NULL, KIND_TEXTS, AT(lora.limits.layers_pattern), .unset = "any name",
     .help = "What stands before that number in a layer's name, like `layers`; with layers_to_transform."},
    {"lora", "bias", NULL, KIND_CHOICE, AT(lora.bias), "none", .choice = bias_choice,
     .help = "Which biases are trained."},
    {"lora", "task_type", NULL, KIND_TEXT, AT(lora.task_type), "CAUSAL_LM", .help = "Only `CAUSAL_LM`."},
    {"lora", "init_adapter", NULL, KIND_PATH, AT(lora.init_adapter), .unset = "a new adapter",
     .help = "Adapter directory to start from."},
    {"lora", "use_rslora", NULL, KIND_BOOL, AT(lora.use_rslora), "false",
     .help = "Rank-stabilised: the scaling is lora_alpha / sqrt(r)."},
    {"lora", "use_dora", NULL, KIND_BOOL, AT(lora.use_dora), "false",
     .help = "The length of each output row of a weight is trained apart from its direction."},
    {"lora", "rank_pattern", NULL, KIND_PATTERNS, AT(lora.rank_pattern), .unset = "r everywhere", .min = 1,
     .max = 4096,
     .help = "Other ranks for some layers: a mapping of a name, or a regular expression for the end of the "
             "path, to "
             "a rank. The first that matches counts."},
    {"lora", "alpha_pattern", NULL, KIND_PATTERNS, AT(lora.alpha_pattern), .unset = "lora_alpha everywhere",
     POSITIVE, .help = "Other values of lora_alpha, likewise."},
    {"lora", "modules_to_save", "additional_target", KIND_TEXTS, AT(lora.modules_to_save), .unset = "none",
     .help = "Modules that are trained whole beside the adapter and saved with it, like `embed_tokens` and "
             "`lm_head`."},
    {"lora", "trainable_token_indices", NULL, KIND_NUMBERS, AT(lora.trainable_token_indices), .unset = "none",
     FROM(0),
     .help = "Ids of tokens whose rows of the embedding (and of a head that is the embedding) are trained "
             "beside the adapter and saved with it."},
    {"lora", "trainable_token_modules", NULL, KIND_TEXTS, AT(lora.trainable_token_modules), "embed_tokens",
     .help = "Whose rows these are: `embed_tokens`, `lm_head` (a head of its own), or a list of both."},
    {"lora", "loraplus_lr_ratio", NULL, KIND_NUMBER, AT(lora.loraplus_lr_ratio), "0", NOT_NEGATIVE,
     .help = "LoRA+: the learning rate of B is this many times that of A; 0 = off."},

    {"training", "output_dir", NULL, KIND_PATH, AT(training.output_dir), .unset = "required",
     .help = "Folder of the adapter, metrics.jsonl and the effective configuration."},
    {"training", "resume_from_checkpoint", NULL, KIND_PATH, AT(training.resume_from_checkpoint),
     .unset = "none", .flags = KEY_WORDS,
     .help =
         "Goes on from a checkpoint, bit for bit: `true` from the newest whole one in output_dir, `auto` the "
         "same if there is one, or a folder checkpoint-N."},
    {"training", "finetuning_type", NULL, KIND_CHOICE, AT(training.finetuning_type), "lora",
     .choice = finetuning_choice,
     .help = "What is trained: `lora` an adapter, `full` the whole model, `freeze` a part of it."},
    {"training", "freeze_trainable_layers", NULL, KIND_INT, AT(training.freeze_trainable_layers), "2",
     .min = -INT32_MAX, .max = INT32_MAX,
     .help = "Layers that `finetuning_type: freeze` trains: n > 0 the last n, n < 0 the first -n."},
    {"training", "freeze_trainable_modules", NULL, KIND_TEXTS, AT(training.freeze_trainable_modules), "all",
     .help = "Modules of these layers that are trained: `all`, or names like `mlp`, `self_attn`, "
             "`input_layernorm`."},
    {"training", "freeze_extra_modules", NULL, KIND_TEXTS, AT(training.freeze_extra_modules), .unset = "none",
     .help = "Modules outside of layers that are trained too: `embed_tokens`, `norm`, `lm_head`."},
    {"training", "freeze_trainable_pattern", NULL, KIND_TEXT, AT(training.freeze_trainable_pattern),
     .unset = "none",
     .help =
         "A regular expression: tensors whose name (`model.layers.0.mlp.up_proj.weight`) holds a match are "
         "trained too."},
    {"training", "num_train_epochs", NULL, KIND_NUMBER, AT(training.num_train_epochs), "3", POSITIVE,
     .help = "Passes over the data; may be a fraction."},
    {"training", "max_steps", NULL, KIND_INT, AT(training.max_steps), "-1", FROM(-1),
     .help = "Number of updates; above 0 it wins over num_train_epochs."},
    {"training", "per_device_train_batch_size", NULL, KIND_INT, AT(training.per_device_train_batch_size), "4",
     FROM(1),
     .help = "Rows of a micro-batch. How a step is cut into micro-batches never changes its result beyond "
             "rounding."},
    {"training", "per_device_eval_batch_size", NULL, KIND_INT, AT(training.per_device_eval_batch_size), "4",
     FROM(1), .help = "Rows of a batch in evaluation."},
    {"training", "gradient_accumulation_steps", NULL, KIND_INT, AT(training.gradient_accumulation_steps), "4",
     FROM(1), .help = "Micro-batches of an update."},
    {"training", "learning_rate", NULL, KIND_NUMBER, AT(training.learning_rate), "2e-4", POSITIVE,
     .help = "Highest learning rate of the schedule."},
    {"training", "lr_scheduler_type", NULL, KIND_CHOICE, AT(training.lr_scheduler_type), "cosine",
     .choice = schedule_choice, .help = "Course of the learning rate."},
    {"training", "lr_scheduler_kwargs.num_cycles", NULL, KIND_NUMBER,
     AT(training.lr_scheduler_kwargs.num_cycles), "0", NOT_NEGATIVE,
     .help = "Waves of the cosine schedules; 0 = 0.5, with restarts 1."},
    {"training", "lr_scheduler_kwargs.power", NULL, KIND_NUMBER, AT(training.lr_scheduler_kwargs.power), "1",
     POSITIVE, .help = "Of `polynomial`."},
    {"training", "lr_scheduler_kwargs.lr_end", NULL, KIND_NUMBER, AT(training.lr_scheduler_kwargs.lr_end),
     "1e-7", NOT_NEGATIVE, .help = "Last learning rate of `polynomial`."},
    {"training", "lr_scheduler_kwargs.min_lr", NULL, KIND_NUMBER, AT(training.lr_scheduler_kwargs.min_lr),
     "-1", .min = -1, .max = DBL_MAX,
     .help = "Lowest learning rate of the schedules with a minimum, warmup_stable_decay, "
             "reduce_lr_on_plateau and `greedy`; below 0: 0, of `greedy` 1e-3."},
    {"training", "lr_scheduler_kwargs.min_lr_rate", "lr_scheduler_kwargs.min_lr_ratio", KIND_NUMBER,
     AT(training.lr_scheduler_kwargs.min_lr_rate), "0", .min = 0, .max = 1,
     .help = "The same as a share of learning_rate; above 0 it wins over min_lr."},
    {"training", "lr_scheduler_kwargs.warmup_lr_rate", NULL, KIND_NUMBER,
     AT(training.lr_scheduler_kwargs.warmup_lr_rate), "-1", .min = -1, .max = 1,
     .help = "Share of learning_rate that `cosine_warmup_with_min_lr` starts from; below 0: its first step "
             "is one "
             "warm-up step high."},
    {"training", "lr_scheduler_kwargs.timescale", NULL, KIND_INT, AT(training.lr_scheduler_kwargs.timescale),
     "auto", FROM(0), .zero = "auto",
     .help = "Of `inverse_sqrt`; `auto`: the warm-up, or 10,000 without one."},
    {"training", "lr_scheduler_kwargs.num_decay_steps", NULL, KIND_INT,
     AT(training.lr_scheduler_kwargs.num_decay_steps), "0", FROM(0),
     .help = "Updates of the fall of `warmup_stable_decay`; required by it."},
    {"training", "lr_scheduler_kwargs.num_stable_steps", NULL, KIND_INT,
     AT(training.lr_scheduler_kwargs.num_stable_steps), "auto", FROM(0), .zero = "auto",
     .help = "Updates between rise and fall; `auto`: what is left."},
    {"training", "lr_scheduler_kwargs.decay_type", NULL, KIND_CHOICE,
     AT(training.lr_scheduler_kwargs.decay_type), "cosine", .choice = curve_choice,
     .help = "Course of the fall of `warmup_stable_decay`."},
    {"training", "lr_scheduler_kwargs.warmup_type", NULL, KIND_CHOICE,
     AT(training.lr_scheduler_kwargs.warmup_type), "linear", .choice = curve_choice,
     .help = "Course of its rise."},
    {"training", "lr_scheduler_kwargs.factor", NULL, KIND_NUMBER, AT(training.lr_scheduler_kwargs.factor),
     "0", .min = 0, .max = 1, .flags = KEY_BELOW_MAX,
     .help =
         "What `reduce_lr_on_plateau` and `greedy` multiply the learning rate by; `greedy` also divides by "
         "it, when the loss keeps falling. 0 = 0.1, of `greedy` 0.95."},
    {"training", "lr_scheduler_kwargs.threshold", NULL, KIND_NUMBER,
     AT(training.lr_scheduler_kwargs.threshold), "-1", .min = -1, .max = DBL_MAX,
     .help = "Improvement of the evaluation loss that counts for them; below 0: 1e-4, of `greedy` 1e-6."},
    {"training", "lr_scheduler_kwargs.threshold_mode", NULL, KIND_CHOICE,
     AT(training.lr_scheduler_kwargs.threshold_mode), "auto", .choice = threshold_choice,
     .help = "Whether it is a share of the best loss or a difference; `auto`: `rel`, of `greedy` `abs`."},
    {"training", "lr_scheduler_kwargs.patience", NULL, KIND_INT, AT(training.lr_scheduler_kwargs.patience),
     "10", FROM(0),
     .help = "Evaluations without improvement that they wait for; `greedy` also waits for as many with one."},
    {"training", "lr_scheduler_kwargs.cooldown", NULL, KIND_INT, AT(training.lr_scheduler_kwargs.cooldown),
     "0", FROM(0), .help = "Evaluations after a reduction that they do not count."},
    {"training", "lr_scheduler_kwargs.eps", NULL, KIND_NUMBER, AT(training.lr_scheduler_kwargs.eps), "1e-8",
     NOT_NEGATIVE, .help = "Changes of the learning rate up to this are not made by them."},
    {"training", "lr_scheduler_kwargs.warmup", NULL, KIND_INT, AT(training.lr_scheduler_kwargs.warmup), "0",
     FROM(0), .help = "Evaluations after a rise that `greedy` does not count."},
    {"training", "lr_scheduler_kwargs.max_lr", NULL, KIND_NUMBER, AT(training.lr_scheduler_kwargs.max_lr),
     "1", POSITIVE, .help = "Highest learning rate of `greedy`."},
    {"training", "lr_scheduler_kwargs.smooth", NULL, KIND_BOOL, AT(training.lr_scheduler_kwargs.smooth),
     "false", .help = "`greedy` looks at the mean of the last losses."},
    {"training", "lr_scheduler_kwargs.window_size", NULL, KIND_INT,
     AT(training.lr_scheduler_kwargs.window_size), "50", .min = 1, .max = HONE_WINDOW_MAX,
     .help = "Of how many losses."},
    {"training", "lr_scheduler_kwargs.reset_start", NULL, KIND_INT,
     AT(training.lr_scheduler_kwargs.reset_start), "500", FROM(0),
     .help = "After this many reductions asked for at the lowest rate `greedy` begins anew with "
             "learning_rate."},
    {"training", "warmup_ratio", NULL, KIND_NUMBER, AT(training.warmup_ratio), "0.03", .min = 0, .max = 1,
     .help = "Share of the updates in which the learning rate rises from 0."},
    {"training", "warmup_steps", NULL, KIND_INT, AT(training.warmup_steps), "0", FROM(0),
     .help = "The same in updates; above 0 it wins over warmup_ratio."},
    {"training", "optim", NULL, KIND_CHOICE, AT(training.optim), "adamw_torch", .choice = optim_choice,
     .help = "The optimiser."},
    {"training", "weight_decay", NULL, KIND_NUMBER, AT(training.weight_decay), "0.01", NOT_NEGATIVE,
     .help =
         "Decoupled weight decay, of all tensors but norms and biases (of `sgd`: added to the gradient)."},
    {"training", "adam_beta1", NULL, KIND_NUMBER, AT(training.adam_beta1), "0.9", .min = 0, .max = 1,
     .flags = KEY_BELOW_MAX, .help = "Decay of AdamW's first moment."},
    {"training", "adam_beta2", NULL, KIND_NUMBER, AT(training.adam_beta2), "0.999", .min = 0, .max = 1,
     .flags = KEY_BELOW_MAX, .help = "Decay of AdamW's second moment."},
    {"training", "adam_epsilon", NULL, KIND_NUMBER, AT(training.adam_epsilon), "1e-8", NOT_NEGATIVE,
     .help = "AdamW's epsilon."},
    {"training", "sgd_momentum", NULL, KIND_NUMBER, AT(training.sgd_momentum), "0", .min = 0, .max = 1,
     .flags = KEY_BELOW_MAX, .help = "Momentum of `sgd`."},
    {"training", "label_smoothing_factor", NULL, KIND_NUMBER, AT(training.label_smoothing_factor), "0",
     .min = 0, .max = 1, .flags = KEY_BELOW_MAX,
     .help = "Share of the target that is spread over the whole vocabulary. Evaluation is without it."},
    {"training", "z_loss", NULL, KIND_NUMBER, AT(training.z_loss), "0", NOT_NEGATIVE,
     .help = "Weight of the squared logarithm of the softmax's sum, which keeps logits small. Likewise."},
    {"training", "neftune_noise_alpha", NULL, KIND_NUMBER, AT(training.neftune_noise_alpha), "0",
     NOT_NEGATIVE,
     .help = "NEFTune: noise on the embeddings in training, uniform within this over the root of the row's "
             "length times "
             "the width; 5 is usual, 0 = none."},
    {"training", "loss_type", NULL, KIND_CHOICE, AT(training.loss_type), "nll", .choice = loss_choice,
     .help = "`nll` cross-entropy; `dft` the same times the target's probability, taken as a constant."},
    {"training", "max_grad_norm", NULL, KIND_NUMBER, AT(training.max_grad_norm), "1.0", NOT_NEGATIVE,
     .help = "The gradient's norm is clipped to this; 0 = no clipping."},
    {"training", "bf16", NULL, KIND_BOOL, AT(training.bf16), "false",
     .help = "`true` is another way to write `precision: bf16`."},
    {"training", "fp16", NULL, KIND_BOOL, AT(training.fp16), "false",
     .help = "There is no fp16 arithmetic on a CPU: `true` computes as `precision` says, and says so."},
    {"training", "precision", NULL, KIND_CHOICE, AT(training.precision), "auto", .choice = precision_choice,
     .help = "Arithmetic of weights and activations; `auto` is bf16 where the machine has it, else f32."},
    {"training", "gradient_checkpointing", NULL, KIND_CHOICE, AT(training.gradient_checkpointing), "auto",
     .choice = recompute_choice,
     .help = "What the backward pass recomputes to save memory: 0 or `false` nothing, 1 cheap operations, 2 "
             "or `true` "
             "whole blocks; `auto` lets the memory plan decide."},
    {"training", "offload_optimizer", NULL, KIND_BOOL, AT(training.offload_optimizer), "false",
     .help = "Keeps the optimiser's states in a temporary file instead of memory. Same result; a step takes "
             "longer."},
    {"training", "offload_base", NULL, KIND_BOOL, AT(training.offload_base), "false",
     .help = "Keeps the frozen weights out of memory but for the block that is at work: those of the "
             "checkpoint in its own file, quantised ones in temporary files."},
    {"training", "offload_dir", NULL, KIND_PATH, AT(training.offload_dir), .unset = "output_dir",
     .help = "Folder of such files; on a disk, not in memory (tmpfs)."},
    {"training", "save_precision", NULL, KIND_CHOICE, AT(training.save_precision), "auto",
     .choice = precision_choice,
     .help = "Type of the matrices of a full result; `auto`: as the base stores them, bf16 when that is "
             "quantised."},
    {"training", "save_strategy", NULL, KIND_CHOICE, AT(training.save_strategy), "steps",
     .choice = strategy_choice, .help = "When a checkpoint is written."},
    {"training", "save_steps", NULL, KIND_NUMBER, AT(training.save_steps), "100", .min = 0, .max = INT32_MAX,
     .flags = KEY_ABOVE_MIN | KEY_STEPS,
     .help = "Updates between checkpoints; below 1: a share of all updates."},
    {"training", "save_total_limit", NULL, KIND_INT, AT(training.save_total_limit), "3", FROM(0),
     .zero = "all", .help = "Checkpoints kept; 0 or `all` keeps all."},
    {"training", "evaluation_strategy", "eval_strategy", KIND_CHOICE, AT(training.evaluation_strategy),
     "steps", .choice = strategy_choice, .help = "When the held-out rows are evaluated."},
    {"training", "eval_steps", NULL, KIND_NUMBER, AT(training.eval_steps), "100", .min = 0, .max = INT32_MAX,
     .flags = KEY_ABOVE_MIN | KEY_STEPS,
     .help = "Updates between evaluations; below 1: a share of all updates."},
    {"training", "eval_delay", NULL, KIND_NUMBER, AT(training.eval_delay), "0", NOT_NEGATIVE,
     .help = "No evaluation before this many updates, or epochs with evaluation_strategy `epoch`."},
    {"training", "eval_on_start", NULL, KIND_BOOL, AT(training.eval_on_start), "false",
     .help =
         "Evaluates before the first step too: what the base can do, to compare with; it is never the best."},
    {"training", "sample_count", NULL, KIND_INT, AT(training.sample_count), "2", .min = 0, .max = 64,
     .help = "Questions that are answered at every evaluation, into samples.jsonl; 0: none."},
    {"training", "sample_prompts", NULL, KIND_TEXTS, AT(training.sample_prompts), .unset = "none",
     .help = "Questions of your own; without them the first evaluation rows are asked."},
    {"training", "sample_data_path", NULL, KIND_PATHS, AT(training.sample_data_path), .unset = "none",
     .help = "Rows whose questions are asked instead, in any format of the data; their answers are shown "
             "beside."},
    {"training", "sample_max_new_tokens", NULL, KIND_INT, AT(training.sample_max_new_tokens), "96", .min = 1,
     .max = 65536, .help = "Most tokens of a sample answer."},
    {"training", "logging_steps", NULL, KIND_NUMBER, AT(training.logging_steps), "10", .min = 0,
     .max = INT32_MAX, .flags = KEY_ABOVE_MIN | KEY_STEPS,
     .help = "Updates between log lines; below 1: a share of all updates."},
    {"training", "logging_first_step", NULL, KIND_BOOL, AT(training.logging_first_step), "true",
     .help = "The first update has a log line too."},
    {"training", "logging_dir", NULL, KIND_PATH, AT(training.logging_dir), .unset = "output_dir/runs",
     .help = "Folder of the TensorBoard event files; every run makes a folder of its own there."},
    {"training", "report_to", NULL, KIND_TEXTS, AT(training.report_to), "tensorboard",
     .help =
         "`tensorboard`, `csv` (metrics.csv), `none`, or a list; metrics.jsonl is always written. Services "
         "that need a network are refused."},
    {"training", "seed", NULL, KIND_INT64, AT(training.seed), "42", .min = 0, .max = 9007199254740992.0,
     .help = "Of the adapter's start, the order of rows, the validation split and dropout."},
    {"training", "shuffle", NULL, KIND_BOOL, AT(training.shuffle), "true",
     .help = "Another order of the rows in every epoch; `false` keeps the order of the files."},
    {"training", "train_sampling_strategy", NULL, KIND_CHOICE, AT(training.train_sampling_strategy), "auto",
     .choice = sampling_choice,
     .help = "transformers' name for it: `random`, `sequential`, or `group_by_length`; wins over shuffle. "
             "`auto`: as shuffle and group_by_length say."},
    {"training", "group_by_length", NULL, KIND_BOOL, AT(training.group_by_length), "false",
     .help = "Rows of like length come in one step: the shuffled rows are sorted by length, the longest "
             "first, within stretches of up to 50 steps."},
    {"training", "packing", NULL, KIND_BOOL, AT(training.packing), "true",
     .help = "Rows of a micro-batch lie side by side without padding and do not see each other."},
    {"training", "packing_strategy", NULL, KIND_CHOICE, AT(training.packing_strategy), "step",
     .choice = packing_choice,
     .help =
         "With `packing`. `step`: the batch size counts rows. `bfd`: rows are packed into packs of at most "
         "model.max_length tokens (best-fit decreasing), and the batch size counts packs."},
    {"training", "load_best_model_at_end", NULL, KIND_BOOL, AT(training.load_best_model_at_end), "true",
     .help = "The saved adapter is the best evaluated one, not the last."},
    {"training", "metric_for_best_model", NULL, KIND_TEXT, AT(training.metric_for_best_model), "eval_loss",
     .help = "What `best` means: `eval_loss`, `eval_perplexity` or `eval_accuracy`."},
    {"training", "greater_is_better", NULL, KIND_CHOICE, AT(training.greater_is_better), "auto",
     .choice = toggle_choice, .help = "Of metric_for_best_model; `auto`: of `eval_accuracy` only."},
    {"training", "early_stopping_patience", NULL, KIND_INT, AT(training.early_stopping_patience), "off",
     FROM(0), .zero = "off",
     .help = "Evaluations in a row without a better metric_for_best_model after which the run ends; 0 or "
             "`off`: never."},
    {"training", "early_stopping_threshold", NULL, KIND_NUMBER, AT(training.early_stopping_threshold), "0",
     NOT_NEGATIVE, .help = "By how much it must be better to count."},
    {"training", "loss_spike_factor", NULL, KIND_NUMBER, AT(training.loss_spike_factor), "3", NOT_NEGATIVE,
     .help = "A step stands out when its loss is above this many times the median of the last 32 steps (and "
             "0.1 above it); 0 = no watch."},
    {"training", "grad_spike_factor", NULL, KIND_NUMBER, AT(training.grad_spike_factor), "10", NOT_NEGATIVE,
     .help = "The same for the norm of the gradient; 0 = no watch."},
    {"training", "loss_spike_action", NULL, KIND_CHOICE, AT(training.loss_spike_action), "note",
     .choice = spike_choice,
     .help = "What follows: `note` a line that names the rows and the tensor; `skip` the same, and the "
             "update is not applied; `stop` a checkpoint of the state before, and the run ends. A loss or "
             "gradient that is no number always does the last."},
    {"training", "dataloader_num_workers", NULL, KIND_INT, AT(training.dataloader_num_workers), "auto",
     .min = 0, .max = 1024, .zero = "auto", .help = "Threads that prepare data; 0 or `auto`: one per core."},
    {"training", "remove_unused_columns", NULL, KIND_BOOL, AT(training.remove_unused_columns), "true",
     .flags = KEY_NO_EFFECT, .help = "Accepted, without effect."},

    {"data", "train_data_path", "train_file", KIND_PATHS, AT(data.train_data_path), .unset = "required",
     .help = "Rows to train on: a file, a folder, a glob, or a list of these."},
    {"data", "eval_data_path", "eval_file", KIND_PATHS, AT(data.eval_data_path), .unset = "none",
     .help = "Rows to evaluate on, likewise."},
    {"data", "replay_data_path", NULL, KIND_PATHS, AT(data.replay_data_path), .unset = "none",
     .help = "Rows of earlier training to mix among the new ones, likewise (docs/training.md)."},
    {"data", "replay_ratio", NULL, KIND_NUMBER, AT(data.replay_ratio), "0.1", .min = 0, .max = 1,
     .flags = KEY_ABOVE_MIN | KEY_BELOW_MAX,
     .help = "Share of the rows of every epoch that are drawn from replay_data_path."},
    {"data", "val_size", NULL, KIND_NUMBER, AT(data.val_size), "0", .min = 0, .max = INT32_MAX,
     .flags = KEY_STEPS,
     .help =
         "Rows (from 1) or share (below 1) of the training data held out when there is no eval_data_path."},
    {"data", "max_samples", NULL, KIND_INT64, AT(data.max_samples), "all", .min = 0,
     .max = 9007199254740992.0, .zero = "all",
     .help = "Only the first n rows of train_data_path; 0 or `all`: all."},
    {"data", "cache", NULL, KIND_BOOL, AT(data.cache), "false",
     .help =
         "Keep the tokens of the rows as files (docs/shards.md) and use them again while data, tokenizer, "
         "template and options are the same."},
    {"data", "cache_dir", NULL, KIND_PATH, AT(data.cache_dir), .unset = "output_dir/cache",
     .help = "Folder of these files."},
    {"data", "streaming", NULL, KIND_BOOL, AT(data.streaming), "false",
     .help =
         "Begin training while later rows are still being prepared. Needs data.cache and training.max_steps, "
         "and no val_size; rows are shuffled inside shards of some 64 MiB instead of over all."},
    {"data", "overlong", NULL, KIND_CHOICE, AT(data.overlong), "error", .choice = overlong_choice,
     .help = "Rows longer than model.max_length stop the run, are dropped, are cut at the end, or are split "
             "between "
             "turns. Whatever happens is counted and reported."},
    {"data", "text_rows", NULL, KIND_CHOICE, AT(data.text_rows), "paragraph", .choice = text_choice,
     .help = "What a row of a .txt file is."},
    {"data", "train_on_prompt", NULL, KIND_BOOL, AT(data.train_on_prompt), "false",
     .help =
         "Everything is trained, the questions and the template's own text too; turns that the row switches "
         "off stay untrained."},
    {"data", "mask_history", NULL, KIND_BOOL, AT(data.mask_history), "false",
     .help = "Only the last turn of the assistant is trained."},
    {"data", "invalid", NULL, KIND_CHOICE, AT(data.invalid), "error", .choice = invalid_choice,
     .help = "`hone data prepare` stops at a row it can not read, or drops it and says so in the ledger. "
             "Training always stops."},
    {"data", "fields.messages", NULL, KIND_TEXT, AT(data.fields.messages), .unset = "by its known names",
     .help = "What the files call the list of turns."},
    {"data", "fields.instruction", NULL, KIND_TEXT, AT(data.fields.instruction),
     .unset = "by its known names", .help = "What the files call the question."},
    {"data", "fields.input", NULL, KIND_TEXT, AT(data.fields.input), .unset = "by its known names",
     .help = "What the files call what follows the question."},
    {"data", "fields.output", NULL, KIND_TEXT, AT(data.fields.output), .unset = "by its known names",
     .help = "What the files call the answer."},
    {"data", "fields.system", NULL, KIND_TEXT, AT(data.fields.system), .unset = "by its known names",
     .help = "What the files call the system prompt."},
    {"data", "fields.history", NULL, KIND_TEXT, AT(data.fields.history), .unset = "by its known names",
     .help = "What the files call the earlier questions and answers."},
    {"data", "fields.tools", NULL, KIND_TEXT, AT(data.fields.tools), .unset = "by its known names",
     .help = "What the files call the list of tools."},
    {"data", "fields.text", NULL, KIND_TEXT, AT(data.fields.text), .unset = "by its known names",
     .help = "What the files call the text of a row without turns."},
    {"data", "fields.id", NULL, KIND_TEXT, AT(data.fields.id), .unset = "by its known names",
     .help = "What the files call the row's own name, which ledgers and reports repeat."},
    {"data", "fields.task", NULL, KIND_TEXT, AT(data.fields.task), .unset = "by its known names",
     .help = "What the files call the task of a row, by which rows are counted, balanced and split."},
    {"data", "fields.label", NULL, KIND_TEXT, AT(data.fields.label), .unset = "by its known names",
     .help = "What the files call the class of a row, by which rows are counted and balanced."},
    {"data", "fields.group", NULL, KIND_TEXT, AT(data.fields.group), .unset = "by its known names",
     .help = "What the files call what belongs together (a session, a patient), which a split never parts."},
    {"data", "fields.weight", NULL, KIND_TEXT, AT(data.fields.weight), .unset = "by its known names",
     .help = "What the files call the weight of a row in the loss."},
    {"data", "fields.role", NULL, KIND_TEXT, AT(data.fields.role), .unset = "by its known names",
     .help = "What the files call who speaks, in a turn."},
    {"data", "fields.content", NULL, KIND_TEXT, AT(data.fields.content), .unset = "by its known names",
     .help = "What the files call what is said, in a turn."},
    {"data", "roles.user", NULL, KIND_TEXTS, AT(data.roles.user), .unset = "the known names",
     .help = "Further names of those who ask."},
    {"data", "roles.assistant", NULL, KIND_TEXTS, AT(data.roles.assistant), .unset = "the known names",
     .help = "Further names of those who answer: their turns are trained."},
    {"data", "roles.system", NULL, KIND_TEXTS, AT(data.roles.system), .unset = "the known names",
     .help = "Further names of those who set the rules of a conversation."},
    {"data", "roles.tool", NULL, KIND_TEXTS, AT(data.roles.tool), .unset = "the known names",
     .help = "Further names of turns that hold the result of a tool."},
    {"data", "dedup.exact", NULL, KIND_BOOL, AT(data.dedup_exact), "true",
     .help = "`hone data prepare` keeps one of the rows with the same text."},
    {"data", "dedup.near", NULL, KIND_BOOL, AT(data.dedup_near), "true",
     .help = "`hone data prepare` keeps one of the rows with nearly the same text."},
    {"data", "dedup.threshold", NULL, KIND_NUMBER, AT(data.dedup_threshold), "0.8", .min = 0, .max = 1,
     .flags = KEY_ABOVE_MIN,
     .help = "Rows are near-duplicates from this Jaccard similarity of their n-grams on."},
    {"data", "dedup.ngram", NULL, KIND_INT, AT(data.dedup_ngram), "5", .min = 1, .max = 64,
     .help = "Characters of an n-gram for dedup.near."},
    {"data", "contamination.against", NULL, KIND_PATHS, AT(data.contamination_against),
     .unset = "eval_data_path",
     .help = "Evaluation rows that `hone data prepare` lets no training row repeat."},
    {"data", "contamination.share", NULL, KIND_NUMBER, AT(data.contamination_share), "0.6", .min = 0,
     .max = 1, .flags = KEY_ABOVE_MIN,
     .help =
         "A row is contaminated when it holds this share of the n-grams of an evaluation row's question."},
    {"data", "contamination.ngram", NULL, KIND_INT, AT(data.contamination_ngram), "13", .min = 1, .max = 64,
     .help = "Characters of an n-gram for contamination."},
    {"data", "split_by", NULL, KIND_CHOICE, AT(data.split_by), "row", .choice = split_choice,
     .help =
         "What `hone data prepare` holds out for val_size: rows, whole groups, or of every task its share "
         "(groups stay together)."},
    {"data", "scores.compute", NULL, KIND_TEXTS, AT(data.scores_compute), .unset = "none",
     .help = "Figures of every row by the model that `hone data prepare` computes: `perplexity` (of the "
             "answers), `perplexity_alone` (without the questions), `ifd` (their ratio), `unscored` (trained "
             "tokens "
             "that model.max_length cuts off, which the others leave out). docs/report.md defines them."},
    {"data", "scores.filter", NULL, KIND_TEXTS, AT(data.scores_filter), .unset = "none",
     .help =
         "What a row's scores must be for it to stay: `ifd<1`, `perplexity<=200`. A row without the score "
         "stays."},
    {"data", "scores.sort", NULL, KIND_TEXT, AT(data.scores_sort), .unset = "no",
     .help = "The rows are ordered by this score, the lowest first."},
    {"data", "scores.weight", NULL, KIND_TEXT, AT(data.scores_weight), .unset = "no",
     .help = "Rows are weighted by this score, or its inverse (`1/perplexity`), divided by its mean; between "
             "0.1 and 10."},
    {"data", "mix.balance", NULL, KIND_CHOICE, AT(data.mix_balance), "none", .choice = balance_choice,
     .help = "`hone data prepare` evens out the numbers of rows of tasks or labels."},
    {"data", "mix.method", NULL, KIND_CHOICE, AT(data.mix_method), "down", .choice = method_choice,
     .help = "How: every class as small as the smallest, as large as the largest (rows are repeated), or in "
             "proportion to size^(1/temperature)."},
    {"data", "mix.temperature", NULL, KIND_NUMBER, AT(data.mix_temperature), "2", .min = 1, .max = 1e6,
     .help = "1: as they are; the higher, the more even."},
    {"data", "mix.max_per_task", NULL, KIND_INT64, AT(data.mix_max_per_task), "all", .min = 0,
     .max = 9007199254740992.0, .zero = "all", .help = "At most so many rows of a task, chosen at random."},
    {"data", "mix.weights", NULL, KIND_NUMBERS, AT(data.mix_weights), .unset = "as they come", NOT_NEGATIVE,
     .help = "Shares of the paths of train_data_path in the mix, a number for each. Rows over a share are "
             "dropped, none is repeated."},
    {"data", "mix.order", NULL, KIND_CHOICE, AT(data.mix_order), "file", .choice = order_choice,
     .help = "Order of the rows that are written. Train with `training.shuffle: false` to keep it."},
    {"data", "mix.curriculum", NULL, KIND_TEXT, AT(data.mix_curriculum), "length",
     .help =
         "What makes a row hard for `order: curriculum` and the last stage of `staged`: `length`, `turns` "
         "or a score."},
    {"data", "mix.stages", NULL, KIND_NUMBERS, AT(data.mix_stages), .unset = "[0.5, 0.3, 0.2]", .min = 0,
     .max = 1,
     .help = "Of `order: staged`: the shares of rows mixed at random, grouped by task, and of the hardest."},
    {"data", "quality.enabled", NULL, KIND_BOOL, AT(data.quality_enabled), "true",
     .help = "`hone data` checks rows by the rules of docs/quality.md."},
    {"data", "quality.rules", NULL, KIND_PATHS, AT(data.quality_rules), .unset = "the built-in rules",
     .help = "YAML files that add rules or change the built-in ones by name."},
    {"data", "quality.set", NULL, KIND_TEXTS, AT(data.quality_set), .unset = "nothing",
     .help = "Texts `rule.parameter=value`, applied after the files: `too_short.min=20`, "
             "`refusal.action=drop`, `email.enabled=false`."},
    {"data", "quality.only", NULL, KIND_TEXTS, AT(data.quality_only), .unset = "all rules",
     .help = "Names of the only rules to check."},
    {"data", "quality.skip", NULL, KIND_TEXTS, AT(data.quality_skip), .unset = "none",
     .help = "Names of rules that are not checked."},
    {"data", "label.pattern", NULL, KIND_TEXT, AT(data.label_pattern), .unset = "none",
     .help =
         "Regular expression (PCRE2) whose first group is the label of a row without a label field; it is "
         "searched in the answer."},
    {"data", "label.words", NULL, KIND_PATH, AT(data.label_words), .unset = "none",
     .help = "File of labels, one a line, synonyms behind tabs or commas: the first that an answer holds is "
             "its label."},
    {"data", "augmentation.enabled", NULL, KIND_BOOL, AT(data.augmentation_enabled), "false",
     .help = "Only `false`."},

    {"distributed", "enabled", NULL, KIND_BOOL, AT(distributed.enabled), "false",
     .help = "Only `false`: this version trains on one machine."},
    {"distributed", "backend", NULL, KIND_TEXT, AT(distributed.backend), .unset = "none",
     .help = "Without effect while `enabled` is false."},
    {"distributed", "deepspeed.enabled", NULL, KIND_BOOL, AT(distributed.deepspeed_enabled), "false",
     .help = "Only `false`."},
    {"distributed", "deepspeed.config_file", NULL, KIND_PATH, AT(distributed.deepspeed_config_file),
     .unset = "none", .help = "Without effect while `deepspeed.enabled` is false."},
    {"distributed", "deepspeed.zero_stage", NULL, KIND_INT, AT(distributed.deepspeed_zero_stage), "0",
     .min = 0, .max = 3, .help = "Without effect while `deepspeed.enabled` is false."},

    {"inference", "max_new_tokens", NULL, KIND_INT, AT(inference.max_new_tokens), "1024", FROM(1),
     .help = "Longest answer in tokens."},
    {"inference", "temperature", NULL, KIND_NUMBER, AT(inference.temperature), "0.7", NOT_NEGATIVE,
     .help = "0 always takes the most likely token."},
    {"inference", "top_p", NULL, KIND_NUMBER, AT(inference.top_p), "0.9", .min = 0, .max = 1,
     .flags = KEY_ABOVE_MIN, .help = "Sampling keeps the smallest set of tokens with this much probability."},
    {"inference", "top_k", NULL, KIND_INT, AT(inference.top_k), "50", FROM(0),
     .help = "Sampling keeps the k most likely tokens; 0 keeps all."},
    {"inference", "repetition_penalty", NULL, KIND_NUMBER, AT(inference.repetition_penalty), "1.1", POSITIVE,
     .help = "Tokens that were there already become less likely; 1 = off."},
    {"inference", "do_sample", NULL, KIND_BOOL, AT(inference.do_sample), "true",
     .help = "`false` always takes the most likely token."},
};

const size_t config_n_keys = HONE_COUNT(config_keys);

/* Whether `name` is one of the words of `list`. */
static bool has_word(const char *list, const char *name)
{
    size_t n = strlen(name);

    while (list && *list) {
        size_t len = strcspn(list, " ");

        if (len == n && !memcmp(list, name, n))
            return true;
        list += len;
        list += strspn(list, " ");
    }
    return false;
}

const config_key *config_key_find(const char *section, const char *name, bool *alias)
{
    size_t i;

    for (i = 0; i < config_n_keys; i++) {
        const config_key *k = &config_keys[i];

        if (strcmp(k->section, section))
            continue;
        *alias = has_word(k->aliases, name);
        if (*alias || !strcmp(k->key, name))
            return k;
    }
    return NULL;
}

bool config_key_is_group(const char *section, const char *name)
{
    size_t i, n = strlen(name);

    for (i = 0; i < config_n_keys; i++)
        if (!strcmp(config_keys[i].section, section) && !strncmp(config_keys[i].key, name, n) &&
            config_keys[i].key[n] == '.')
            return true;
    return false;
}

bool config_is_section(const char *name)
{
    size_t i;

    for (i = 0; i < config_n_keys; i++)
        if (!strcmp(config_keys[i].section, name))
            return true;
    return false;
}

const char *config_choice_name(const config_key *key, int value)
{
    const config_choice *c;

    for (c = key->choice; c->name; c++)
        if (c->value == value)
            return c->name;
    return NULL;
}

#define LONGEST_NAME 64

/* Edits between two names: insert, delete, replace, or swap two neighbours (restricted Damerau-Levenshtein). Names
 * longer than the table's are far from all of them. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), i, j, row[3][LONGEST_NAME + 1];

    if (n > LONGEST_NAME || m > LONGEST_NAME)
        return SIZE_MAX;
    for (j = 0; j <= m; j++)
        row[0][j] = j;
    for (i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *two_before = row[(i + 1) % 3];

        now[0] = i;
        for (j = 1; j <= m; j++) {
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);

            best = HONE_MIN(best, HONE_MIN(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = HONE_MIN(best, two_before[j - 2] + 1);
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

typedef struct nearest {
    const char *name, *section;
    size_t distance, n; /* n bytes of name */
} nearest;

static void consider(nearest *best, const char *wanted, const char *section, const char *name, size_t n)
{
    char word[LONGEST_NAME + 1];
    size_t d;

    if (n > LONGEST_NAME)
        return;
    memcpy(word, name, n);
    word[n] = 0;
    d = edit_distance(wanted, word);
    if (d < best->distance)
        *best = (nearest){name, section, d, n};
}

void config_suggest(char *out, size_t size, const char *section, const char *name)
{
    nearest here = {NULL, NULL, SIZE_MAX, 0};
    size_t i;

    out[0] = 0;
    for (i = 0; i < config_n_keys; i++) {
        const config_key *k = &config_keys[i];
        const char *word = k->aliases ? k->aliases : "";

        if (!section)
            consider(&here, name, NULL, k->section, strlen(k->section));
        if (section && strcmp(k->section, section))
            continue;
        if (section)
            consider(&here, name, section, k->key, strlen(k->key));
        for (; section && *word; word += strcspn(word, " "), word += strspn(word, " "))
            consider(&here, name, section, word, strcspn(word, " "));
    }
    /* A third of the letters wrong is still a slip of the pen. */
    if (here.distance <= HONE_MAX(strlen(name) / 3, (size_t)2) && here.distance < here.n) {
        snprintf(out, size, "; did you mean `%.*s`?", (int)here.n, here.name);
        return;
    }
    for (i = 0; i < config_n_keys; i++)
        if (!strcmp(config_keys[i].key, name) || has_word(config_keys[i].aliases, name)) {
            snprintf(out, size, "; it belongs to section `%s`", config_keys[i].section);
            return;
        }
}

static void range_text(char *out, size_t size, const config_key *k)
{
    bool above = k->flags & KEY_ABOVE_MIN, below = k->flags & KEY_BELOW_MAX;

    if (k->max >= INT32_MAX)
        snprintf(out, size, " %s %.0f", above ? ">" : ">=", k->min);
    else
        snprintf(out, size, " in %c%.0f, %.0f%c", above ? '(' : '[', k->min, k->max, below ? ')' : ']');
}

void config_type_text(char *out, size_t size, const config_key *key)
{
    char range[64] = "";
    hone_buf b = {0};
    const config_choice *c;

    if (key->kind == KIND_INT || key->kind == KIND_INT64 || key->kind == KIND_NUMBER ||
        key->kind == KIND_NUMBERS || key->kind == KIND_PATTERNS)
        range_text(range, sizeof range, key);
    switch (key->kind) {
    case KIND_BOOL:
        snprintf(out, size, "true or false");
        break;
    case KIND_INT:
    case KIND_INT64:
        snprintf(out, size, "integer%s%s%s", range, key->zero ? ", or " : "", key->zero ? key->zero : "");
        break;
    case KIND_NUMBER:
        snprintf(out, size, "number%s%s", range, key->flags & KEY_STEPS ? ", whole from 1 on" : "");
        break;
    case KIND_CHOICE:
        for (c = key->choice; c->name; c++)
            hone_buf_printf(&b, "%s%s", c == key->choice ? "one of " : ", ", c->name);
        snprintf(out, size, "%s", b.failed ? "one of a list" : b.data);
        hone_buf_clear(&b);
        break;
    case KIND_TEXT:
        snprintf(out, size, "text");
        break;
    case KIND_PATH:
        snprintf(out, size, "path");
        break;
    case KIND_TEXTS:
        snprintf(out, size, "text or list");
        break;
    case KIND_PATHS:
        snprintf(out, size, "path or list of paths");
        break;
    case KIND_NUMBERS:
        snprintf(out, size, "number%s, or list of them", range);
        break;
    case KIND_TARGETS:
        snprintf(out, size, "text or list of names");
        break;
    case KIND_PATTERNS:
        snprintf(out, size, "mapping of names to numbers%s", range);
        break;
    }
}

void hone_config_each_key(hone_config_key_fn fn, void *ud)
{
    char type[CONFIG_TYPE_TEXT];
    size_t i;

    for (i = 0; i < config_n_keys; i++) {
        const config_key *k = &config_keys[i];

        config_type_text(type, sizeof type, k);
        fn(ud, k->section, k->key, k->aliases ? k->aliases : "", type, k->fallback ? k->fallback : k->unset,
           k->help);
    }
}

typedef struct reference {
    hone_buf text;
    const char *section;
} reference;

static void add_reference(void *ud, const char *section, const char *key, const char *aliases,
                          const char *type, const char *default_value, const char *help)
{
    reference *r = ud;

    if (!r->section || strcmp(r->section, section))
        hone_buf_printf(&r->text, "\n## %s\n\n", section);
    r->section = section;
    hone_buf_printf(&r->text, "- `%s`: %s. Default: %s.", key, type, default_value);
    if (*aliases)
        hone_buf_printf(&r->text, " Alias: `%s`.", aliases);
    hone_buf_printf(&r->text, "\n  %s\n", help);
}

int hone_config_reference(char **out, hone_error *err)
{
    reference r = {0};

    hone_buf_puts(
        &r.text,
        "# Configuration keys\n\n"
        "A run is described by one YAML file of the sections below. `--set section.key=value` overrides it.\n"
        "Relative paths start at the YAML file's folder (at the working directory with `--set`). Unknown,\n"
        "repeated and ill-typed keys are errors; a key without a value (`null`) counts as not given where\n"
        "that is possible. `stages:` is a list of trainings that follow one another (docs/training.md).\n");
    hone_config_each_key(add_reference, &r);
    *out = hone_buf_take(&r.text);
    return *out ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory");
}
