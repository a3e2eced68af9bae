"""Which tokens are trained: hone's masks against spans computed here from the text alone.

    mask_parity.py --hone build/release/hone [--shared ../shared] [--rows N] [--template NAME ...]

Rows of three public sets (alpaca, tool calls, messages) are rendered with stock templates of the installed trl package,
each with the Qwen3 tokenizer given that template's special tokens, and with the GGUF files of models/ as they are.
Ids come from transformers (for GGUF from hone), spans from this file by another road than hone's: no byte origins, but
renderings in which the strings of one message carry marks. Ids and masks must be the same, or both sides refuse.
"""
import argparse
import copy
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

# template -> bos, texts of its special tokens, text that ends an assistant turn (None: the next special token does)
TEMPLATES = {
    "qwen2_5": (None, ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "qwen3": (None, ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "llama3_1": ("<|begin_of_text|>", ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "phi3": (None, ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"], "<|end|>"),
    "gemma3": ("<bos>", ["<bos>", "<start_of_turn>", "<end_of_turn>"], "<end_of_turn>"),
    "glm4moe": (None, ["[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"], None),
    "deepseekv3": ("<｜begin▁of▁sentence｜>", ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"],
                   "<｜end▁of▁sentence｜>"),
}
FIRST, LAST = "\ue000", "\ue001"


def conversations(shared, limit):
    folder = os.path.join(shared, "data", "instruct")
    for row in json.load(open(os.path.join(folder, "alpaca_zh_demo.json")))[:limit]:
        yield {"messages": [{"role": "user", "content": row["instruction"] + ("\n" + row["input"] if row["input"] else "")},
                            {"role": "assistant", "content": row["output"]}]}
    for row in json.load(open(os.path.join(folder, "glaive_toolcall_zh_demo.json")))[:limit]:
        messages = []
        for turn in row["conversations"]:
            if turn["from"] == "function_call":
                call = json.loads(turn["value"])
                messages.append({"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]})
            else:
                role = {"human": "user", "gpt": "assistant", "observation": "tool", "system": "system"}[turn["from"]]
                messages.append({"role": role, "content": turn["value"]})
        tools = [{"type": "function", "function": t} for t in json.loads(row["tools"])]
        yield {"messages": messages, "tools": tools} if tools else {"messages": messages}
    for line in list(open(os.path.join(folder, "v1_sft_demo.jsonl")))[:limit]:
        yield {"messages": [{"role": m["role"], "content": "".join(p["value"] for p in m["content"])}
                            for m in json.loads(line)["messages"]]}


def render(template, variables, messages, tools, prompt):
    if not messages:
        raise ValueError("no message")
    (text,), _ = render_jinja_template([messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **variables)
    return text


def marked(value, key=None):
    """Strings with marks around what is not white space; the role and type stay as they are."""
    if isinstance(value, str) and key not in ("role", "type"):
        core = value.strip()
        begin = value.find(core)
        return value[:begin] + FIRST + core + LAST + value[begin + len(core):] if core else value
    if isinstance(value, dict):
        return {k: marked(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [marked(v) for v in value]
    return value


def bounds(template, variables, messages, tools, k):
    """First and one past last character of message k in the whole rendering; None if nothing of it shows."""
    changed = copy.deepcopy(messages)
    changed[k] = marked(changed[k])
    text = render(template, variables, changed, tools, False)
    first, last = text.find(FIRST), text.rfind(LAST)
    if first < 0:
        return None
    return first, last - text[:last].count(FIRST) - text[:last].count(LAST)


def spans(template, variables, specials, eot, messages, tools):
    whole = render(template, variables, messages, tools, False)
    out = []
    for k, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        own = bounds(template, variables, messages, tools, k)
        try:
            prompt = render(template, variables, messages[:k], tools, True)
        except Exception:
            prompt = None
        if prompt is not None and whole.startswith(prompt):
            begin = len(prompt)
        elif own:
            begin = own[0]
        else:
            continue
        after = max(own[1], begin) if own else begin
        later = [b[0] for j in range(k + 1, len(messages)) if (b := bounds(template, variables, messages, tools, j))]
        limit = min([p for p in later if p >= after], default=len(whole))

        def first(texts):
            found = [(p, p + len(t)) for t in texts if 0 <= (p := whole.find(t, after)) < limit]
            return min(found)[1] if found else None

        end = first([eot]) if eot else None
        end = end or first(specials)
        if end is None:  # the turn's own text: what the rendering up to it holds
            upto = render(template, variables, messages[:k + 1], tools, False)
            end = len(upto) if whole.startswith(upto) and after < len(upto) <= limit else after
        out.append((k, begin, end))
    return whole, out


class Driver:
    def __init__(self, path):
        self.p = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def __call__(self, **job):
        self.p.stdin.write(json.dumps(job) + "\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())


def compare(name, driver, template, variables, specials, eot, rows, tokenizer):
    same = refused = bad = trained = 0
    for row in rows:
        got = driver(encode=row)
        try:
            whole, wanted = spans(template, variables, specials, eot, row["messages"], row.get("tools"))
        except Exception as e:
            refused += "error" in got
            if "error" not in got:
                bad += 1
                print(f"{name}: only Jinja2 refuses: {e}")
            continue
        if "error" in got or got["text"] != whole:
            bad += 1
            print(f"{name}: {got.get('error', 'another text')}")
            continue
        position = [0]  # byte position of every character
        for c in whole:
            position.append(position[-1] + len(c.encode()))
        if tokenizer:
            encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
            ids, starts = encoded["input_ids"], [b for b, _ in encoded["offset_mapping"]]
            borders = [(k, b, e) for k, b, e in wanted]
        else:
            ids, starts = got["ids"], got["begin"]
            borders = [(k, position[b], position[e]) for k, b, e in wanted]
        mask = [int(any(b <= s < e for _, b, e in borders)) for s in starts]
        if ids != got["ids"] or mask != got["mask"]:
            bad += 1
            where = next((i for i, (x, y) in enumerate(zip(mask, got["mask"])) if x != y), None)
            print(f"{name}: ids {'same' if ids == got['ids'] else 'DIFFER'}, mask differs at token {where}: {row['messages']!r:.300}\n"
                  f"   wanted {[whole[b:e] for _, b, e in wanted]!r:.600}")
        else:
            same += 1
            trained += sum(mask)
    print(f"{name}: {same} rows identical ({trained} trained tokens), {refused} refused by both, {bad} different")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hone", required=True)
    parser.add_argument("--shared", default="../shared")
    parser.add_argument("--rows", type=int, default=300, help="rows taken of each set")
    parser.add_argument("--template", nargs="*", default=list(TEMPLATES))
    args = parser.parse_args()
    path = os.path.join(os.path.dirname(args.hone), "tests", "hone_template_jobs_driver")
    source = os.path.join(args.shared, "data", "tokenizers", "qwen3")
    if not os.path.exists(path) or not os.path.isdir(source):
        print("skipped: no driver at", path, "or no tokenizer at", source)
        return 77
    driver = Driver(path)
    rows = list(conversations(args.shared, args.rows))
    import trl
    bad = 0
    for name in args.template:
        bos, specials, eot = TEMPLATES[name]
        template = open(os.path.join(os.path.dirname(trl.__file__), "chat_templates", name + ".jinja"), newline="").read()
        with tempfile.TemporaryDirectory() as folder:
            for file in ("tokenizer.json", "tokenizer_config.json"):
                open(os.path.join(folder, file), "wb").write(gzip.open(os.path.join(source, file + ".gz")).read())
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), bos_token=bos,
                                                eos_token=eot or "<|endoftext|>", additional_special_tokens=specials)
            tokenizer.chat_template = template
            tokenizer.save_pretrained(folder)
            variables = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
            known = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
            opened = driver(open=folder)
            if "error" in opened:
                print(name, opened)
                bad += 1
                continue
            bad += compare(name, driver, template, variables, known, eot, rows, tokenizer)
    from template_parity import gguf_templates
    for file in sorted(glob.glob("models/*.gguf")):
        opened = driver(open=os.path.abspath(file))
        if "error" in opened:
            print(file, opened)
            bad += 1
            continue
        (_, template), *_ = list(gguf_templates(file))
        bad += compare(os.path.basename(file), driver, template, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
                       ["<|im_start|>", "<|im_end|>"], "<|im_end|>", rows, None)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.exit(main())
