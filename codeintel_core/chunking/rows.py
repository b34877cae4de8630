"""The rows that chunking produces: the columns of FILES, CHUNKS and SYMBOLS as dataclasses, and their Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from codeintel_core import schemas

_OF_A_FILE = frozenset({"repo", "path", "blob", "language"})
"""Columns of a symbol that are those of its file."""


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


class Chunk(NamedTuple):
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
class Symbols:
    """The symbols of one file (columns of `schemas.SYMBOLS`): one definition of a name, or one use of it per line.

    Column by column: there are more of them than lines, too many for an object each.
    """

    repo: str
    path: str
    blob: str
    language: str
    name: list[str] = field(default_factory=list)
    symbol: list[str] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    role: list[str] = field(default_factory=list)
    start_line: list[int] = field(default_factory=list)
    end_line: list[int] = field(default_factory=list)
    chunk_id: list[int | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True)
class FileChunks:
    """Everything that chunking says about one file."""

    file: FileRow
    chunks: list[Chunk]
    symbols: Symbols


def files_table(rows: Sequence[FileRow]) -> pa.Table:
    """Arrow table of `schemas.FILES`."""
    return _table(rows, schemas.FILES)


def chunks_table(rows: Sequence[Chunk]) -> pa.Table:
    """Arrow table of `schemas.CHUNKS`."""
    return _table(rows, schemas.CHUNKS)


def symbols_table(files: Iterable[Symbols]) -> pa.Table:
    """Arrow table of `schemas.SYMBOLS`: the symbols of some files."""
    found = list(files)
    file_of = np.repeat(np.arange(len(found)), [len(symbols) for symbols in found])

    def column(name: str, kind: pa.DataType) -> pa.Array:
        values = [getattr(symbols, name) for symbols in found]
        if name in _OF_A_FILE:
            return pa.array(values, type=kind).take(pa.array(file_of))
        return pa.array(list(chain.from_iterable(values)), type=kind)

    columns = [column(one.name, one.type) for one in schemas.SYMBOLS]
    return pa.Table.from_arrays(columns, schema=schemas.SYMBOLS)


def _table(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    columns = [pa.array(list(map(attrgetter(field.name), rows)), type=field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
