"""Golden queries mined from a repository itself: a docstring asks for its definition, a commit subject for its files.

A docstring would find itself, so it is taken out of its own chunk before that is indexed (see `own_text_removed`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from codeintel_core.repository.git import GitRepository

DOCSTRING, COMMIT = "docstring", "commit"
GOLDEN = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False, metadata={"doc": "kind and what it was mined from"}),
        pa.field("kind", pa.string(), nullable=False, metadata={"doc": "docstring or commit"}),
        pa.field("text", pa.string(), nullable=False, metadata={"doc": "the question"}),
        pa.field("targets", pa.list_(pa.string()), nullable=False, metadata={"doc": "chunk id, or paths of files"}),
    ]
)
CHUNK_COLUMNS = ["chunk_id", "path", "file_class", "docstring", "text", "part"]
_PER_KIND = 100
_MIN_WORDS = 4
_MAX_FILES = 5
_MAX_COMMITS = 2_000
_SENTENCE = re.compile(r"(?<=[.!?])\s|\n\s*\n")
_MARKER = re.compile(r"^[\s\"'#/*;-]+|[\s\"'*/]+$")
_RECORD, _FIELD = "\x1e", "\x1f"


def mine(chunks: pa.Table, git: GitRepository, commit: str) -> pa.Table:
    """Golden queries of a generation, at most 100 of a kind, the same for the same commit."""
    rows = chunks.select(CHUNK_COLUMNS).to_pylist()
    found = [*_docstrings(rows), *_commits(git, commit, {row["path"] for row in rows})]
    return pa.Table.from_pylist(found, schema=GOLDEN)


def own_text_removed(chunks: pa.Table, golden: pa.Table) -> pa.Table:
    """The chunks, those that a docstring query asks for without their docstring."""
    asked = {row["targets"][0] for row in golden.to_pylist() if row["kind"] == DOCSTRING}
    rows = chunks.to_pylist()
    for row in rows:
        if str(row["chunk_id"]) in asked:
            row["text"] = _without(row["text"], row["docstring"])
            row["docstring"] = ""
    return pa.Table.from_pylist(rows, schema=chunks.schema)


def _docstrings(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in rows:
        text, doc = str(row["text"]), str(row["docstring"])
        question = " ".join(_SENTENCE.split(doc.strip(), maxsplit=1)[0].split())
        if row["file_class"] != "source" or row["part"] != 0 or len(question.split()) < _MIN_WORDS:
            continue
        bare = _without(text, doc)
        if question.split()[0] in text and 0 < len(bare.strip()) < len(text):
            target = str(row["chunk_id"])
            found.append(
                {"query_id": f"{DOCSTRING}:{target}", "kind": DOCSTRING, "text": question, "targets": [target]}
            )
    return _sampled(found)


def _commits(git: GitRepository, commit: str, indexed: set[str]) -> list[dict[str, Any]]:
    log = git.git(
        "log", f"--max-count={_MAX_COMMITS}", "--no-merges", "--name-only",
        f"--format={_RECORD}%H{_FIELD}%s{_FIELD}", commit,
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    for record in log.decode("utf-8", "replace").split(_RECORD)[1:]:
        sha, subject, names = record.split(_FIELD, 2)
        touched = [name for name in names.splitlines() if name]
        targets = [name for name in touched if name in indexed]
        if len(subject.split()) >= _MIN_WORDS and targets and len(touched) <= _MAX_FILES:
            found.append({"query_id": f"{COMMIT}:{sha}", "kind": COMMIT, "text": subject, "targets": targets})
    return _sampled(found)


def _sampled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def key(row: dict[str, Any]) -> bytes:
        return hashlib.blake2b(str(row["query_id"]).encode(), digest_size=8).digest()

    return sorted(rows, key=key)[:_PER_KIND]


def _without(text: str, docstring: str) -> str:
    """The text without the lines of its docstring, whatever marks them as comment."""
    gone = {_MARKER.sub("", line) for line in docstring.splitlines()} - {""}
    return "".join(line for line in text.splitlines(keepends=True) if _MARKER.sub("", line) not in gone)


def path_of(repository_root: Path) -> Path:
    """Where the golden queries of a repository lie."""
    return repository_root / "evaluation" / "golden.parquet"
