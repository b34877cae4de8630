"""Every view, report and macro is one file below `sql/`: a comment that says what a row is, then a query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources

_SQL = resources.files("codeintel_pipelines.analytics") / "sql"


@dataclass(frozen=True, slots=True)
class Statement:
    """A named query; of a macro, its parameters and query."""

    name: str
    description: str
    sql: str

    @property
    def version(self) -> str:
        """Changes with the query."""
        return sha256(self.sql.encode()).hexdigest()[:12]


@cache
def statements(kind: str) -> tuple[Statement, ...]:
    """All of `views` (in the order they build on each other), `reports` or `macros`."""
    files = sorted((file for file in (_SQL / kind).iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(_statement(file.name, file.read_text()) for file in files)


def _statement(file_name: str, text: str) -> Statement:
    comment, sql = text.split("\n", 1)
    # The number before a view's name is its floor: it reads only views of floors below.
    name = file_name.removesuffix(".sql").lstrip("0123456789_")
    return Statement(name, comment.removeprefix("-- ").strip(), sql.strip())
