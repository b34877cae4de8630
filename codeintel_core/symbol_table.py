"""The symbols of a catalog: where names are defined, and where they are used."""

from __future__ import annotations

from dataclasses import dataclass

from codeintel_core.database import Database, Query
from codeintel_core.deadline import Deadline


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

    def __init__(self, database: Database) -> None:
        self._database = database

    def definitions_in(self, path: str) -> list[SymbolRow]:
        """The definitions of a file, in its order."""
        if not is_unicode(path):
            return []
        query = Query(f"SELECT {_COLUMNS} FROM symbols").where("path = $path AND role = 'definition'", path=path)  # noqa: S608
        return self._found(query.then("ORDER BY start_line, end_line DESC, symbol"), None)

    def _found(self, query: Query, deadline: Deadline | None) -> list[SymbolRow]:
        return [SymbolRow(*row) for row in self._database.rows(query, deadline)]


def is_unicode(text: str) -> bool:
    """False for text with lone surrogates, which DuckDB does not take."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode()
