"""The parent of several workers, with small programs as workers: starts them again, passes signals on, gives up."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from codeintel_core.errors import InvalidRequest
from codeintel_core.settings import Settings
from codeintel_serving import hosting, workers
from codeintel_serving.siblings import Connections, Siblings
from tests.serving.running import until

# Its arguments: --, two descriptors, folder, number, count. Notes its start; comes up (a mark there); ends as told.
PROGRAM = """
import pathlib, signal, sys
notes, folder, number = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[5]), sys.argv[6]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with (notes / number).open("a") as out:
    out.write("started\\n")
{then}
"""
COMES_UP = '(folder / f"{number}.up").touch()\n'
STARTED = "started\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, shutdown_notice_s=0, shutdown_grace_s=0)


def programs(monkeypatch: pytest.MonkeyPatch, notes: Path, then: str) -> None:
    monkeypatch.setattr(workers, "_WORKER", [sys.executable, "-S", "-c", PROGRAM.format(then=then), str(notes)])
    monkeypatch.setattr(workers, "_FIRST_WAIT_S", 0.01)  # it doubles with each of the starts that are counted here


def starts(notes: Path, number: int) -> int:
    found = notes / str(number)
    return found.read_text().count(STARTED) if found.exists() else 0


def when(is_true: object, signalled: signal.Signals) -> threading.Thread:
    """Signal this process once it holds; the parent runs in the main thread of the test."""

    def watch() -> None:
        until(is_true)  # type: ignore[arg-type]
        os.kill(os.getpid(), signalled)

    found = threading.Thread(target=watch)
    found.start()
    return found


def test_it_ends_when_no_worker_starts(
    tmp_path: Path, listener: socket.socket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(monkeypatch, tmp_path, "sys.exit(3)")
    assert workers.run(2, listener, settings) == 1
    assert min(starts(tmp_path, 1), starts(tmp_path, 2)) >= 3


def test_one_that_does_not_start_is_tried_again_while_another_serves(
    tmp_path: Path, listener: socket.socket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the one that serves had failed as often before."""
    waits = 'while number == "2" and not (folder / "1.up").exists(): signal.sigtimedwait([], 0.01)'
    fails = 'if number == "2" or (notes / number).read_text().count("started") < 4: sys.exit(3)'
    programs(monkeypatch, tmp_path, f"{waits}\n{fails}\n{COMES_UP}signal.pause()")
    signalling = when(lambda: starts(tmp_path, 2) > 4, signal.SIGTERM)
    assert workers.run(2, listener, settings) == 0
    assert starts(tmp_path, 1) == 4
    signalling.join()


def test_a_worker_that_dies_is_started_again(
    tmp_path: Path, listener: socket.socket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often, as long as it came up each time."""
    dies = 'if number == "1" and (notes / number).read_text().count("started") < 5: signal.raise_signal(9)'
    programs(monkeypatch, tmp_path, f"{COMES_UP}{dies}\nsignal.pause()")
    signalling = when(lambda: starts(tmp_path, 1) == 5 and starts(tmp_path, 2) == 1, signal.SIGTERM)
    assert workers.run(2, listener, settings) == 0
    signalling.join()


def test_a_worker_that_does_not_end_is_killed(
    tmp_path: Path, listener: socket.socket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = 'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n(notes / "deaf").touch()'
    programs(monkeypatch, tmp_path, f"{deaf}\n{COMES_UP}while True: signal.pause()")
    monkeypatch.setattr(workers, "_KILL_AFTER_S", 0.2)  # all of it is waited for
    signalling = when((tmp_path / "deaf").exists, signal.SIGTERM)
    assert workers.run(1, listener, settings) == 1
    signalling.join()


def test_nothing_is_left_to_a_worker_that_has_ended(tmp_path: Path, listener: socket.socket) -> None:
    ended, living = Siblings(tmp_path, 1, 2), Connections(Siblings(tmp_path, 2, 2))
    parent = workers._Worker(ended, listener, -1)
    Connections(ended).tell(0)
    living.tell(5)
    assert not living.are_fewest()
    parent.note_end()
    assert living.are_fewest()


@pytest.mark.parametrize(
    ("cpus", "shares"),
    [
        ([0, 1], [{0}, {1}]),
        ([0, 4, 1, 5], [{0, 4}, {1, 5}]),
        ([0, 2, 4, 6, 8], [{0, 2, 8}, {4, 6, 8}]),
        ([0, 1, 2, 3], [{0, 3}, {1, 3}, {2, 3}]),
        ([0, 1], [{0, 1}, {0, 1}, {0, 1}]),
        ([3], [{3}]),
    ],
)
def test_each_worker_has_as_many_cpus(cpus: list[int], shares: list[set[int]]) -> None:
    assert [workers.cpus_of(number, len(shares), cpus) for number in range(1, len(shares) + 1)] == shares


def test_threads_of_a_core_and_cores_of_a_socket_are_neighbours(tmp_path: Path) -> None:
    """Numbered as is usual: first a thread of each core of both sockets in turn, then the second threads."""
    for cpu in range(8):
        (topology := tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{cpu % 2}\n")
        (topology / "core_id").write_text(f"{cpu % 4 // 2}\n")
    assert sorted(range(8), key=lambda cpu: workers._place(cpu, tmp_path)) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert sorted([3, 1, 2], key=lambda cpu: workers._place(cpu, tmp_path / "nowhere")) == [1, 2, 3]


def test_a_worker_that_cannot_be_bound_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)  # as a sandbox does
    workers.keep_to_own_cpus(1, 2)
    assert "worker 1 runs on any CPU" in caplog.text


def test_several_workers_need_redis(tmp_path: Path) -> None:
    workers.check(Settings(home=tmp_path), 1)
    workers.check(Settings(home=tmp_path, redis_url="redis://127.0.0.1/0"), 2)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="CODEINTEL_REDIS_URL"):
        hosting.serve(Settings(home=tmp_path), "127.0.0.1", 1, count=2)
