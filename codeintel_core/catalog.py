"""The catalog of a generation: `catalog.duckdb`, where hits become chunks and scopes become chunk ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from codeintel_core.chunking.rows import FileRow
from codeintel_core.database import Database, Query
from codeintel_core.deadline import Deadline
from codeintel_core.errors import InvalidPattern
from codeintel_core.patterns import Pattern
from codeintel_core.scope import Scope
from codeintel_core.symbol_table import SymbolTable, is_unicode


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A hydrated chunk: where it is and what it says."""

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
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    text: str


_FEW = 10
_CHUNK_COLUMNS = ", ".join(ChunkRow.__slots__)
_FILE_COLUMNS = ", ".join(FileRow.__slots__)


_SCANS = (
    ("regexp_matches({}, $pattern)", "len(regexp_extract_all(text, $pattern))"),
    ("contains({}, $pattern)", "(length(text) - length(replace(text, $pattern, ''))) // length($pattern)"),
)
_CHUNK_COLUMNS = ", ".join(ChunkRow.__slots__)
_FILE_COLUMNS = ", ".join(FileRow.__slots__)


def build(path: Path, *, chunks: pa.Table, files: pa.Table, symbols: pa.Table) -> None:
    """Write the catalog: tables `chunks` (keyed by chunk_id), `files` (keyed by path) and `symbols`."""
    with duckdb.connect(str(path)) as db:
        for name, table, key in (
            ("chunks", chunks, "chunk_id"),
            ("files", files, "path"),
            ("symbols", symbols, "name, path, start_line"),
        ):
            db.register("source", table)
            db.execute(f"CREATE TABLE {name} AS SELECT * FROM source ORDER BY {key}")  # noqa: S608 (our names)
            db.unregister("source")
        db.execute("CREATE UNIQUE INDEX chunk_key ON chunks (chunk_id)")
        db.execute("CREATE UNIQUE INDEX file_key ON files (path)")
        db.execute("CREATE INDEX symbol_name ON symbols (name)")
        db.execute("CHECKPOINT")


class Catalog:
    """A catalog open for reading; safe to use from several threads at once.

    Attributes:
        symbols: its definitions and references.
    """

    def __init__(self, path: Path) -> None:
        """Raises `GenerationCorrupt` when it cannot be opened."""
        self._database = Database(path)
        self.symbols = SymbolTable(self._database)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def problem(self) -> str:
        """Why the catalog does not answer, '' when it does."""
        try:
            self._database.row(Query("SELECT chunk_id FROM chunks"))
        except duckdb.Error as error:
            return f"a catalog cannot be read: {str(error).splitlines()[0][:200]}"
        return ""

    def hydrate(self, chunk_ids: Sequence[int], scope: Scope) -> dict[int, ChunkRow]:
        """Chunks by id; ids that are unknown or outside the scope are left out."""
        ids = [int(i) for i in chunk_ids]
        query = Query(f"SELECT {_CHUNK_COLUMNS} FROM chunks")  # noqa: S608 (our names)
        if ids and len(ids) <= _FEW:
            # A short list of literals is planned in half the time, which counts when many catalogs are asked for a few.
            query = query.where(f"chunk_id IN ({','.join(map(str, ids))})")
        else:
            query = query.where("chunk_id IN (SELECT unnest($ids))", ids=ids)
        return {row[0]: ChunkRow(*row) for row in self._database.rows(query.inside(scope))}

    def allowed_ids(self, scope: Scope) -> NDArray[np.int64] | None:
        """Ids of all chunks inside the scope, or None when the scope filters nothing."""
        if not scope.filters_chunks:
            return None
        return self._database.column(Query("SELECT chunk_id FROM chunks").inside(scope), "chunk_id")

    def definitions(self, names: Sequence[str], scope: Scope, limit: int) -> list[tuple[int, str, str]]:
        """(chunk_id, name, symbol) of definitions that bear one of the names exactly, within the scope."""
        query = (
            Query("SELECT DISTINCT chunk_id, name, symbol FROM symbols")
            .where("role = 'definition' AND chunk_id IS NOT NULL")
            .where("name IN (SELECT unnest($names))", names=[name for name in names if is_unicode(name)])
        )
        if scope.filters_chunks:
            inside = Query("SELECT chunk_id FROM chunks").inside(scope)
            query = query.where(f"chunk_id IN ({inside.sql})", **inside.values)
        query = query.then("ORDER BY length(symbol), chunk_id LIMIT $limit", limit=limit)
        return [(int(chunk_id), str(name), str(symbol)) for chunk_id, name, symbol in self._database.rows(query)]

    def matching(
        self, pattern: Pattern, scope: Scope, limit: int, deadline: Deadline
    ) -> list[tuple[int, int, bool, str]]:
        """Chunks whose text matches: (chunk_id, matches, whether its name or signature does, file class), best first.

        Raises:
            DeadlineExceeded: the scan was stopped at the deadline.
            InvalidPattern: DuckDB's RE2 refuses what ours took.
        """
        hit, count = _SCANS[pattern.is_literal]
        wanted = pattern.text if pattern.is_literal else pattern.expression
        names = f"{hit.format('name')} OR {hit.format('signature')}"
        query = (
            Query(f"SELECT chunk_id, {count}, {names} AS names, file_class FROM chunks")  # noqa: S608 (our scans)
            .where(hit.format("text"), pattern=wanted)
            .inside(scope)
            .then("ORDER BY names DESC, file_class = 'source' DESC, 2 DESC, chunk_id LIMIT $limit", limit=limit)
        )
        try:
            rows = self._database.rows(query, deadline)
        except duckdb.InvalidInputException as error:
            raise InvalidPattern(f"the pattern cannot be run: {str(error).splitlines()[0][:200]}") from None
        return [(int(chunk_id), int(matches), bool(names), str(kind)) for chunk_id, matches, names, kind in rows]

    def file(self, path: str) -> FileRow | None:
        """The file at `path`, or None."""
        if not is_unicode(path):
            return None
        row = self._database.row(Query(f"SELECT {_FILE_COLUMNS} FROM files").where("path = $path", path=path))  # noqa: S608
        return FileRow(*row) if row else None

    def has_folder(self, path: str) -> bool:
        """Whether a file that was indexed as text lies below the folder."""
        query = Query("SELECT 1 FROM files").where("skip_reason = '' AND starts_with(path, $path)", path=f"{path}/")
        return is_unicode(path) and self._database.row(query.then("LIMIT 1")) is not None

    def files(self, scope: Scope, *, readable: bool = False, deadline: Deadline | None = None) -> list[FileRow]:
        """The files inside the scope by path, or only those that were indexed as text."""
        query = Query(f"SELECT {_FILE_COLUMNS} FROM files").inside(scope)  # noqa: S608
        if readable:
            query = query.where("skip_reason = ''")
        return [FileRow(*row) for row in self._database.rows(query.then("ORDER BY path"), deadline)]

    def sample_definitions(self, count: int) -> list[ChunkRow]:
        """Some chunks that define a symbol which no other chunk defines, in a fixed order (for smoke queries)."""
        query = (
            Query(f"SELECT {_CHUNK_COLUMNS} FROM chunks")  # noqa: S608
            .where("parts = 1 AND length(name) >= 6 AND file_class = 'source'")
            .where("name IN (SELECT name FROM chunks GROUP BY name HAVING count(*) = 1)")
            .then("ORDER BY hash(chunk_id), chunk_id LIMIT $count", count=count)
        )
        return [ChunkRow(*row) for row in self._database.rows(query)]
