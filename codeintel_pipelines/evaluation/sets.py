"""Evaluation sets on disk: corpus.jsonl {id, text[, repo, path]}, queries.jsonl {id, text[, repo]}, qrels.tsv.

The corpus may lie elsewhere, or be the files of pinned repositories (`repos.json`) read from clones.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codeintel_core.errors import InvalidRequest

_SUFFIXES = {
    "python": (".py",),
    "go": (".go",),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "typescript": (".ts", ".tsx"),
    "java": (".java",),
    "rust": (".rs",),
    "ruby": (".rb",),
    "php": (".php",),
    "csharp": (".cs",),
    "c": (".c", ".h"),
    "cpp": (".cc", ".cpp", ".hpp", ".h"),
}


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that can be found: a file (with a path) or a passage (without)."""

    doc_id: str
    text: str
    repo: str
    path: str


@dataclass(frozen=True, slots=True)
class Query:
    """One question; `repo` restricts it to one repository of the corpus ('' = all)."""

    query_id: str
    text: str
    repo: str


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A corpus, its questions and what answers them (query id -> document id -> grade)."""

    name: str
    documents: list[Document]
    queries: list[Query]
    qrels: dict[str, dict[str, float]]


def load(folder: Path, *, corpus: Path | None = None, clones: Path | None = None) -> EvaluationSet:
    """Read a set.

    Args:
        folder: holds queries.jsonl and qrels.tsv, and corpus.jsonl or repos.json.
        corpus: another corpus.jsonl, the folder of one, or a git work tree, whose sources are then the documents.
        clones: folder of clones of the repositories in repos.json, as `<name>` or `<owner>+<name>/repo`.

    Raises:
        InvalidRequest: a file is missing or malformed, or a pinned revision is not in its clone.
    """
    path = _corpus_path(folder, corpus)
    if corpus is not None and corpus.is_dir() and not path.is_file():
        documents = list(_tree_files(corpus, folder.name))
    elif path.is_file():
        documents = [_document(row, folder.name) for row in _rows(path)]
    elif (folder / "repos.json").is_file() and clones is not None:
        documents = list(_pinned_files(folder / "repos.json", clones))
    else:
        raise InvalidRequest(f"{folder} has no corpus.jsonl; name it with --corpus, or clones with --clones")
    qrels = _qrels(folder / "qrels.tsv")
    rows = _rows(folder / "queries.jsonl")
    queries = [Query(str(row["id"]), str(row["text"]), str(row.get("repo", ""))) for row in rows]
    asked = [query for query in queries if query.query_id in qrels]
    if not documents or not asked:
        raise InvalidRequest(f"{folder} has no documents, or no query with a judgement")
    return EvaluationSet(folder.name, documents, asked, {q.query_id: qrels[q.query_id] for q in asked})


def _corpus_path(folder: Path, corpus: Path | None) -> Path:
    if corpus is not None:
        return corpus / "corpus.jsonl" if corpus.is_dir() else corpus
    shared = folder.parent / f"{folder.name.split('-')[0]}-corpus" / "corpus.jsonl"  # several query sets, one corpus
    own = folder / "corpus.jsonl"
    return own if own.is_file() or not shared.is_file() else shared


def _document(row: dict[str, Any], name: str) -> Document:
    return Document(str(row["id"]), str(row["text"]), str(row.get("repo") or name), str(row.get("path") or ""))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict) or not {"id", "text"} <= row.keys():
                        raise InvalidRequest(f"{path}:{number} lacks `id` or `text`")
                    yield row
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from None


def _qrels(path: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            fields = line.split("\t")
            if len(fields) >= 3 and fields[0] != "query-id" and float(fields[2]) > 0:
                found.setdefault(fields[0], {})[fields[1]] = float(fields[2])
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from None
    return found


def _tree_files(tree: Path, repo: str) -> Iterator[Document]:
    suffixes = tuple(suffix for some in _SUFFIXES.values() for suffix in some)
    for path in _git(tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0"):
        if path.endswith(suffixes) and (tree / path).is_file():
            yield Document(path, (tree / path).read_text(encoding="utf-8", errors="replace"), repo, path)


def _pinned_files(specification: Path, clones: Path) -> Iterator[Document]:
    for spec in json.loads(specification.read_text(encoding="utf-8")):
        name, revision = spec["name"], spec["revision"]
        clone = next((p for p in (clones / name, *clones.glob(f"*+{name}/repo")) if p.is_dir()), None)
        if clone is None:
            raise InvalidRequest(f"no clone of '{name}' in {clones}")
        root = [spec["benchmark_root"]] if spec.get("benchmark_root") else []
        listed = _git(clone, "ls-tree", "-r", "--name-only", "-z", revision, *root).decode("utf-8", "replace")
        for path in listed.split("\0"):
            if path.endswith(_SUFFIXES.get(spec["language"], ())):
                text = _git(clone, "show", f"{revision}:{path}").decode("utf-8", "replace")
                yield Document(f"{name}:{path}", text, name, path)


def _git(clone: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(clone), *arguments], check=True, capture_output=True).stdout
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode("utf-8", "replace").strip()[:200]
        raise InvalidRequest(f"{clone}: git {arguments[0]} failed: {reason}") from None
