"""The tables in PostgreSQL, and what is said to them.

A generation has a number that rises; a row lives from the generation it came with until the one it went with, so a
generation costs its change, and is seen exactly: the rows with `first <= number < until`. The open rows (`until` is
the largest number) are those of the repository's newest generation, whichever its parent was. Vectors of a contract
have a table of their own, since they have a dimension of their own; nothing else in a statement is written into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codeintel_core.embedding.contract import EmbeddingContract
from codeintel_core.errors import VectorEngineUnavailable

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

FORMAT = 1
OPEN = (1 << 63) - 1
MIN_PGVECTOR = (0, 8)  # halfvec, and index scans that go on while a filter leaves too little
MAX_DIMENSION = 4_000  # of an index over halfvec
_SETUP_LOCK = 0x636F6465  # any number that is nobody else's

_SETUP = """
CREATE TABLE IF NOT EXISTS codeintel_format (format int NOT NULL);
CREATE TABLE IF NOT EXISTS codeintel_repositories (
    repo_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL, contract_id text NOT NULL, newest text NOT NULL DEFAULT '',
    UNIQUE (name, contract_id));
CREATE TABLE IF NOT EXISTS codeintel_generations (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repo_id int NOT NULL REFERENCES codeintel_repositories, gen_id text NOT NULL UNIQUE,
    vectors bigint NOT NULL, digest text NOT NULL, published_at timestamptz NOT NULL DEFAULT now());
"""
# Room in every page lets an update of `until` stay there, so that it touches no index; and vectors lie in their rows as
# long as those fit into a page.
_VECTORS = """
CREATE TABLE {table} (
    repo_id int NOT NULL, chunk_id bigint NOT NULL, key bigint NOT NULL, first bigint NOT NULL, until bigint NOT NULL,
    path text NOT NULL COLLATE "C", language text NOT NULL COLLATE "C", file_class text NOT NULL COLLATE "C",
    embedding halfvec({dimension}) NOT NULL) WITH (fillfactor = 85);
ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE MAIN;
CREATE INDEX {by_repo} ON {table} (repo_id);
CREATE INDEX {by_chunk} ON {table} (chunk_id);
"""


def composed(statement: str, contract_id: str, dimension: int = 0) -> Composed:
    """A statement with `{table}` and the names of its indexes, and `{dimension}`, put in."""
    from psycopg import sql

    name = f"codeintel_vectors_{contract_id}"
    return sql.SQL(statement).format(
        table=sql.Identifier(name),
        table_name=sql.Literal(name),
        nearest_name=sql.Literal(f"{name}_nearest"),
        by_repo=sql.Identifier(f"{name}_repo"),
        by_chunk=sql.Identifier(f"{name}_chunk"),
        nearest=sql.Identifier(f"{name}_nearest"),
        dimension=sql.Literal(dimension),
    )


def version(connection: Connection[Any]) -> str:
    """Versions of PostgreSQL and pgvector, in words; raises `VectorEngineUnavailable` when they will not do."""
    row = connection.execute(
        "SELECT current_setting('server_version'), current_setting('server_encoding'),"
        " (SELECT extversion FROM pg_extension WHERE extname = 'vector')"
    ).fetchone()
    assert row is not None
    server, encoding, extension = row
    if encoding != "UTF8":
        raise VectorEngineUnavailable(f"the vector engine's database has the encoding {encoding}; create one in UTF8")
    if extension is None:
        raise VectorEngineUnavailable("the vector engine's database lacks pgvector; CREATE EXTENSION vector")
    if tuple(int(part) for part in extension.split(".")[:2]) < MIN_PGVECTOR:
        wanted = ".".join(map(str, MIN_PGVECTOR))
        raise VectorEngineUnavailable(f"the vector engine has pgvector {extension}; {wanted} or newer is needed")
    return f"PostgreSQL {server.split()[0]}, pgvector {extension}"


def is_set_up(connection: Connection[Any]) -> bool:
    """Whether anything was published there."""
    row = connection.execute("SELECT to_regclass('codeintel_generations')").fetchone()
    return row is not None and row[0] is not None


def set_up(connection: Connection[Any], contract: EmbeddingContract) -> None:
    """Make the extension and the tables that are not there yet, in the transaction that is open.

    Raises:
        VectorEngineUnavailable: the server cannot hold them.
    """
    import psycopg

    if contract.dimension > MAX_DIMENSION:
        raise VectorEngineUnavailable(
            f"the vectors have {contract.dimension} dimensions; pgvector indexes at most {MAX_DIMENSION}"
        )
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
    try:
        if connection.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
            connection.execute("CREATE EXTENSION vector")
    except psycopg.Error as error:
        why = str(error).splitlines()[0]
        raise VectorEngineUnavailable("the vector engine cannot CREATE EXTENSION vector", why) from None
    version(connection)
    connection.execute(_SETUP)
    found = connection.execute("SELECT format FROM codeintel_format").fetchone()
    if found is None:
        connection.execute("INSERT INTO codeintel_format VALUES (%s)", [FORMAT])
    elif found[0] != FORMAT:
        raise VectorEngineUnavailable(
            f"the vector engine's tables have format {found[0]}, not {FORMAT}; give this version a database of its own"
        )
    missing = connection.execute(composed("SELECT to_regclass({table_name}) IS NULL", contract.contract_id)).fetchone()
    if missing and missing[0]:
        connection.execute(composed(_VECTORS, contract.contract_id, contract.dimension))
