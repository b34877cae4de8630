"""Where a needle is: generations by their tables, everything else file by file, the mirrors by their objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from codeintel_core.analysis import terms
from codeintel_core.deadline import Deadline
from codeintel_core.errors import GitFailed
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.indexes.lexical import LexicalIndex, LexicalSearcher
from codeintel_core.repository.git import GitRepository
from codeintel_core.scope import Scope
from codeintel_core.secrets.redaction import MASK
from codeintel_pipelines.purge import stores
from codeintel_pipelines.purge.needle import Needle

_MASKED = f"{MASK}\n".encode()
_MIN_TERM_CHARS = 8
_MOST_TERMS = 200
_SEARCHED_DOCUMENTS = 1_000
_TERM_LIMIT_S = 30
_OF_TEXT = ["chunk_id", "blob", "encoding", "start_byte", "end_byte", "text"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is purged: everything the needle matches, or one path of a repository, or one blob anywhere."""

    needle: Needle
    repo: str = ""
    path: str = ""
    blob: str = ""

    def names(self, row: dict[str, Any], repo: str) -> bool:
        """Whether a row of a files or chunks table is the path or blob."""
        return bool(
            (self.blob and row["blob"] == self.blob) or (self.path and (repo, row["path"]) == (self.repo, self.path))
        )


def dirty_chunks(repository: RepositoryHome, folder: Path, target: Target) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Rows of chunks.parquet (all columns) that hold the target, or a part of it, and what it is in their text."""
    rows = pq.read_table(folder / "chunks.parquet").to_pylist()
    parts = _parts(repository, rows, target.needle)
    for row in rows:
        if target.names(row, repository.name) or _holds(row, target.needle) or row["chunk_id"] in parts:
            data = row["text"].encode("utf-8", "surrogatepass")
            found = {data[start:end].decode("utf-8", "replace") for start, end in target.needle.spans(data)}
            yield row, found | parts.get(row["chunk_id"], set())


def is_dirty(repository: RepositoryHome, folder: Path, target: Target) -> bool:
    """Whether any table of a generation holds the target, decoded as well as in raw bytes."""
    if target.path or target.blob:
        files = pq.read_table(folder / "files.parquet", columns=["path", "blob", "chunks"]).to_pylist()
        if any(row["chunks"] and target.names(row, repository.name) for row in files):
            return True
    if any(stores.occurrences(path, target.needle) for path in sorted(folder.rglob("*")) if path.is_file()):
        return True
    if not target.needle.matches_lines:
        return False
    rows = pq.read_table(folder / "chunks.parquet", columns=_OF_TEXT).to_pylist()
    return bool(_parts(repository, rows, target.needle))


def shares_files(folder: Path, dirty: Iterable[Path]) -> bool:
    """Whether a generation has a file in common with one that holds the target.

    Such as Lucene segments in which the document is only marked as deleted, or the vectors of its chunks.
    """
    taken = {path.stat().st_ino for other in dirty for path in other.rglob("*") if path.is_file()}
    return any(path.stat().st_ino in taken for path in folder.rglob("*") if path.is_file())


def text_of(home: Home, target: Target) -> list[str]:
    """Lines that only the path or blob holds, from the chunks of every generation that has it."""
    mine, others = set[str](), set[str]()
    for repository, folder in generations(home):
        for row in pq.read_table(folder / "chunks.parquet", columns=["path", "blob", "text"]).to_pylist():
            lines = {line.strip() for line in row["text"].splitlines()}
            (mine if target.names(row, repository.name) else others).update(lines)
    return sorted(mine - others)


def generations(home: Home) -> Iterator[tuple[RepositoryHome, Path]]:
    """Every generation of every repository."""
    for name in home.repository_names():
        repository = home.repository(name)
        for gen_id in kept(repository):
            yield repository, repository.generation(gen_id)


def other_files(home: Home) -> Iterator[Path]:
    """Every file of the home outside generations, mirrors and exported models, but for the purge list itself."""
    for path in sorted(home.root.rglob("*")):
        parts = path.relative_to(home.root).parts
        is_elsewhere = "generations" in parts or "mirror.git" in parts or parts[0] == "models"
        if path.is_file() and not path.is_symlink() and not is_elsewhere and path != home.purged:
            yield path


def leaking_terms(folder: Path, words: set[str]) -> list[str]:
    """Terms of purged words that Lucene finds in documents whose chunk does not say them."""
    wanted = sorted({term for word in words for term in terms(word) if len(term) >= _MIN_TERM_CHARS})[:_MOST_TERMS]
    known: dict[int, frozenset[str]] = {}
    index = LexicalIndex(folder / "lucene")
    try:
        searcher = LexicalSearcher([index])
        leaks = []
        for term in wanted:
            found, _ = searcher.search([(term, 1.0)], _SEARCHED_DOCUMENTS, Scope(), Deadline.after(_TERM_LIMIT_S))
            if len(found) and not known:
                known = _terms_of_chunks(folder)
            if any(term not in known.get(int(chunk_id), ()) for chunk_id in found):
                leaks.append(term)
        return leaks
    finally:
        index.close()


def in_mirror(repository: RepositoryHome, target: Target, timeout_s: float) -> int:
    """How many blobs of the mirror hold the target: the source's own history, which only its owner can rewrite."""
    git = GitRepository(repository.mirror, timeout_s)
    listed = git.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").decode()
    blobs = [line.split()[0] for line in listed.splitlines() if line.endswith(" blob")]
    return sum(oid == target.blob or bool(target.needle.spans(data)) for oid, data in git.blobs(blobs))


def _terms_of_chunks(folder: Path) -> dict[int, frozenset[str]]:
    columns = ["chunk_id", "symbol", "path", "docstring", "text"]
    rows = pq.read_table(folder / "chunks.parquet", columns=columns).to_pylist()
    return {row["chunk_id"]: frozenset(terms(" ".join(row[name] for name in columns[1:]))) for row in rows}


def _parts(repository: RepositoryHome, rows: list[dict[str, Any]], needle: Needle) -> dict[int, set[str]]:
    """By chunk id, what rows with `_OF_TEXT` show of matches in their files, also of those that reach over their ends.

    Only what matches over the end of a line can, since chunks are whole lines. What a mirror that cannot be read would
    say is not known, and must not keep a purge from the rest.
    """
    if not needle.matches_lines:
        return {}
    blobs, spans = dict.fromkeys(row["blob"] for row in rows), dict[str, list[tuple[int, int]]]()
    with suppress(GitFailed):
        spans.update((blob, needle.spans(data)) for blob, data in GitRepository(repository.mirror).blobs(blobs))
    found: dict[int, set[str]] = {}
    for row in rows:
        for span in spans.get(row["blob"], ()):
            if (part := _part(row, *span)).strip(_MASKED):
                found.setdefault(row["chunk_id"], set()).add(part.decode(row["encoding"], "replace"))
    return found


def _part(row: dict[str, Any], start: int, end: int) -> bytes:
    """What a chunk shows of a span of its file."""
    text: bytes = row["text"].encode(row["encoding"], "replace")
    return text[max(start - row["start_byte"], 0) : max(end - row["start_byte"], 0)]


def _holds(row: dict[str, Any], needle: Needle) -> bool:
    texts = (value.encode("utf-8", "surrogatepass") for value in row.values() if isinstance(value, str))
    return any(map(needle.spans, texts))
