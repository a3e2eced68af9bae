#!/usr/bin/env bash
# The memory plan against the peak that the system saw (VmHWM), for a model of 50 MB: within 2 % + 16 MB. Four configurations;
# with "all" as second argument the twenty of make test-long. Values do not matter here, so the model is zeros.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"
if grep -q __asan_init "$hone"; then
    echo "skipped: a sanitizer has memory of its own"
    exit 77
fi

# shellcheck disable=SC2154,SC2059 # hone, model, golden and gguf are program_test.sh's; the format is bytes
# make_model DIR TYPE BYTES: a llama checkpoint of 25 million values in safetensors, TYPE "BF16" or "F32".
make_model() {
    local dir=$1 type=$2 size=$3 at=0 header='' layer
    mkdir "$dir"
    cp "$model"/{chat_template.jinja,tokenizer.json,tokenizer_config.json,generation_config.json} "$dir"
    sed -e 's/"head_dim": 16/"head_dim": 64/' -e 's/"hidden_size": 64/"hidden_size": 512/' \
        -e 's/"intermediate_size": 128/"intermediate_size": 1536/' -e 's/"num_attention_heads": 4/"num_attention_heads": 8/' \
        -e 's/"num_hidden_layers": 2/"num_hidden_layers": 8/' -e 's/"num_key_value_heads": 2/"num_key_value_heads": 4/' \
        "$model/config.json" >"$dir/config.json"
    tensor() { # NAME ROWS [COLS]
        local n=$(($2 * ${3:-1} * size))
        header+="${header:+,}\"$1.weight\":{\"dtype\":\"$type\",\"shape\":[$2${3:+,$3}],\"data_offsets\":[$at,$((at + n))]}"
        at=$((at + n))
    }
    tensor model.embed_tokens 529 512
    tensor model.norm 512
    for layer in 0 1 2 3 4 5 6 7; do
        tensor model.layers.$layer.input_layernorm 512
        tensor model.layers.$layer.post_attention_layernorm 512
        tensor model.layers.$layer.self_attn.q_proj 512 512
        tensor model.layers.$layer.self_attn.k_proj 256 512
        tensor model.layers.$layer.self_attn.v_proj 256 512
        tensor model.layers.$layer.self_attn.o_proj 512 512
        tensor model.layers.$layer.mlp.gate_proj 1536 512
        tensor model.layers.$layer.mlp.up_proj 1536 512
        tensor model.layers.$layer.mlp.down_proj 512 1536
    done
    header="{$header}"
    while [ $((${#header} % 8)) -ne 0 ]; do header+=' '; done
    { # the length in 8 bytes, lowest first
        printf "\\x$(printf %02x $((${#header} & 255)))\\x$(printf %02x $((${#header} >> 8)))\\0\\0\\0\\0\\0\\0"
        printf %s "$header"
        head -c $at /dev/zero
    } >"$dir/model.safetensors"
}

for i in $(seq 48); do
    printf '{"instruction":"question %d","output":"%s"}\n' "$i" \
        "$(printf 'The answer is forty-two, thank you. %.0s' $(seq $((1 + i % 9))))"
done >rows.jsonl
make_model bf16 BF16 2

printf '%-58s %10s %10s %8s\n' configuration planned peak off
# measured NAME MODEL [KEY=VALUE]...: one run of three steps; its peak in $peak. keep: what lies in out stays.
measured() {
    local name=$1 base=$2 set=() key planned
    shift 2
    for key in "$@"; do set+=(--set "$key"); done
    cat >c.yaml <<YAML
model: {name_or_path: $base, max_length: 512}
training: {output_dir: out, max_steps: 3, per_device_train_batch_size: 2, gradient_accumulation_steps: 2, precision: f32,
  evaluation_strategy: "no", report_to: none, save_strategy: "no"}
data: {train_data_path: rows.jsonl}
YAML
    [ "${keep:-}" ] || rm -rf out
    ok "$hone" train c.yaml --json --threads 2 "${set[@]}"
    planned=$(value planned_bytes)
    peak=$(value peak_bytes)
    checks=$((checks + 1))
    [ -n "$planned" ] && [ -n "$peak" ] || { wrong "$name: no figures"; return; }
    printf '%-58s %7d kB %7d kB %+6d kB\n' "$name" $((planned / 1000)) $((peak / 1000)) $(((peak - planned) / 1000))
    awk "BEGIN{d = $peak - $planned; if (d < 0) d = ${at_most:-0} ? 0 : -d; exit !(d <= 0.02 * $planned + 16e6)}" ||
        wrong "$name: planned $planned bytes, peak $peak"
}

measured "LoRA, bf16 checkpoint, f32 activations" bf16
lora=$peak
measured "full, AdamW" bf16 training.finetuning_type=full
plain=$peak
states=$((25445376 * 8)) # two moments of every value of the model, f32
measured "full, AdamW, off-loaded states" bf16 training.finetuning_type=full training.offload_optimizer=true
checks=$((checks + 1))
[ $((plain - peak)) -ge $((states * 9 / 10)) ] || wrong "peak $peak with off-loaded states, $plain without: most of $states bytes less"
run "$hone" plan c.yaml --memory 0.1 --set training.finetuning_type=full
err_has "training.offload_optimizer: true saves 0.195 GB"
measured "LoRA, off-loaded base" bf16 training.offload_base=true
checks=$((checks + 1))
[ $((lora - peak)) -ge 40000000 ] || wrong "peak $peak with an off-loaded base of 51 MB, $lora without: most of it less"
[ "${2:-}" = all ] || finish

make_model f32 F32 4
measured "LoRA, f32 checkpoint, bf16 activations, recomputation 2" f32 training.precision=bf16 training.gradient_checkpointing=2
measured "LoRA, batch of 16, recomputation 1" bf16 training.per_device_train_batch_size=16 training.gradient_checkpointing=1
measured "LoRA r 64, 8-bit AdamW, packs" bf16 lora.r=64 training.optim=adamw_8bit training.packing_strategy=bfd
measured "LoRA, modules_to_save, evaluation" bf16 'lora.modules_to_save=[embed_tokens, lm_head]' data.val_size=8 \
    'training.evaluation_strategy=steps' training.eval_steps=1
measured "full, Adafactor, bf16 activations" bf16 training.finetuning_type=full training.optim=adafactor training.precision=bf16
measured "full, SGD, f32 checkpoint" f32 training.finetuning_type=full training.optim=sgd
measured "full, 8-bit AdamW, checkpoints" bf16 training.finetuning_type=full training.optim=adamw_8bit training.save_strategy=steps \
    training.save_steps=1
measured "full, AdamW, off-loaded states, checkpoints" bf16 training.finetuning_type=full training.offload_optimizer=true \
    training.save_strategy=steps training.save_steps=2
rm -rf out/checkpoint-3
keep=out measured "the same, going on from a checkpoint" bf16 training.finetuning_type=full training.offload_optimizer=true \
    training.save_strategy=steps training.save_steps=2 training.resume_from_checkpoint=true
measured "NF4, off-loaded" f32 model.load_in_4bit=true training.offload_base=true training.offload_optimizer=true
measured "last two layers, AdamW, off-loaded, evaluation, checkpoints" bf16 training.finetuning_type=freeze training.offload_base=true \
    training.offload_optimizer=true training.freeze_trainable_layers=2 data.val_size=8 training.evaluation_strategy=steps \
    training.eval_steps=1 training.save_strategy=steps training.save_steps=1
measured "DoRA, off-loaded base, recomputation 2" bf16 lora.use_dora=true training.offload_base=true training.gradient_checkpointing=2
measured "last two layers, AdamW" bf16 training.finetuning_type=freeze training.freeze_trainable_layers=2
measured "LoRA, cached token shards" bf16 data.cache=true training.shuffle=false
measured "LoRA, GGUF" "$gguf" training.precision=bf16 training.gradient_checkpointing=2
# What rows that are still to come may need is a bound, not a figure.
at_most=1
measured "(at most) LoRA, streamed rows" bf16 data.cache=true data.streaming=true
finish
