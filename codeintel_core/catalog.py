"""The catalog of a generation, where hits become chunks and scopes become chunk ids.

`catalog.duckdb` answers what is asked by path, name or scope, `catalog.arrow` what is asked by id. Both are written by
a full build or a compaction and linked from generation to generation; what changed since is in small overlays beside
them (`catalog_overlay.*`). A reader sees them as one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from codeintel_core import chunk_rows
from codeintel_core.chunk_rows import ChunkRow, ChunkRows
from codeintel_core.chunking.rows import FileRow
from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded, GenerationCorrupt, InvalidPattern
from codeintel_core.patterns import Pattern
from codeintel_core.scope import Scope
from codeintel_core.stopping import stoppable

__all__ = ["FILE_NAME", "OVERLAY_NAME", "Catalog", "ChunkRow", "build", "extend"]

_T = TypeVar("_T")
FILE_NAME, OVERLAY_NAME = "catalog.duckdb", "catalog_overlay.duckdb"
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


def build(path: Path, *, chunks: pa.Table, files: pa.Table, symbols: pa.Table) -> None:
    """Write the catalog: tables `chunks` (keyed by chunk_id), `files` (keyed by path) and `symbols`; and the rows."""
    with duckdb.connect(str(path)) as db:
        _fill(db, {"chunks": chunks, "files": files, "symbols": symbols})
    chunk_rows.write(path.with_name(chunk_rows.FILE_NAME), chunks)


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
    os.link(parent, path)
    os.link(parent.with_name(chunk_rows.FILE_NAME), path.with_name(chunk_rows.FILE_NAME))
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
        rows = db.sql(f"SELECT {_CHUNK_COLUMNS} FROM chunks").to_arrow_table()  # noqa: S608 (our names)
        (covered,) = db.execute("SELECT (SELECT count(*) FROM chunks) + (SELECT count(*) FROM gone)").fetchone() or (0,)
    chunk_rows.write(path.with_name(chunk_rows.OVERLAY_NAME), rows)
    return int(covered)


def _fill(db: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table], kept: str = "") -> None:
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


class Catalog:
    """A catalog open for reading; every call uses its own cursor, so threads do not wait for each other.

    Queries see `chunks`, `files` and `symbols` as one table each, with the overlay applied.
    """

    def __init__(self, path: Path) -> None:
        """Open catalog.duckdb and the overlay beside it, if there is one; raises `GenerationCorrupt`."""
        self._connection = duckdb.connect(":memory:", config={"threads": "1"})
        overlay = path.with_name(OVERLAY_NAME)
        try:
            self._connection.execute(f"ATTACH {_quoted(path)} AS base (READ_ONLY)")
            if overlay.exists():
                self._connection.execute(f"ATTACH {_quoted(overlay)} AS overlay (READ_ONLY)")
            for name in _KEYS:
                view = _SEEN.format(name) if overlay.exists() else f"SELECT * FROM base.{name}"  # noqa: S608 (our names)
                self._connection.execute(f"CREATE VIEW {name} AS {view}")
            gone = self._connection.execute("SELECT path FROM overlay.gone").fetchall() if overlay.exists() else []
            self._rows = ChunkRows(path.parent, {path for (path,) in gone})
        except duckdb.Error as error:
            self._connection.close()
            raise GenerationCorrupt(f"{path.name} cannot be opened: {str(error).splitlines()[0]}") from None
        except GenerationCorrupt:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the files; rows stay mapped until the last one that was given out is gone."""
        self._connection.close()

    def hydrate(self, chunk_ids: Sequence[int], scope: Scope) -> dict[int, ChunkRow]:
        """Chunks by id; ids that are unknown or outside the scope are left out."""
        wanted = np.unique(np.asarray(chunk_ids, np.int64))
        if scope.filters_chunks and len(wanted):
            wanted = self._inside(wanted, scope)
        return self._rows.take(wanted)

    def allowed_ids(self, scope: Scope) -> NDArray[np.int64] | None:
        """Ids of all chunks inside the scope, or None when the scope filters nothing."""
        if not scope.filters_chunks:
            return None
        where, values = _where(scope)
        query = f"SELECT chunk_id FROM chunks WHERE true{where}"  # noqa: S608
        return self._fetch(query, values, _ids)

    def _inside(self, chunk_ids: NDArray[np.int64], scope: Scope) -> NDArray[np.int64]:
        """Those of the ids that the scope admits, sorted."""
        where, values = _where(scope)
        query = f"SELECT chunk_id FROM chunks WHERE chunk_id IN (SELECT unnest($ids)){where} ORDER BY chunk_id"  # noqa: S608
        return self._fetch(query, {"ids": chunk_ids.tolist(), **values}, _ids)

    def definitions(self, names: Sequence[str], scope: Scope, limit: int) -> list[tuple[int, str, str]]:
        """(chunk_id, name, symbol) of definitions that bear one of the names exactly, within the scope."""
        asked = {f"name_{at}": name for at, name in enumerate(filter(_is_unicode, names))}
        if not asked:
            return []
        where, values = _where(scope)
        inside = f" AND chunk_id IN (SELECT chunk_id FROM chunks WHERE true{where})" if where else ""  # noqa: S608
        wanted = ", ".join(f"${key}" for key in asked)  # an index look-up, which a subquery is not
        # Sorting here, not there: planning it would take longer than the few rows do.
        rows = self._fetch(
            f"""SELECT chunk_id, name, symbol FROM symbols
                WHERE role = 'definition' AND chunk_id IS NOT NULL AND name IN ({wanted}){inside}""",  # noqa: S608
            {**asked, **values},
            duckdb.DuckDBPyConnection.fetchall,
        )
        found = {(int(chunk_id), str(name), str(symbol)) for chunk_id, name, symbol in rows}
        return sorted(found, key=lambda row: (len(row[2]), row[0], row[1], row[2]))[:limit]

    def matching(
        self, pattern: Pattern, scope: Scope, limit: int, deadline: Deadline
    ) -> list[tuple[int, int, bool, str]]:
        """Chunks whose text matches: (chunk_id, matches, whether its name or signature does, file class), best first.

        Raises:
            DeadlineExceeded: the scan was stopped at the deadline.
            InvalidPattern: DuckDB's RE2 refuses what ours took.
        """
        where, values = _where(scope)
        hit, count = _SCANS[pattern.is_literal]
        wanted = pattern.text if pattern.is_literal else pattern.expression
        query = f"""SELECT chunk_id, {count}, {hit.format("name")} OR {hit.format("signature")} AS names, file_class
            FROM chunks WHERE {hit.format("text")}{where}
            ORDER BY names DESC, file_class = 'source' DESC, 2 DESC, chunk_id LIMIT $limit"""  # noqa: S608
        cursor = self._connection.cursor()
        stop = threading.Timer(deadline.remaining_s, cursor.interrupt)
        stop.start()
        try:
            with stoppable(cursor.interrupt):
                rows = cursor.execute(query, {"pattern": wanted, "limit": limit, **values}).fetchall()
        except duckdb.InterruptException:
            raise DeadlineExceeded("the scan ran past its deadline; narrow the scope") from None
        except duckdb.InvalidInputException as error:
            raise InvalidPattern(f"the pattern cannot be run: {str(error).splitlines()[0][:200]}") from None
        finally:
            stop.cancel()
        return [(int(chunk_id), int(matches), bool(names), str(kind)) for chunk_id, matches, names, kind in rows]

    def file(self, path: str) -> FileRow | None:
        """The file at `path`, or None."""
        query = f"SELECT {_FILE_COLUMNS} FROM files WHERE path = $path"  # noqa: S608
        if not _is_unicode(path):
            return None
        row = self._fetch(query, {"path": path}, duckdb.DuckDBPyConnection.fetchone)
        return FileRow(*row) if row else None

    def paths(self, chunk_ids: Sequence[int]) -> dict[int, str]:
        """Path of each chunk that is there."""
        return {chunk_id: row.path for chunk_id, row in self.hydrate(chunk_ids, Scope()).items()}

    def count(self) -> int:
        """Number of chunks."""
        (found,) = self._fetch("SELECT count(*) FROM chunks", {}, duckdb.DuckDBPyConnection.fetchone) or (0,)
        return int(found)

    def sample_definitions(self, count: int) -> list[ChunkRow]:
        """Some chunks that define a symbol which no other chunk defines, in a fixed order (for smoke queries)."""
        rows = self._fetch(
            f"""SELECT {_CHUNK_COLUMNS} FROM chunks
                WHERE parts = 1 AND length(name) >= 6 AND file_class = 'source'
                  AND name IN (SELECT name FROM chunks GROUP BY name HAVING count(*) = 1)
                ORDER BY hash(chunk_id), chunk_id LIMIT $count""",  # noqa: S608
            {"count": count},
            duckdb.DuckDBPyConnection.fetchall,
        )
        return [ChunkRow(*row) for row in rows]

    def _fetch(self, query: str, values: Mapping[str, object], take: Callable[[duckdb.DuckDBPyConnection], _T]) -> _T:
        """What `take` reads of the result, through a cursor of its own; stopped when the current work is given up."""
        cursor = self._connection.cursor()
        with stoppable(cursor.interrupt):
            return take(cursor.execute(query, dict(values)))


def _ids(result: duckdb.DuckDBPyConnection) -> NDArray[np.int64]:
    found: dict[str, Any] = result.fetchnumpy()
    ids: NDArray[np.int64] = found["chunk_id"]
    return ids


def _is_unicode(text: str) -> bool:
    """False for text with lone surrogates, which DuckDB does not take."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode()


def _where(scope: Scope) -> tuple[str, dict[str, object]]:
    parts, values = [], dict[str, object]()
    if scope.paths:
        parts.append("regexp_full_match(path, $path_regex)")
        values["path_regex"] = scope.path_regex()
    if scope.languages:
        parts.append("language IN (SELECT unnest($languages))")
        values["languages"] = list(scope.languages)
    if scope.excluded_classes:
        parts.append("file_class NOT IN (SELECT unnest($excluded))")
        values["excluded"] = list(scope.excluded_classes)
    return "".join(f" AND {part}" for part in parts), values
