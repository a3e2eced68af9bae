#!/usr/bin/env python3
"""The rows of example 4.2 against what can be computed about them, by programs that hone has no part in.

Code is run (Python, C, SQL in SQLite, shell) and must print what the row says it prints; every arithmetic equation of any
answer is evaluated, and the final answer of every reasoning row is computed here a second time, puzzles by trying all
cases; JSON parses and has the keys that were asked for, and no other; extracted values stand in their source; a class is
one of those offered; translations are in the language asked for; limits of length and numbers of items are kept. Then
what holds of all rows: shape, ids, roles, counts per task, simplified Chinese, no control characters, no personal data,
and by `hone data check` at strict thresholds no near-duplicate and no held-out question near a training row.
"""
import argparse
import collections
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unicodedata
from fractions import Fraction as F

parser = argparse.ArgumentParser()
parser.add_argument("--hone", required=True)
hone = str(pathlib.Path(parser.parse_args().hone).resolve())
data = pathlib.Path(__file__).resolve().parents[2] / "examples/4.2_general_assistant/data"
TASKS = """brainstorm classification code dialogue extraction json_output qa reasoning rewriting role summary
translation""".split()
RARE = "僔昇啰"  # of simplified texts, but not in GB 2312
faults, done = [], collections.Counter()


def fault(row, what):
    faults.append(f"{row['id']}: {what}")


def is_han(c):
    return "\u4e00" <= c <= "\u9fff"


def said(row, role):
    return "\n".join(m["content"] for m in row["messages"] if m["role"] == role)


def shape(row, task, held_out, number):
    if sorted(row) != ["id", "messages", "task"] or row["task"] != task:
        fault(row, "fields")
    if row["id"] != (f"{task}-e{number:02d}" if held_out else f"{task}-{number:03d}"):
        fault(row, f"id, row {number} of its file")
    roles = [m["role"] for m in row["messages"]]
    turns = roles[1:] if roles[0] == "system" else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        fault(row, f"roles {roles}")
    if task == "dialogue" and len(turns) < 4:
        fault(row, "a dialogue of one turn")
    if task == "role" and roles[0] != "system":
        fault(row, "a role without its system prompt")
    for m in row["messages"]:
        text = m["content"]
        if text != text.strip() or not text or unicodedata.normalize("NFC", text) != text:
            fault(row, "empty, spaces around, or not NFC")
        if any(unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Cs") and c != "\n" or c == "\ufffd" for c in text):
            fault(row, "control or broken character")
        if re.search(r"(?<!\d)1[3-9]\d{9}(?!\d)|(?<![\d.])\d{15,}|[\w.]+@[\w.]+\.\w|https?://|(?:\d{1,3}\.){3}\d{1,3}", text):
            fault(row, "personal data or an address")
        if not re.search("[\u3040-\u30ff]", said(row, "user") + text):
            for c in filter(is_han, text):
                try:
                    c.encode("gb2312")
                except UnicodeEncodeError:
                    if c not in RARE:
                        fault(row, f"{c} is not simplified")
    if max(len(m["content"]) for m in row["messages"]) > 700:
        fault(row, "too long")


def run(row, command, cwd, text=None):
    done["program"] += 1
    return subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True, timeout=20)


