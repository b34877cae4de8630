"""The rows that chunking produces: the columns of FILES, CHUNKS and SYMBOLS as dataclasses, and their Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pyarrow as pa

from codeintel_core import schemas


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of the commit, indexed or skipped (columns of `schemas.FILES`)."""

    path: str
    blob: str
    size_bytes: int
    language: str
    file_class: str
    encoding: str
    lines: int
    chunks: int
    skip_reason: str
    redactions: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One span of whole lines of a file (columns of `schemas.CHUNKS`)."""

    chunk_id: int
    repo: str
    path: str
    blob: str
    language: str
    file_class: str
    encoding: str
    kind: str
    symbol: str
    name: str
    signature: str
    docstring: str
    imports: str
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    part: int
    parts: int
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """One definition of a name, or one use of it per line (columns of `schemas.SYMBOLS`)."""

    repo: str
    path: str
    blob: str
    language: str
    name: str
    symbol: str
    kind: str
    role: str
    start_line: int
    end_line: int
    chunk_id: int | None


@dataclass(frozen=True, slots=True)
class FileChunks:
    """Everything that chunking says about one file."""

    file: FileRow
    chunks: list[Chunk]
    symbols: list[Symbol]


def files_table(rows: Sequence[FileRow]) -> pa.Table:
    """Arrow table of `schemas.FILES`."""
    return _table(rows, schemas.FILES)


def chunks_table(rows: Sequence[Chunk]) -> pa.Table:
    """Arrow table of `schemas.CHUNKS`."""
    return _table(rows, schemas.CHUNKS)


def symbols_table(rows: Sequence[Symbol]) -> pa.Table:
    """Arrow table of `schemas.SYMBOLS`."""
    return _table(rows, schemas.SYMBOLS)


def _table(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    columns = [pa.array(list(map(attrgetter(field.name), rows)), type=field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
