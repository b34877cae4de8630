"""Connections to a real PostgreSQL: no command waits for one that hangs, and no call is hit by another one's end."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import Any

import psycopg
import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded, VectorEngineUnavailable
from codeintel_core.models.breaker import Breaker
from codeintel_core.vector_engine.connections import Connections
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.e2e


def test_a_server_that_hangs_holds_no_thread(postgres: PostgresServer) -> None:
    """Its process is stopped: no query ends, and a cancellation does not help."""
    with closing(Connections(postgres.url, 1, Breaker(3, 0.0))) as connections:
        pid = connections.ask(lambda it: it.info.backend_pid, Deadline.after(60))
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceeded):
                connections.ask(lambda it: it.execute("SELECT 1"), Deadline.after(0.05))
            assert connections.ask(lambda it: it.info.backend_pid, Deadline.after(60)) != pid  # by the only thread
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_takes_no_other_connection_holds_no_command(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Connections(postgres.url, 1, look_s=0.0)) as connections:
        opened = connections._open()
        answers = iter([opened])  # the first is used, the others are those that look

        def hung() -> psycopg.Connection[Any]:
            if (found := next(answers, None)) is None:
                raise psycopg.errors.ConnectionTimeout("connection timeout expired")
            return found

        monkeypatch.setattr(connections, "_open", hung)
        with pytest.raises(VectorEngineUnavailable, match="does not answer") as caught:
            connections.run(lambda connection: connection.execute("SELECT pg_sleep(60)"))
        assert caught.value.is_lost


def test_a_command_has_the_time_it_needs_and_what_cancels_it_is_no_deadline(postgres: PostgresServer) -> None:
    """Users of managed servers have a limit of their own; builds take what is unavailable, and nothing else."""
    with closing(Connections(f"{postgres.url}&options=-cstatement_timeout%3D77s", 1)) as connections:
        row = connections.run(lambda connection: connection.execute("SHOW statement_timeout").fetchone())
        assert row == ("0",)
        with pytest.raises(VectorEngineUnavailable, match="cancelled"):
            connections.run(
                lambda it: it.execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")
            )  # fmt: skip


def test_a_connection_that_is_being_cancelled_is_not_used_again(postgres: PostgresServer) -> None:
    """The call may end by itself before the cancellation arrives, which is the next one's then."""
    with closing(Connections(postgres.url, 1)) as connections:
        used = []

        def late(connection: psycopg.Connection[Any]) -> None:
            used.append(connection.info.backend_pid)
            (call,) = connections._running
            call._is_cancelled = True  # as `cancel` begins

        connections.ask(late, Deadline.after(60))
        connections.ask(lambda connection: used.append(connection.info.backend_pid), Deadline.after(60))
        assert len(set(used)) == 2


def test_errors_hold_no_password(postgres: PostgresServer) -> None:
    host = postgres.url.partition("host=")[2]
    url = f"postgresql://nobody:hunter2secret@/nowhere?host={host}"
    with closing(Connections(url, 1)) as connections, pytest.raises(VectorEngineUnavailable) as caught:
        connections.ask(lambda _: None, Deadline.after(30))
    assert "nobody" in caught.value.detail
    assert "hunter2" not in f"{caught.value} {caught.value.detail}"
