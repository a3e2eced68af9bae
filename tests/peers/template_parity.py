"""Renders stock chat templates with hone and with Jinja2 (through transformers) and compares byte for byte.

    template_parity.py --hone build/release/hone [--gguf FILE ...] [--folder FOLDER ...] [-v]

The driver (drivers/template_jobs.c) is found beside hone. Templates are read from the installed trl package, from the
GGUF files and from every .jinja file of the folders given; none of these texts is kept in this repository. Each template
meets plain, system, multi-turn, tool and reasoning conversations, with and without the generation prompt. Both sides must
give the same bytes, or both must refuse.
"""
import argparse
import datetime
import glob
import json
import os
import subprocess
import sys
import time
from unittest import mock

from transformers.utils import chat_template_utils as ctu

NOW = 1721995200  # 26 Jul 2024, noon UTC

TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather at a place <now> & \"soon\"",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "城市, e.g. 'Paris'"},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "days": {"type": "integer", "default": 3},
        "opts": {"type": "array", "items": {"type": "string"}}},
        "required": ["city"]},
    "return": {"type": "string"}}}
TOOL2 = {"type": "function", "function": {"name": "ping", "description": "Ping.", "parameters": {"type": "object", "properties": {}}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(name, arguments, id_="call12345"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = {"role": "system", "content": "You are terse.\n"}
ARGS = {"city": "北京", "days": 2, "scale": 1.5, "deep": {"a": [1, None, True]}, "quote": "it's \"x\""}
CONVERSATIONS = {
    "plain": {"messages": [user("Hi")]},
    "answered": {"messages": [user("  Hi 你好 ✨ \n"), assistant(" Hello! \n")]},
    "system": {"messages": [SYSTEM, user("Hi"), assistant("Hello!")]},
    "turns": {"messages": [SYSTEM, user("Hi"), assistant("Hello!"), user("Bye?"), assistant("Bye.\n\nNow."), user("?")]},
    "no_system_turns": {"messages": [user("a"), assistant("b"), user("c"), assistant("d"), user("e"), assistant("")]},
    "empty": {"messages": [user(""), assistant("")]},
    "two_users": {"messages": [user("a"), user("b"), assistant("c")]},
    "assistant_first": {"messages": [assistant("c"), user("a")]},
    "bad_role": {"messages": [user("a"), {"role": "critic", "content": "x"}]},
    "developer": {"messages": [{"role": "developer", "content": "Be kind."}, user("a")]},
    "parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "S"}]},
                           {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
                           {"role": "assistant", "content": [{"type": "text", "text": "three"}]}]},
    "image": {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}]},
    "tools": {"messages": [user("Weather?")], "tools": [TOOL, TOOL2]},
    "tools_system": {"messages": [SYSTEM, user("Weather?")], "tools": [TOOL]},
    "tool_call": {"messages": [user("Weather?"), assistant("", tool_calls=[call("get_weather", ARGS)])], "tools": [TOOL]},
    "tool_call_none": {"messages": [user("Weather?"), assistant(None, tool_calls=[call("get_weather", ARGS)])], "tools": [TOOL]},
    "tool_call_string": {"messages": [user("Weather?"), assistant("Let me see.", tool_calls=[call("get_weather", json.dumps(ARGS))])],
                         "tools": [TOOL]},
    "tool_result": {"messages": [SYSTEM, user("Weather?"), assistant("", tool_calls=[call("get_weather", ARGS)]),
                                 {"role": "tool", "content": "{\"t\": 21}", "name": "get_weather", "tool_call_id": "call12345"},
                                 assistant("21 degrees."), user("Thanks")], "tools": [TOOL]},
    "tool_results": {"messages": [user("Weather?"),
                                  assistant("Two.", tool_calls=[call("get_weather", ARGS), call("ping", {}, "abcdefghi")]),
                                  {"role": "tool", "content": "21", "tool_call_id": "call12345"},
                                  {"role": "tool", "content": "pong", "tool_call_id": "abcdefghi"},
                                  assistant("Done.")], "tools": [TOOL, TOOL2]},
    "bare_call": {"messages": [user("Weather?"), assistant("", tool_calls=[{"name": "ping", "arguments": {"a": 1}}]),
                               {"role": "tool", "content": "pong"}], "tools": [TOOL2]},
    "tool_dict_result": {"messages": [user("Weather?"), assistant("", tool_calls=[call("ping", {})]),
                                      {"role": "tool", "content": {"t": 21, "list": [1, "a"]}, "name": "ping"}], "tools": [TOOL2]},
    "reasoning": {"messages": [user("1+1?"), assistant("2", reasoning_content="One and one.\n")]},
    "reasoning_turns": {"messages": [user("1+1?"), assistant("2", reasoning="One and one."), user("2+2?"),
                                     assistant("4", thinking=" Two and two. ")]},
    "think_in_text": {"messages": [user("1+1?"), assistant("<think>\nhm\n</think>\n\n2"), user("so?"),
                                   assistant("<think>oh</think>fine")]},
    "reasoning_tools": {"messages": [user("Weather?"), assistant("", reasoning_content="I need it.", tool_calls=[call("get_weather", ARGS)]),
                                     {"role": "tool", "content": "21", "tool_call_id": "call12345"},
                                     assistant("21", reasoning_content="Got it.")], "tools": [TOOL]},
    "no_thinking": {"messages": [user("1+1?")], "kwargs": {"enable_thinking": False}},
    "thinking": {"messages": [SYSTEM, user("1+1?"), assistant("2")], "kwargs": {"enable_thinking": True, "thinking": True}},
    "kwargs": {"messages": [user("1+1?")], "kwargs": {"date_string": "1 Jan 2025", "reasoning_effort": "high", "preserve_thinking": True,
                                                      "clear_thinking": False, "thinking_budget": 512}},
    "documents": {"messages": [user("1+1?")], "documents": [{"title": "T", "text": "Doc text"}, {"title": "U", "text": "More"}]},
}
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW)


