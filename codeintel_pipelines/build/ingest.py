"""Ingest: files of the commit become chunks and symbols; what did not change is taken over from the parent."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codeintel_core import schemas
from codeintel_core.chunking import FileChunks, files_table, skipped_file
from codeintel_core.errors import NothingToIndex
from codeintel_core.repository.git import TreeEntry
from codeintel_core.secrets import is_denied, purged
from codeintel_core.secrets.purged import PurgeList
from codeintel_pipelines.build import parts
from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.build.spill import Spill
from codeintel_pipelines.build.work import ChunkFiles, Source, crashed, file_batches
from codeintel_pipelines.engines import Ran, engine_for

_log = logging.getLogger("codeintel.chunks")
HEADER_TOKENS = 26  # of the encoder's limit: special tokens, and the symbol that is embedded with the text
_TABLES = {"chunks": schemas.CHUNKS, "symbols": schemas.SYMBOLS}
_ROWS_AT_ONCE = {"chunks": 100_000, "symbols": 600_000}  # that are sorted: 100 MB of each, and a few copies
_PART = "_part"


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
    ran: Ran


def ingest(build: Build) -> Ingested:
    """Write files.parquet, and the parts of chunks.parquet and symbols.parquet, into the staging folder.

    Raises:
        NothingToIndex: the commit holds no text that can be indexed.
    """
    ran = Ran()
    with ExitStack() as stack:
        fresh = {
            name: stack.enter_context(Spill(build.repository.staging / f"fresh_{name}.arrow", schema))
            for name, schema in _TABLES.items()
        }
        files = _file_table(build, _chunked(build, fresh, ran))
        coverage, count = _counted(build, files)
        pq.write_table(files, build.folder / "files.parquet", compression="zstd")
        rows = {name: _write_parts(build, name, spill, count) for name, spill in fresh.items()}
    build.keep_facts("chunks", rows)
    languages = files.group_by("language").aggregate([("chunks", "sum")]).to_pylist()
    return Ingested(
        files=files.num_rows,
        reused_files=len(build.changes.unchanged),
        coverage=coverage,
        redacted=redacted(files),
        languages=dict(
            Counter({row["language"]: row["chunks_sum"] for row in languages if row["chunks_sum"]}).most_common()
        ),
        ran=ran,
        **rows,
    )


def _counted(build: Build, files: pa.Table) -> tuple[dict[str, int], int]:
    """Files by what became of them, and the chunks of all; raises `NothingToIndex`."""
    coverage = dict(sorted(Counter(reason or "indexed" for reason in files["skip_reason"].to_pylist()).items()))
    count = pc.sum(files["chunks"]).as_py() or 0
    if not count:
        skipped = ", ".join(f"{count} {reason}" for reason, count in coverage.items()) or "no files"
        raise NothingToIndex(f"'{build.plan.repo}' at {build.plan.commit[:10]} has nothing to index ({skipped})")
    return coverage, count


def redacted(files: pa.Table) -> dict[str, int]:
    """How many values were masked as secrets, and in how many of the files; empty when there were none."""
    counts = [count for count in files["redactions"].to_pylist() if count]
    return {"values": sum(counts), "files": len(counts)} if counts else {}


def _chunked(build: Build, fresh: Mapping[str, Spill], ran: Ran) -> pa.Table:
    """Rows of FILES of the files that are not the parent's; their chunks and symbols go to `fresh`."""
    todo = [e for e in build.tree if e.path not in build.changes.unchanged]
    readable: list[TreeEntry] = []
    unread: list[FileChunks] = []
    gone = purged.load(build.home.purged)
    for entry in todo:
        reason = entry.skip_reason or _unread(entry, build, gone)
        if reason:
            unread.append(skipped_file(entry.path, entry.blob, entry.size_bytes, reason))
        else:
            readable.append(entry)
    settings = build.settings
    size = sum(entry.size_bytes for entry in readable)
    engine = engine_for(settings, size=size, worth=settings.engine_inline_bytes)
    chunk = ChunkFiles(build.plan.repo, build.contract.max_tokens - HEADER_TOKENS, settings.max_file_bytes)
    blobs = build.git.blobs(entry.blob for entry in readable)
    sources = (
        Source(entry.path, entry.blob, content, gone.spans(content))
        for entry, (_, content) in zip(readable, blobs, strict=True)
    )
    found = [files_table([one.file for one in unread])]
    done = 0
    for batch, tables in engine.run(chunk, file_batches(sources), ran):
        if tables is None:
            _log.warning("given up, because its grammar crashes: %s", ", ".join(source.path for source in batch))
        files, *others = crashed(batch) if tables is None else tables
        found.append(files)
        for spill, rows in zip(fresh.values(), others, strict=True):
            spill.add(rows)
        done += len(batch)
        _log.info("chunked %d of %d files", done, len(readable), extra={"progress": ("chunk", done, len(readable))})
    return pa.concat_tables(found).combine_chunks()


