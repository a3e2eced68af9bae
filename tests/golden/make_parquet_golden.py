#!/usr/bin/env python3
"""Small parquet files as pyarrow and `datasets` write them, and the rows they hold as JSON lines.

    build/peers/bin/python tests/golden/make_parquet_golden.py

Every case is NAME.parquet beside NAME.jsonl (one row a line, as Python's json writes it). Cases cover the codecs, page
versions 1 and 2, dictionaries and plain values, several row groups and pages, nulls at every level, and nested lists.
"""
import json
import pathlib

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent / "parquet"
HERE.mkdir(exist_ok=True)


def messages(i):
    turns = [{"role": "user", "content": f"问题 {i}: \"引号\"\n第二行"}, {"role": "assistant", "content": f"答 {i}"}]
    return turns * (1 + i % 3)


rows = {
    "plain": [{"instruction": f"Frage {i} 中文", "input": None if i % 3 else "", "output": "x" * (i % 7) + "!",
               "score": i / 3, "n": i * 10**12 * (-1) ** i, "flag": i % 2 == 0 if i % 5 else None} for i in range(40)],
    "chat": [{"id": i, "messages": messages(i)} for i in range(30)],
    "nested": [
        {"a": None, "b": {"c": None, "d": [1, None, 3]}, "e": [[1, 2], [], None, [3]]},
        {"a": "x", "b": None, "e": None},
        {"a": "y", "b": {"c": {"f": "deep"}, "d": []}, "e": []},
        {"a": "z", "b": {"c": {"f": None}, "d": None}, "e": [[None], [4, 5]]},
        {"a": "", "b": {"c": {"f": ""}, "d": [7]}, "e": [[]]},
    ],
    "types": [{"i8": i - 3, "u8": 250 + i % 5, "u32": 4294967290 + i % 5, "u64": 2**63 - 5 + i % 5, "i64": -(2**63) + i,
               "f": i + 0.5, "d": 1e300 if i else 5e-324, "b": i % 3 == 0, "s": "\u0001\t\u20ac\U0001f600"[: i + 1]}
              for i in range(5)],
    "empty_lists": [{"tools": [], "messages": []} for _ in range(3)],
}
schema = {
    "nested": pa.schema([("a", pa.string()), ("b", pa.struct([("c", pa.struct([("f", pa.string())])),
                                                             ("d", pa.list_(pa.int32()))])),
                         ("e", pa.list_(pa.list_(pa.int64())))]),
    "types": pa.schema([("i8", pa.int8()), ("u8", pa.uint8()), ("u32", pa.uint32()), ("u64", pa.uint64()),
                        ("i64", pa.int64()), ("f", pa.float32()), ("d", pa.float64()), ("b", pa.bool_()),
                        ("s", pa.string())]),
    "empty_lists": pa.schema([("tools", pa.list_(pa.string())),
                              ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))]),
}


def write(case, name, **options):
    table = pa.Table.from_pylist(rows[case], schema=schema.get(case))
    pq.write_table(table, HERE / f"{name}.parquet", **options)
    with open(HERE / f"{name}.jsonl", "w") as f:
        for row in table.to_pylist():
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


for case in rows:
    write(case, case)  # snappy, dictionaries, page version 1
for codec in ("none", "gzip", "zstd"):
    write("chat", f"chat_{codec}", compression=codec)
write("plain", "plain_v2", data_page_version="2.0", compression="zstd")
write("nested", "nested_v2", data_page_version="2.0", use_dictionary=False)
write("types", "types_v2", data_page_version="2.0", use_dictionary=False, compression="none")
write("chat", "chat_pages", row_group_size=7, data_page_size=64, write_batch_size=3, use_dictionary=False)
write("plain", "plain_pages", row_group_size=11, data_page_size=32, write_batch_size=2)
write("chat", "chat_fallback", dictionary_pagesize_limit=16, write_batch_size=2, data_page_size=64)
datasets.Dataset.from_list(rows["chat"]).to_parquet(str(HERE / "datasets.parquet"))
(HERE / "datasets.jsonl").write_text((HERE / "chat.jsonl").read_text())

# What is refused by name.
table = pa.Table.from_pylist([{"text": "abc", "n": i} for i in range(3)])
pq.write_table(table, HERE / "refused_delta.parquet", use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})
pq.write_table(table, HERE / "refused_lz4.parquet", compression="lz4")
pq.write_table(table, HERE / "refused_brotli.parquet", compression="brotli")
pq.write_table(pa.table({"t": pa.array([0, 1], pa.timestamp("ns"))}), HERE / "refused_int96.parquet",
               use_deprecated_int96_timestamps=True)
