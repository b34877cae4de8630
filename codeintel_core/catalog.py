"""The catalog of a generation, where hits become chunks and scopes become chunk ids.

`catalog.duckdb` answers what is asked by path, name or scope; what every query asks lies beside it in mapped files:
chunks by id in `catalog.arrow`, definitions by name in `catalog_definitions.arrow`. They are written by a full build or
a compaction and linked from generation to generation; what changed since is in small overlays (`catalog_overlay*`). A
reader sees them as one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather
from pyarrow.dataset import Dataset

from codeintel_core import chunk_rows, definition_rows
from codeintel_core.chunk_rows import ChunkPlace, ChunkRow, ChunkRows
from codeintel_core.chunking.rows import FileRow
from codeintel_core.database import CONFIG, Database, Query
from codeintel_core.deadline import Deadline
from codeintel_core.definition_rows import DefinitionRows
from codeintel_core.errors import GenerationCorrupt, InvalidPattern
from codeintel_core.patterns import Pattern
from codeintel_core.scope import Scope
from codeintel_core.symbol_table import SymbolTable, is_unicode

__all__ = ["FILE_NAME", "OVERLAY_NAME", "Catalog", "ChunkPlace", "ChunkRow", "Match", "build", "extend"]

Rows: TypeAlias = pa.Table | Dataset
"""A table in memory, or one in files that may be larger."""
Match = tuple[int, int, bool, str]
"""A chunk that matches a pattern: chunk_id, how often, whether its name or signature does, file class."""
FILE_NAME, OVERLAY_NAME = "catalog.duckdb", "catalog_overlay.duckdb"
_GONE_NAME = "catalog_overlay_gone.arrow"  # the overlay's table `gone`, read without starting DuckDB
# Each thread needs its share of the memory to sort beyond it: with sixteen, 1 GB is not enough for 20 million rows.
_SORTING: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "1GB", "threads": 2}
_MAGIC, _MAGIC_AT = b"DUCK", 8
_KEYS = {"chunks": "chunk_id", "files": "path", "symbols": "name, path, start_line"}
_KEPT = "UNION ALL SELECT * FROM parent.{0} ANTI JOIN gone USING (path)"  # of the parent's overlay
_SEEN = "SELECT * FROM base.{0} ANTI JOIN overlay.gone USING (path) UNION ALL SELECT * FROM overlay.{0}"
# Whether a column matches $pattern, and how often the text does: of regular expressions and of literal text.
_SCANS = (
    ("regexp_matches({}, $pattern)", "len(regexp_extract_all(text, $pattern))"),
    ("contains({}, $pattern)", "(length(text) - length(replace(text, $pattern, ''))) // length($pattern)"),
)
_CHUNK_COLUMNS = ", ".join(chunk_rows.COLUMNS)
_FILE_COLUMNS = ", ".join(FileRow.__slots__)


def build(path: Path, *, chunks: Rows, files: Rows, symbols: Rows) -> None:
    """Write the catalog: tables `chunks` (keyed by chunk_id), `files` (keyed by path) and `symbols`; and the rows.

    Tables that are larger than memory come as datasets: DuckDB sorts them in a folder beside the catalog.
    """
    spill = path.with_name(".spill")
    with duckdb.connect(str(path), config={**_SORTING, "temp_directory": str(spill)}) as db:
        _fill(db, {"chunks": chunks, "files": files, "symbols": symbols})
        _write_rows(db, path.with_name(chunk_rows.FILE_NAME), path.with_name(definition_rows.FILE_NAME))
    shutil.rmtree(spill, ignore_errors=True)


def _write_rows(db: duckdb.DuckDBPyConnection, chunks: Path, definitions: Path) -> None:
    chunk_rows.write(chunks, db.sql(f"SELECT {_CHUNK_COLUMNS} FROM chunks ORDER BY chunk_id").to_arrow_table())  # noqa: S608 (our names)
    definition_rows.write(definitions, db.sql("FROM symbols WHERE role = 'definition'").to_arrow_table())


def extend(
    parent: Path, path: Path, *, chunks: pa.Table, files: pa.Table, symbols: pa.Table, gone: Sequence[str]
) -> int:
    """Write the catalog of a changed commit: the parent's file, hard-linked, under an overlay of the files that differ.

    The overlay holds the rows of every file that is not as it is in `catalog.duckdb`, and the paths of the files whose
    rows there are not to be seen. Its size follows the changes since `catalog.duckdb` was written.

    Args:
        parent: catalog.duckdb of the parent; its overlay is beside it.
        path: where the catalog goes.
        chunks, files, symbols: rows of the files that were added or changed since the parent.
        gone: paths whose rows in the parent are not right any more.

    Returns:
        How much covers `catalog.duckdb`: chunks in the overlay, and files that are hidden.
    """
    for name in (path.name, chunk_rows.FILE_NAME, definition_rows.FILE_NAME):
        os.link(parent.with_name(name), path.with_name(name))
    before = parent.with_name(OVERLAY_NAME)
    with duckdb.connect(str(path.with_name(OVERLAY_NAME))) as db:
        db.execute("CREATE TABLE gone (path VARCHAR)")
        db.execute("INSERT INTO gone SELECT unnest($gone)", {"gone": list(gone)})
        if before.exists():
            db.execute(f"ATTACH {_quoted(before)} AS parent (READ_ONLY)")
        _fill(db, {"chunks": chunks, "files": files, "symbols": symbols}, _KEPT if before.exists() else "")
        if before.exists():
            db.execute("INSERT INTO gone SELECT path FROM parent.gone EXCEPT SELECT path FROM gone")
            db.execute("DETACH parent")
        _write_rows(db, path.with_name(chunk_rows.OVERLAY_NAME), path.with_name(definition_rows.OVERLAY_NAME))
        hidden = db.sql("FROM gone ORDER BY path").to_arrow_table()
        (covered,) = db.execute("SELECT (SELECT count(*) FROM chunks) + (SELECT count(*) FROM gone)").fetchone() or (0,)
    feather.write_feather(hidden, str(path.with_name(_GONE_NAME)), compression="uncompressed")
    return int(covered)


def _fill(db: duckdb.DuckDBPyConnection, tables: Mapping[str, Rows], kept: str = "") -> None:
    for name, table in tables.items():
        db.register("source", table)
        rows = f"SELECT * FROM source {kept.format(name)} ORDER BY {_KEYS[name]}"  # noqa: S608 (our names)
        db.execute(f"CREATE TABLE {name} AS {rows}")
        db.unregister("source")
    db.execute("CREATE UNIQUE INDEX chunk_key ON chunks (chunk_id)")
    db.execute("CREATE UNIQUE INDEX file_key ON files (path)")
    db.execute("CREATE INDEX symbol_name ON symbols (name)")
    db.execute("CHECKPOINT")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _check_magic(path: Path) -> None:
    """Refuse a file that DuckDB would refuse later, in the middle of a request."""
    with path.open("rb") as file:
        if file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] != _MAGIC:
            raise GenerationCorrupt(f"{path.name} cannot be opened: it is not a DuckDB file")


class Catalog:
    """A catalog open for reading; safe to use from several threads at once.

    Queries see `chunks`, `files` and `symbols` as one table each, with the overlay applied.

    Attributes:
        symbols: its definitions and references.
    """

    def __init__(self, path: Path) -> None:
        """Open catalog.duckdb and the overlay beside it, if there is one; raises `GenerationCorrupt`.

        DuckDB starts at the first question that needs it: what a search asks lies in the mapped files.
        """
        self._path, self._overlay = path, path.with_name(OVERLAY_NAME)
        self._database = Database(self._connected)
        try:
            for file in [path, *filter(Path.exists, [self._overlay])]:
                _check_magic(file)
            hidden = self._hidden()
            self._rows, self._definitions = ChunkRows(path.parent, hidden), DefinitionRows(path.parent, hidden)
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            self._database.close()
            raise GenerationCorrupt(f"{path.name} cannot be opened: {str(error).splitlines()[0]}") from None
        except GenerationCorrupt:
            self._database.close()
            raise
        self.symbols = SymbolTable(self._database, self._definitions)

    def _hidden(self) -> set[str]:
        """Paths whose rows under the overlay are not to be seen."""
        gone = self._path.with_name(_GONE_NAME)
        if gone.exists():
            return set(feather.read_table(str(gone), memory_map=False)["path"].to_pylist())
        if not self._overlay.exists():
            return set()
        return {path for (path,) in self._database.rows(Query("SELECT path FROM overlay.gone"))}  # an older overlay

    def _connected(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config=CONFIG)
        try:
            connection.execute(f"ATTACH {_quoted(self._path)} AS base (READ_ONLY)")
            if self._overlay.exists():
                connection.execute(f"ATTACH {_quoted(self._overlay)} AS overlay (READ_ONLY)")
            for name in _KEYS:
                view = _SEEN.format(name) if self._overlay.exists() else f"SELECT * FROM base.{name}"  # noqa: S608 (our names)
                connection.execute(f"CREATE VIEW {name} AS {view}")
        except duckdb.Error:
            connection.close()
            raise
        return connection

    @property
    def is_connected(self) -> bool:
        """Whether DuckDB was needed."""
        return self._database.is_connected

    def close(self) -> None:
        """Close the files; rows stay mapped until the last one that was given out is gone."""
        self._database.close()

    def problem(self) -> str:
        """Why the catalog does not answer, '' when it does or was not asked yet."""
        if self._database.is_idle:
            return ""
        try:
            self._database.row(Query("SELECT chunk_id FROM chunks").then("LIMIT 1"))
        except duckdb.Error as error:
            return f"a catalog cannot be read: {str(error).splitlines()[0][:200]}"
        return ""

    def hydrate(self, chunk_ids: Sequence[int], scope: Scope) -> dict[int, ChunkRow]:
        """Chunks by id; ids that are unknown or outside the scope are left out."""
        return self._rows.take(self._wanted(chunk_ids, scope))

    def places(self, chunk_ids: Sequence[int], scope: Scope) -> dict[int, ChunkPlace]:
        """`hydrate`, of each chunk its place: a fraction of the work."""
        return self._rows.places(self._wanted(chunk_ids, scope).tolist() if scope.filters_chunks else chunk_ids)

    def _wanted(self, chunk_ids: Sequence[int], scope: Scope) -> NDArray[np.int64]:
        """Each id once, in order; without those outside the scope, when it filters."""
        wanted = np.unique(np.asarray(chunk_ids, np.int64))
        return np.sort(self._rows.inside(scope, wanted)) if scope.filters_chunks and len(wanted) else wanted

    def allowed_ids(self, scope: Scope) -> NDArray[np.int64] | None:
        """Ids of all chunks inside the scope, or None when the scope filters nothing."""
        return self._rows.inside(scope) if scope.filters_chunks else None

    def definitions(self, names: Sequence[str], scope: Scope, limit: int) -> list[tuple[int, str, str]]:
        """(chunk_id, name, symbol) of definitions that bear one of the names exactly, within the scope."""
        rows = self._definitions.of(filter(is_unicode, names))
        if scope.filters_chunks and rows:
            ids = np.unique(np.array([row.chunk_id for row in rows], np.int64))
            inside = set(self._rows.inside(scope, ids).tolist())
            rows = [row for row in rows if row.chunk_id in inside]
        found = {(row.chunk_id, row.name, row.symbol) for row in rows}
        return sorted(found, key=lambda row: (len(row[2]), row[0], row[1], row[2]))[:limit]

    def matching(self, pattern: Pattern, scope: Scope, limit: int, deadline: Deadline) -> list[Match]:
        """Chunks whose text matches, best first.

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

    def paths(self, chunk_ids: Sequence[int]) -> dict[int, str]:
        """Path of each chunk that is there."""
        return {chunk_id: place.path for chunk_id, place in self.places(chunk_ids, Scope()).items()}

    def count(self) -> int:
        """Number of chunks."""
        (found,) = self._database.row(Query("SELECT count(*) FROM chunks")) or (0,)
        return int(found)

    def sample_definitions(self, count: int) -> list[ChunkRow]:
        """Some chunks that define a symbol which no other chunk defines, in a fixed order (for smoke queries)."""
        query = (
            Query(f"SELECT {_CHUNK_COLUMNS} FROM chunks")  # noqa: S608
            .where("parts = 1 AND length(name) >= 6 AND file_class = 'source'")
            .where("name IN (SELECT name FROM chunks GROUP BY name HAVING count(*) = 1)")
            .then("ORDER BY hash(chunk_id), chunk_id LIMIT $count", count=count)
        )
        return [ChunkRow(*row) for row in self._database.rows(query)]