def _unread(entry: TreeEntry, build: Build, gone: PurgeList) -> str:
    """Why the content of a file is not even fetched, '' when it is."""
    if gone.skips(build.plan.repo, entry.path, entry.blob):
        return purged.SKIP_REASON
    if is_denied(entry.path, build.settings.secret_files):
        return "denied"
    return "too_large" if entry.size_bytes > build.settings.max_file_bytes else ""


def _file_table(build: Build, fresh: pa.Table) -> pa.Table:
    """All files of the commit: one table, which the next build compares with its tree."""
    if build.parent_folder:
        before = pq.read_table(build.parent_folder / "files.parquet")
        gone = pa.array(sorted(build.gone_paths), pa.string())
        fresh = pa.concat_tables([before.filter(pc.invert(pc.is_in(before["path"], value_set=gone))), fresh])
    return fresh.sort_by("path")


def _write_parts(build: Build, name: str, fresh: Spill, chunks: int) -> int:
    """Write the parts of a table that changed files fall into and link the others; returns the rows of all parts.

    Args:
        build: where to, and what changed.
        name: chunks or symbols.
        fresh: rows of added and changed files.
        chunks: chunks of the whole generation, which decide how many parts there are.
    """
    target = build.folder / f"{name}.parquet"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    parent = build.parent_folder / target.name if build.parent_folder else None
    before = parts.files(parent) if parent else []
    count = parts.count_for(chunks, len(before))
    gone = pa.array(sorted(build.gone_paths), pa.string())
    touched, linked, replaced = set(range(count)), 0, 0  # parts to write, rows in the others, rows in those so far
    if parent and build.parent_manifest and count == len(before):
        touched = {parts.part_of(path, count) for path in build.fresh_paths | build.gone_paths}
        replaced = sum(pq.read_metadata(before[number]).num_rows for number in touched)
        linked = int(build.parent_manifest.counts.model_dump()[name]) - replaced
        parts.link(parent, target, (parts.names(count)[number] for number in set(range(count)) - touched))
    else:
        for path in before:  # they fall into other parts now
            fresh.add(_without(pq.read_table(path), gone))
        before = []
    numbers = parts.numbers(fresh.column("path"), count)
    groups = np.array_split(sorted(touched), (len(numbers) + replaced) // _ROWS_AT_ONCE[name] + 1)
    written = 0
    for some in filter(len, groups):
        kept = parts.read([before[number] for number in some] if before else [], None, fresh.schema)
        rows = pa.concat_tables([_without(kept, gone).cast(fresh.schema), fresh.rows(np.isin(numbers, some))])
        written += rows.num_rows
        _write_some(target, rows, some.tolist(), count)
    return linked + written


def _without(rows: pa.Table, paths: pa.Array) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["path"], value_set=paths)))


def _write_some(target: Path, rows: pa.Table, numbers: Sequence[int], count: int) -> None:
    """Write these parts, with all of their rows."""
    keys = [key for key in ("path", "start_line", "name", "role") if key in rows.column_names]
    rows = rows.append_column(_PART, pa.array(parts.numbers(rows["path"], count)))
    rows = rows.sort_by([(key, "ascending") for key in (_PART, *keys)])
    starts = np.searchsorted(rows[_PART].to_numpy(), [*numbers, numbers[-1] + 1])
    rows = rows.drop_columns([_PART])
    for number, (start, end) in zip(numbers, pairwise(starts.tolist()), strict=True):
        pq.write_table(rows.slice(start, end - start), target / parts.names(count)[number], compression="zstd")
