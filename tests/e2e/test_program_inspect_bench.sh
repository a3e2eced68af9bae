#!/usr/bin/env bash
# hone inspect of every kind of file, and hone bench step on a tiny model.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

for path in "$model" "$gguf" "$adapter" "$model/model.safetensors"; do
    ok "$hone" inspect "$path"
    [ "$(wc -l <.out)" -gt 3 ] || wrong "a person should see more than three lines"
    [ "$(grep -c "^tensors: [0-9]" .out)" -eq 1 ] || wrong "the tensors should be counted, not listed"
    ok "$hone" inspect "$path" --tensors
    [ "$(wc -l <.out)" -gt 20 ] || wrong "every tensor should have a line"
    ok "$hone" inspect "$path" --json
    one_document
done

ok "$hone" bench step --model "$model" --tokens 32 --r 2 --steps 2
has "tokens/s"
ok "$hone" bench step --model "$model" --tokens 32 --r 2 --steps 2 --precision f32 --recompute 2 --pin --json
one_document
for key in tokens_per_second peak_bytes machine_peak_gflops roofline_share attention_gflop_per_token; do
    has "\"$key\":"
    awk "BEGIN{exit !($(value $key) > 0)}" || wrong "$key should be above zero"
done
refused 1 "nosuch" "$hone" bench step --model nosuch
finish
