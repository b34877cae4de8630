"""Ingest: files of the commit become chunks and symbols; what did not change is taken over from the parent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codeintel_core.chunking import (
    Chunk,
    FileChunks,
    FileRow,
    Symbol,
    WordPieceCounter,
    chunk_file,
    chunks_table,
    files_table,
    skipped_file,
    symbols_table,
)
from codeintel_core.errors import NothingToIndex
from codeintel_core.repository.git import TreeEntry
from codeintel_core.secrets import is_denied, purged
from codeintel_core.secrets.purged import PurgeList
from codeintel_pipelines.build.plan import Build

_log = logging.getLogger("codeintel.chunks")
HEADER_TOKENS = 26  # of the encoder's limit: special tokens, and the symbol that is embedded with the text
_PROGRESS_EVERY = 200


@dataclass(frozen=True, slots=True)
class Ingested:
    """Counts of an ingest stage."""

    files: int
    chunks: int
    symbols: int
    reused_files: int
    coverage: dict[str, int]
    redacted: dict[str, int]
    languages: dict[str, int]


def ingest(build: Build) -> Ingested:
    """Write files.parquet, chunks.parquet and symbols.parquet into the staging folder.

    Raises:
        NothingToIndex: the commit holds no text that can be indexed.
    """
    files: list[FileRow] = []
    chunks: list[Chunk] = []
    symbols: list[Symbol] = []
    for done in _chunked(build):
        files.append(done.file)
        chunks.extend(done.chunks)
        symbols.extend(done.symbols)
    kept = sorted(build.changes.unchanged)
    file_table = _with_parent(build, "files.parquet", files_table(files), kept)
    chunk_table = _with_parent(build, "chunks.parquet", chunks_table(chunks), kept)
    symbol_table = _with_parent(build, "symbols.parquet", symbols_table(symbols), kept)
    coverage = Counter(reason or "indexed" for reason in file_table["skip_reason"].to_pylist())
    if not chunk_table.num_rows:
        skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(coverage.items())) or "no files"
        raise NothingToIndex(f"'{build.plan.repo}' at {build.plan.commit[:10]} has nothing to index ({skipped})")
    for name, table in (("files", file_table), ("chunks", chunk_table), ("symbols", symbol_table)):
        pq.write_table(table, build.folder / f"{name}.parquet", compression="zstd")
    return Ingested(
        files=file_table.num_rows,
        chunks=chunk_table.num_rows,
        symbols=symbol_table.num_rows,
        reused_files=len(kept),
        coverage=dict(sorted(coverage.items())),
        redacted=redacted(file_table),
        languages=dict(Counter(chunk_table["language"].to_pylist()).most_common()),
    )


def redacted(files: pa.Table) -> dict[str, int]:
    """How many values were masked as secrets, and in how many of the files; empty when there were none."""
    counts = [count for count in files["redactions"].to_pylist() if count]
    return {"values": sum(counts), "files": len(counts)} if counts else {}


def _chunked(build: Build) -> Iterator[FileChunks]:
    todo = [e for e in build.tree if e.path not in build.changes.unchanged]
    readable: list[TreeEntry] = []
    gone = purged.load(build.home.purged)
    for entry in todo:
        reason = entry.skip_reason or _unread(entry, build, gone)
        if reason:
            yield skipped_file(entry.path, entry.blob, entry.size_bytes, reason)
        else:
            readable.append(entry)
    counter = WordPieceCounter()
    max_tokens = build.contract.max_tokens - HEADER_TOKENS
    blobs = build.git.blobs(entry.blob for entry in readable)
    for done, (entry, (_, content)) in enumerate(zip(readable, blobs, strict=True), 1):
        data, masks = gone.mask(content)
        found = chunk_file(
            build.plan.repo, entry.path, entry.blob, data, counter, max_tokens, build.settings.max_file_bytes
        )
        yield replace(found, file=replace(found.file, redactions=found.file.redactions + masks)) if masks else found
        if done % _PROGRESS_EVERY == 0 or done == len(readable):
            _log.info("chunked %d of %d files", done, len(readable), extra={"progress": ("chunk", done, len(readable))})


def _unread(entry: TreeEntry, build: Build, gone: PurgeList) -> str:
    """Why the content of a file is not even fetched, '' when it is."""
    if gone.skips(build.plan.repo, entry.path, entry.blob):
        return purged.SKIP_REASON
    if is_denied(entry.path, build.settings.secret_files):
        return "denied"
    return "too_large" if entry.size_bytes > build.settings.max_file_bytes else ""


def _with_parent(build: Build, name: str, fresh: pa.Table, kept: list[str]) -> pa.Table:
    """Rows of unchanged files from the parent plus the fresh rows, sorted by path and place."""
    parent = build.read_parent(name)
    if parent is not None and kept:
        parent = parent.filter(pc.is_in(parent["path"], value_set=pa.array(kept)))
        fresh = pa.concat_tables([parent.cast(fresh.schema), fresh])
    place = [key for key in ("start_line", "name", "role") if key in fresh.column_names]
    return fresh.sort_by([("path", "ascending"), *((key, "ascending") for key in place)])