def reference(template, job):
    messages = [{k: v for k, v in m.items() if v is not None} for m in job["messages"]]
    variables = {**SPECIALS, **job.get("kwargs", {})}
    try:
        with mock.patch.object(ctu, "datetime", FixedDate):
            (text,), _ = ctu.render_jinja_template([messages], tools=job.get("tools"), documents=job.get("documents"),
                                                   chat_template=template, add_generation_prompt=job["generation_prompt"],
                                                   **variables)
        return text, None
    except Exception as e:  # whatever Jinja2 raises is a refusal
        return None, f"{type(e).__name__}: {e}"


def gguf_templates(path):
    from gguf import GGUFReader
    for name, field in GGUFReader(path).fields.items():
        if name.startswith("tokenizer.chat_template") and name != "tokenizer.chat_templates":
            yield f"{os.path.basename(path)}:{name}", field.contents()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hone", required=True)
    parser.add_argument("--gguf", nargs="*", default=sorted(glob.glob("models/*.gguf")))
    parser.add_argument("--folder", nargs="*", default=[])
    parser.add_argument("-v", action="store_true", help="also list what both sides refuse")
    args = parser.parse_args()
    driver_path = os.path.join(os.path.dirname(args.hone), "tests", "hone_template_jobs_driver")
    if not os.path.exists(driver_path):
        print("skipped: no", driver_path)
        return 77
    os.environ["TZ"] = "UTC"
    time.tzset()

    import trl
    folders = [os.path.join(os.path.dirname(trl.__file__), "chat_templates"), *args.folder]
    templates = []
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "**", "*.jinja"), recursive=True)):
            templates.append((os.path.relpath(path, os.path.dirname(folder)), open(path, encoding="utf-8", newline="").read()))
    for path in args.gguf:
        templates.extend(gguf_templates(path))

    driver = subprocess.Popen([driver_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    same = refused = different = 0
    for name, template in templates:
        for label, conversation in CONVERSATIONS.items():
            for prompt in (False, True):
                job = {"template": template, "vars": SPECIALS, "generation_prompt": prompt, "now": NOW, **conversation}
                driver.stdin.write(json.dumps(job) + "\n")
                driver.stdin.flush()
                got = json.loads(driver.stdout.readline())
                want, refusal = reference(template, job)
                if want is None and "error" in got:
                    refused += 1
                    if args.v:
                        print(f"refused  {name} {label}: {refusal[:100]!r} | {got['error'][:100]!r}")
                elif want is not None and got.get("text") == want:
                    same += 1
                else:
                    different += 1
                    print(f"DIFFERENT {name} {label} prompt={prompt}\n  jinja2 {want!r} {refusal}\n  hone   {got.get('text')!r} {got.get('error')}")
    print(f"{len(templates)} templates, {same} renderings identical, {refused} refused by both, {different} different")
    driver.stdin.close()
    return 1 if different or driver.wait() else 0


if __name__ == "__main__":
    sys.exit(main())
