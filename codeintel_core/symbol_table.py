"""The symbols of a catalog: where names are defined, and where they are used."""

from __future__ import annotations

from dataclasses import dataclass

from codeintel_core.database import Database, Query
from codeintel_core.deadline import Deadline
from codeintel_core.definition_rows import DefinitionRows
from codeintel_core.scope import Scope


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """One definition, or one use of a name."""

    path: str
    language: str
    name: str
    symbol: str  # qualified; of a reference the definition around it
    kind: str
    role: str
    start_line: int
    end_line: int


_COLUMNS = ", ".join(SymbolRow.__slots__)


class SymbolTable:
    """Looks symbols up in one catalog."""

    def __init__(self, database: Database, definitions: DefinitionRows) -> None:
        """`definitions`: those of the same catalog, for those of a name."""
        self._database, self._definitions = database, definitions

    def definitions_in(self, path: str) -> list[SymbolRow]:
        """The definitions of a file, in its order."""
        if not is_unicode(path):
            return []
        query = Query(f"SELECT {_COLUMNS} FROM symbols").where("path = $path AND role = 'definition'", path=path)  # noqa: S608
        return self._found(query.then("ORDER BY start_line, end_line DESC, symbol"), None)

    def find(
        self, scope: Scope, *, role: str, name: str = "", pattern: str = "", kind: str = "", limit: int,
        deadline: Deadline | None = None,
    ) -> list[SymbolRow]:  # fmt: skip
        """Symbols of a role inside the scope: definitions shortest symbol first, references by place.

        Args:
            name: as written, or a qualified symbol or the end of one; of references the last part counts.
            pattern: an RE2 pattern for the whole name, or the whole symbol.
            kind: of definitions, such as function or class; '' for any.
        """
        if name and not is_unicode(name):
            return []
        if name and role == "definition" and not pattern and not scope.filters_chunks and self._definitions.have_places:
            return self._defined(name, kind, limit)
        query = Query(f"SELECT {_COLUMNS} FROM symbols").where("role = $role", role=role)  # noqa: S608
        if name and role == "reference":
            query = query.where("name = $name", name=last_part(name))
        elif name:
            query = query.where(
                "name = $last AND (name = $name OR symbol = $name OR ends_with(symbol, '.' || $name))",
                name=name, last=last_part(name),
            )  # fmt: skip
        if pattern:
            either = "regexp_full_match(name, $pattern) OR regexp_full_match(symbol, $pattern)"
            query = query.where(
                either if role == "definition" else "regexp_full_match(name, $pattern)", pattern=pattern
            )
        if kind:
            query = query.where("kind = $kind", kind=kind)
        if scope.filters_chunks:
            inside = Query("SELECT path FROM files").inside(scope)
            query = query.where(f"path IN ({inside.sql})", **inside.values)
        order = "length(symbol), symbol, path, start_line" if role == "definition" else "path, start_line, symbol"
        return self._found(query.then(f"ORDER BY {order} LIMIT $limit", limit=limit), deadline)

    def _defined(self, name: str, kind: str, limit: int) -> list[SymbolRow]:
        """`find`, of definitions of a name anywhere: without a query, whose planning takes longer than the rest."""
        found = [
            SymbolRow(
                row.path, row.language, row.name, row.symbol, row.kind, "definition", row.start_line, row.end_line
            )
            for row in self._definitions.places(last_part(name))
            if name in (row.name, row.symbol) or row.symbol.endswith(f".{name}")
            if not kind or row.kind == kind
        ]
        return sorted(found, key=lambda row: (len(row.symbol), row.symbol, row.path, row.start_line))[:limit]

    def paths_defining(self, name: str) -> set[str]:
        """Paths of the files that define the name."""
        query = Query("SELECT DISTINCT path FROM symbols").where("role = 'definition' AND name = $name", name=name)
        return {str(path) for (path,) in self._database.rows(query)} if is_unicode(name) else set()

    def importers(self, name: str) -> set[str]:
        """Paths of the files that import the name."""
        query = Query("SELECT DISTINCT path FROM chunks").where(
            "list_contains(string_split(imports, ' '), $name)", name=name
        )
        return {str(path) for (path,) in self._database.rows(query)} if is_unicode(name) else set()

    def near(self, name: str, count: int = 3) -> list[str]:
        """Defined names that look most like `name`."""
        if not is_unicode(name):
            return []
        likeness = "jaro_winkler_similarity(lower(name), lower($name))"
        query = (
            Query("SELECT name FROM symbols")
            .where(f"role = 'definition' AND {likeness} > 0.85", name=name)
            .then(f"GROUP BY name ORDER BY max({likeness}) DESC, name LIMIT $count", count=count)
        )
        return [str(found) for (found,) in self._database.rows(query)]

    def definitions(self, scope: Scope, deadline: Deadline | None = None) -> list[SymbolRow]:
        """Definitions of code (no keys of data files, no headings) inside the scope, by path and line."""
        inside = Query("SELECT path FROM files").inside(scope)
        query = (
            Query(f"SELECT {_COLUMNS} FROM symbols")  # noqa: S608
            .where("role = 'definition' AND kind NOT IN ('key', 'section')")
            .where(f"path IN ({inside.sql})", **inside.values)
            .then("ORDER BY path, start_line, symbol")
        )
        return self._found(query, deadline)

    def uses(self, most_definitions: int, deadline: Deadline | None = None) -> list[tuple[str, str, int]]:
        """(path, name, lines) of names that a file uses and at most `most_definitions` places define, by path."""
        query = (
            Query("SELECT path, name, count(*) FROM symbols")
            .where("role = 'reference'")
            .where(
                "name IN (SELECT name FROM symbols WHERE role = 'definition' AND kind NOT IN ('key', 'section') "
                "GROUP BY name HAVING count(*) <= $most)",
                most=most_definitions,
            )
            .then("GROUP BY path, name ORDER BY path, name")
        )
        return [(str(path), str(name), int(lines)) for path, name, lines in self._database.rows(query, deadline)]

    def _found(self, query: Query, deadline: Deadline | None) -> list[SymbolRow]:
        return [SymbolRow(*row) for row in self._database.rows(query, deadline)]


def last_part(symbol: str) -> str:
    """The last part of a qualified symbol: `append` of `Journal.append`."""
    return symbol.replace("::", ".").rsplit(".", 1)[-1]


def is_unicode(text: str) -> bool:
    """False for text with lone surrogates, which DuckDB does not take."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode()
