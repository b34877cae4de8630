"""Symbols: definitions with their chunk, uses of names with what encloses them."""

from __future__ import annotations

from typing import Any

from codeintel_core.chunking import FileChunks, symbols_table
from codeintel_core.chunking.references import MAX_REFERENCES_PER_FILE

from .test_chunker import CLASS, chunked


def rows(found: FileChunks, role: str) -> list[dict[str, Any]]:
    """The symbols with that role, as the table has them."""
    return [row for row in symbols_table([found.symbols]).to_pylist() if row["role"] == role]


def test_definitions_point_to_their_chunk() -> None:
    result = chunked("a.py", CLASS.encode(), 60)
    chunks = {chunk.chunk_id: chunk for chunk in result.chunks}
    definitions = {s["symbol"]: s for s in rows(result, "definition")}
    assert definitions["Store.get"]["kind"] == "method"
    assert chunks[definitions["Store.get"]["chunk_id"]].symbol == "Store.get"
    assert chunks[definitions["Store.limit"]["chunk_id"]].symbol == "Store"
    lines = CLASS.split("\n")
    assert lines[definitions["Store.put"]["start_line"] - 1].strip().startswith("def put")
    assert "return" in lines[definitions["Store.put"]["end_line"] - 1]


def test_references_are_distinct_per_line_and_know_what_encloses_them() -> None:
    uses = rows(chunked("a.py", CLASS.encode()), "reference")
    keys = [(s["name"], s["start_line"]) for s in uses]
    assert len(keys) == len(set(keys))
    assert {s["symbol"] for s in uses if s["name"] == "items"} == {"Store.put", "Store.get"}
    assert "self" not in {s["name"] for s in uses}
    assert not [s for s in uses if s["name"] == "Store"]  # a definition's own name is no use


def test_references_are_capped() -> None:
    data = "".join(f"use(name{i})\n" for i in range(MAX_REFERENCES_PER_FILE)).encode()
    assert chunked("a.py", data).symbols.role.count("reference") == MAX_REFERENCES_PER_FILE


def test_names_of_latin_1_files() -> None:
    data = "class A {\n  // d\xe9j\xe0\n  void run() { helper(); }\n}\n".encode("latin-1")
    assert "run" in chunked("A.java", data).symbols.name