def code(row, folder):
    """Blocks of the question must do what the answer says of them, blocks of the answer what they say of themselves."""
    question, answer = said(row, "user"), said(row, "assistant")
    for source in re.findall(r"```python\n(.*?)```", question, re.S):
        r = run(row, [sys.executable, "-I", "-c", source], folder)
        told = r.stderr.strip().split("\n")[-1].split(":")[0] if r.returncode else r.stdout.strip()
        if told not in question.replace(source, "") + answer:
            fault(row, f"the question's code gives {told!r}")
    for language, source in re.findall(r"```(\w+)\n(.*?)```", answer, re.S):
        if language == "python":
            r = run(row, [sys.executable, "-I", "-c", source], folder)
        elif language == "c":
            r = run(row, ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-xc", "-", "-o", "prog"], folder, source)
            r = r if r.returncode else run(row, ["./prog"], folder)
        elif language == "sql":
            tables = "".join(f"CREATE TABLE {n}({c});" for n, c in re.findall(r"(\w+)\(([\w, ]+)\)", question))
            r = run(row, ["sqlite3", "-bail", ":memory:"], folder, tables + source)
        elif language == "bash":
            r = run(row, ["bash", "-euo", "pipefail", "-c", source], folder)
        else:
            fault(row, f"no way to run {language}")
            continue
        if r.returncode:
            fault(row, f"{language}: {r.stderr.strip()[-200:]}")
        told = re.findall(r"(?:#|/\*) 输出 (.*?)(?: \*/)?$", source, re.M)
        lines = r.stdout.splitlines()
        if language == "bash":
            continue
        if told and [t.rstrip() for t in told] != [line.rstrip() for line in lines]:
            fault(row, f"prints {lines}, not {told}")
        if not told and any(line not in answer for line in lines):
            fault(row, f"prints {lines}, which the answer does not say")


CLAIMS = {  # what answers say about code without a block that could be run
    "code-004": "'你好吗'[::-1] == '吗好你'",
    "code-038": "({'x': 1, 'y': 2} | {'y': 3}) == {**{'x': 1, 'y': 2}, **{'y': 3}}",
    "code-039": "0.1 + 0.2 != 0.3 and repr(0.1 + 0.2) == '0.30000000000000004'",
    "code-048": "sorted(['b10', 'b9', 'b1']) == ['b1', 'b10', 'b9']",
    "role-021": "(lambda a: sum(a) / len(a))([1, 2, 6]) == 3",
}


def value(text):
    text = text.replace("×", "*").replace("÷", "/")
    if not re.fullmatch(r"[\d.+\-*/()%]+", text):
        return None
    text = re.sub(r"([\d.]+)%", r"(\1/100)", text)
    try:
        return eval(re.sub(r"\d+\.?\d*", lambda m: f"F('{m[0]}')", text), {"F": F})
    except (SyntaxError, ZeroDivisionError):
        return None


def equations(row):
    """`24-3×5=9`, `1/6+1/12=1/4`, `287÷3≈95.67` (≈: to the digits written). With unknowns: not looked at."""
    for m in re.finditer(r"[\d.+\-×÷*/()%]*\d[\d.+\-×÷*/()%]*(?:[=≈][\d.+\-×÷*/()%]+)+", re.sub(r"```.*?```|`.*?`", "", said(row, "assistant"), flags=re.S)):
        before = m.string[max(m.start() - 1, 0) : m.start()]
        after = m.string[m.end() : m.end() + 1]
        if re.match(r"[A-Za-z=]", before) or re.match(r"[A-Za-z]", after):
            continue
        parts = re.split(r"([=≈])", m[0].rstrip("."))
        values = [value(p) for p in parts[::2]]
        for left, sign, right, text in zip(values, parts[1::2], values[1:], parts[2::2]):
            if left is None or right is None:
                continue
            done["equation"] += 1
            digits = len(text.partition(".")[2])
            if left != right if sign == "=" else abs(left - right) > F(1, 2 * 10**digits):
                fault(row, f"{m[0]} is wrong")


def liars():
    """甲: 乙 lies; 乙: 丙 lies; 丙: both lie; one of them speaks the truth."""
    for a, b, c in itertools.product([True, False], repeat=3):
        if a + b + c == 1 and a == (not b) and b == (not c) and c == (not a and not b):
            yield "甲乙丙"[[a, b, c].index(True)]


def boxes():
    for key in "红黄蓝":
        if [key == "红", key != "黄", key != "红"].count(True) == 1:
            yield key


def bridge(here, there, lamp_here):
    """Fewest minutes to cross: two over, one back, until nobody is left."""
    if lamp_here:
        return min(max(pair) + (bridge(here - set(pair), there | set(pair), False) if here - set(pair) else 0)
                   for pair in itertools.combinations(sorted(here), 2))
    return min(m + bridge(here | {m}, there - {m}, True) for m in there)


def weighings(n):
    """Weighings that find the heavy one of n balls: three heaps, the largest is the worst case."""
    return 0 if n == 1 else 1 + min(weighings(max(k, n - 2 * k)) for k in range(1, n // 2 + 1))


def solve(test, *ranges):
    return [x for x in itertools.product(*ranges) if test(*x)][0]


def seat():
    return sum(abs(p.index(0) - p.index(1)) == 1 for p in itertools.permutations(range(5)))


dice = [a + b for a in range(1, 7) for b in range(1, 7)]
coins = list(itertools.product([0, 1], repeat=3))
ANSWERS = {
    "001": [24 - 3 * 5], "002": [F(210, 3) * 5], "003": [480 * F(75, 100) - 30],
    "004": solve(lambda c, r: c + r == 35 and 2 * c + 4 * r == 94, range(36), range(36)),
    "005": [1 / (F(1, 6) + F(1, 12))], "006": [solve(lambda x: 6 * x == 36, range(40))[0] ** 2 * 2],
    "007": solve(lambda y: 36 + y == 3 * (8 + y), range(50)), "008": [sum(range(101))],
    "009": [1 / (F(1, 4) - F(1, 6))], "010": [100 - 100 * F(12, 10) * F(8, 10)],
    "011": solve(lambda a, b, c: a + b + c == 72 and b == a + 1 and c == a + 2, *[range(72)] * 3),
    "012": [45 - (28 + 23 - 10)], "013": [F(dice.count(7), 36)], "014": [seat()],
    "015": [next(n for n in range(1, 10) if all(len(set(s)) < n for s in itertools.product("红白", repeat=n)))],
    "016": [2 * 2**3], "017": [abs(3 * 30 - 0), abs(180 - F(7, 2) * 30)],
    "018": [solve(lambda b, w: b + w == 18 and b - w == 12, range(20), range(20))[1]],
    "019": [200 * F(15, 100) / 300 * 100], "020": [F(200 + 800, 20)], "021": [3**2],
    "022": solve(lambda x: 3 * x - 7 == 2 * x + 5, range(50)),
    "023": solve(lambda x, y: x + y == 10 and x - y == 4, range(11), range(11)),
    "024": next("甲乙丙丁"[p[0]] + "甲乙丙丁"[p[1]] + "甲乙丙丁"[p[2]] + "甲乙丙丁"[p[3]]
                for p in itertools.permutations(range(4))
                if p.index(0) < p.index(1) and p.index(0) < p.index(2) < p.index(1) and p[3] == 3),
    "025": "".join(liars()), "026": "不能推出", "027": "不能断定", "028": [6 * 7], "029": [5 + 8, 8 + 13],
    "030": "星期" + "一二三四五六日"[(2 + 100) % 7], "031": [weighings(8)], "032": [F(92 + 97 + 84, 3)],
    "033": [10000 + 10000 * F(2, 100) * 3], "034": [F(2400) / (F(1200, 60) + F(1200, 40))], "035": [6 * 5**2, 5**3],
    "036": [40 * F(2, 5)], "037": [F(6, 4) * 10], "038": solve(lambda a, t: t == 2 * a and a + 5 + t + 5 == 40, range(40), range(40)),
    "039": [9], "040": [next(10 * t + u for t in range(10) for u in range(10) if t == u + 3 and t + u == 11)],
    "041": [solve(lambda oil, tub: oil + tub == 12 and 2 * tub + oil == 14, range(13), range(13))[1]],
    "042": [bridge({1, 2, 5, 10}, set(), True)],
    "043": [sum(int("".join(p)) % 2 == 0 for p in itertools.permutations("1234", 3))],
    "044": solve(lambda a, b: a + b == 30 and a - b == 6, range(31), range(31)),
    "e01": [F(50 * 25, 125)], "e02": [solve(lambda c, m: c + m == 20 and 4 * c + 2 * m == 66, range(21), range(21))[0]],
    "e03": solve(lambda p: p - F(p, 4) - 30 == 60, range(1, 400)), "e04": [F(sum(sum(c) == 2 for c in coins), 8)],
    "e05": "".join(boxes()), "e06": list(divmod(13 * 60 + 15 - 9 * 60 - 40, 60)),
}


def reasoning(row):
    told = re.search(r"\n(?:答案：|Answer: )(.*)$", said(row, "assistant"))
    right = ANSWERS.get(row["id"].split("-")[1])
    if not told or right is None:
        fault(row, "no answer to compare")
    elif isinstance(right, str):
        if right not in told[1].replace("、", ""):
            fault(row, f"{told[1]}, not {right}")
    elif [F(x) for x in re.findall(r"\d+(?:/\d+|\.\d+)?", told[1])] != [F(x) for x in right]:
        fault(row, f"{told[1]}, not {[str(x) for x in right]}")
    done["answer"] += 1


def keys(x):
    if isinstance(x, dict):
        return set(x) | set().union(*map(keys, x.values()), set())
    return set().union(*map(keys, x), set()) if isinstance(x, list) else set()


def json_output(row):
    request = said(row, "system") + said(row, "user")
    try:
        answer = json.loads(said(row, "assistant"))
    except ValueError as e:
        return fault(row, f"no JSON: {e}")
    have = keys(answer)
    words = set(re.findall(r"\w+", request, re.A))
    if not have or not have <= words:
        fault(row, f"keys that nobody asked for: {have - words}")
    named = re.search(r"(?:键(?:是|为)?|字段|含|包含|给出|输出|keys|（|表头|\{)\s*\"?([a-z_]+(?:(?:、|, ?| 和 | and |，)[a-z_]+)*)", request)
    if named:
        asked = set(re.findall(r"[a-z_]+", named[1])) - {"and"}
        if not asked <= have and "set_alarm" not in asked:
            fault(row, f"keys missing: {asked - have}")
        done["keys asked"] += len(asked)
    done["json"] += 1


def extraction(row):
    source = said(row, "user")
    for line in said(row, "assistant").split("\n"):
        label, colon, rest = line.partition("：") if "：" in line else line.partition(": ")
        for v in re.split("、|, ", rest if colon else label):
            done["value"] += 1
            if v not in source and v != "未提到":
                fault(row, f"{v} is not in the source")


def classification(row):
    label = re.split("[。\n]", said(row, "assistant"))[0]
    text = said(row, "user")
    if label not in text and not (label in "是否" and "是否" in text):
        fault(row, f"{label} was not offered")
    done["class"] += 1


def translation(row):
    question, answer = said(row, "user"), said(row, "assistant")
    head = re.split("[：:]", question)[0]
    if re.search("日语$", head):
        ok = re.search("[\u3040-\u30ff]", answer)
    elif re.search("(英文|英语|English|中译英|客气|菜单|产品说明译成英文)", head) and not re.search("英文译成中文|译成中文", head):
        ok = not any(map(is_han, answer)) and re.search("[a-z]{2}", answer)
    else:
        letters = [c for c in answer if c.isalpha()]
        ok = all(map(is_han, letters)) and letters
    if not ok:
        fault(row, f"language: {question[:20]}")
    done["translation"] += 1


NUMBERS = {"两": 2, "三": 3, "四": 4, "五": 5, "three": 3, "four": 4, "five": 5}


def limits(row):
    """A limit of length or a number of items that the question names."""
    question, answer = said(row, "system") + "\n" + said(row, "user"), row["messages"][-1]["content"]
    limit = re.search(r"(?:不超过|到)(\d+)字|(\d+)字以内", question)
    if limit:
        done["limit"] += 1
        if len(answer.split("\n")[0] if "题目" in question else answer) > int(limit[1] or limit[2]):
            fault(row, f"{len(answer)} characters, asked for {limit[0]}")
    count = re.search(r"([两三四五]|three|four|five)(?:个|条|种| )", question)
    items = len(re.findall(r"^(?:\d+\.|-) ", answer, re.M))
    if row["task"] == "brainstorm" and count and items:
        done["list"] += 1
        if items != NUMBERS[count[1]]:
            fault(row, f"{items} items, asked for {count[0]}")


SPECIAL = {"reasoning": reasoning, "json_output": json_output, "extraction": extraction,
           "classification": classification, "translation": translation}
counts, english, rows = {}, 0, 0
with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "app.log").write_text("ok\nERROR a\nERROR b\n")
    pathlib.Path(folder, "a.py").write_text("pass\n")
    for part in ("train", "eval"):
        files = sorted((data / part).glob("*.jsonl"))
        if [f.stem for f in files] != TASKS:
            sys.exit(f"{part}: {[f.stem for f in files]}")
        for file in files:
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            counts[part, file.stem] = len(lines)
            for number, row in enumerate(lines, 1):
                shape(row, file.stem, part == "eval", number)
                equations(row)
                limits(row)
                if "```" in said(row, "user") + said(row, "assistant"):
                    code(row, folder)
                if row["id"] in CLAIMS:
                    done["claim"] += 1
                    if eval(CLAIMS[row["id"]]) is not True:
                        fault(row, CLAIMS[row["id"]])
                SPECIAL.get(file.stem, lambda r: None)(row)
                rows += 1
                text = said(row, "user")
                english += sum(map(is_han, text)) * 4 < sum(c.isascii() and c.isalpha() for c in text)
    sizes = [counts["train", t] for t in TASKS]
    if min(sizes) < 20 or max(sizes) < 3 * min(sizes) or min(counts["eval", t] for t in TASKS) < 6:
        faults.append(f"rows per task: {counts}")
    if not 0.1 <= english / rows <= 0.2:
        faults.append(f"{english} of {rows} questions are mostly English")
    r = subprocess.run([hone, "data", "check", str(data / "train"), "--against", str(data / "eval"), "--threshold", "0.4",
                        "--share", "0.3", "--quiet"], capture_output=True, text=True)
    together = subprocess.run([hone, "data", "check", str(data / "eval"), "--threshold", "0.4", "--quiet"],
                              capture_output=True, text=True)
    for found in (r, together):
        if found.returncode:
            faults.append(found.stdout + found.stderr)
print(f"{sum(sizes)} training rows ({min(sizes)}-{max(sizes)} a task), {rows - sum(sizes)} held out, {english} mostly English")
print("checked: " + ", ".join(f"{n} {what}" for what, n in sorted(done.items())))
for line in faults:
    print("FAULT", line)
sys.exit(1 if faults else 0)
