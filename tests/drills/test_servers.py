"""Drills with `codeintel serve` as processes: ended under load, killed, sharing a Redis that fails (9, 10, 11)."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.telemetry.ledger import read, read_file
from codeintel_core.traces import tables
from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission
from tests.serving.redis_server import RedisServer, redis_server
from tests.serving.running import until
from tests.serving.server_process import START_DEADLINE_S, ServerProcess, servers
from tests.serving.workshop import FILES, Workshop, new_repository

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one repository, built with the model that the servers load."""
    folder = tmp_path_factory.mktemp("servers")
    found = Home(folder / "home")
    workshop = Workshop(found, LocalEncoder(found.models, "int8", threads=1))
    mirror.add(found, str(new_repository(folder / "shop", FILES)), name="shop")
    workshop.build("shop")
    return found


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


def ask(url: str, results: list[tuple[str, int, str]], stop: threading.Event) -> None:
    """Ask until the server is gone; keep (run id, status, state at the end) of what was answered."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            try:
                done = client.post("/answer", json={"question": "how is a generation published?"})
            except httpx.HTTPError:
                return
            results.append((done.headers["x-run-id"], done.status_code, done.text[:100]))


def is_draining(server: ServerProcess) -> bool:
    """Whether it says that it is about to end; it does not answer much longer."""
    found = httpx.get(f"{server.url}/readyz", timeout=60)
    return found.status_code == 503 and found.json()["state"] == "draining"


def test_sigterm_under_load_drains_finishes_flushes_and_exits_0(home: Home, tmp_path: Path) -> None:
    with servers(home.root, tmp_path, shutdown_notice_s=5, shutdown_grace_s=30) as (server,):
        results: list[tuple[str, int, str]] = []
        stop = threading.Event()
        clients = [threading.Thread(target=ask, args=(server.url, results, stop)) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: len(results) >= 8)
        server.terminate()
        until(lambda: is_draining(server))
        during = len(results)
        until(lambda: len(results) > during)  # it still answers while it says so
        assert server.exit_code() == 0
        assert "leaked" not in server.log.read_text()  # what native libraries say of an untidy end
        for client in clients:
            client.join(60)
    assert {status for _, status, _ in results} == {200}
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    stored = set(tables.read_day(tables.traces(home), day).column("run_id").to_pylist())
    assert {run_id for run_id, _, _ in results} <= stored
    for run_id, _, _ in results:
        assert read_file(home.ledger / f"date={day}" / f"{run_id}.jsonl")[-1]["event"] == "done"
    assert not list(home.ledger.glob("live/*.pages")), "nothing is left to recover"


def test_what_is_in_flight_is_cut_at_the_end_of_its_grace(home: Home, tmp_path: Path) -> None:
    """A chat endpoint that never answers holds an answer; the server ends all the same, with a trace of it."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        chat = {"chat_base_url": f"http://127.0.0.1:{black_hole.getsockname()[1]}/v1", "chat_model": "none"}
        with servers(home.root, tmp_path, shutdown_notice_s=0, shutdown_grace_s=1, **chat) as (server,):
            run_id = "11111111-1111-4111-8111-111111111111"
            with ThreadPoolExecutor(1) as pool:
                body = {"question": "how is a generation published?", "time_budget_ms": 60_000}
                asked = pool.submit(
                    httpx.post, f"{server.url}/answer", json=body, timeout=90, headers={"X-Run-ID": run_id}
                )
                until(lambda: any(line.get("kind") == "prompt.build" for line in read(home.ledger, run_id)))
                server.terminate()
                assert server.exit_code() == 0
                with suppress(httpx.HTTPError):  # it may be cut without a word
                    assert asked.result(60).json()["code"] == "overloaded"
        assert read(home.ledger, run_id)[-1]["status"] == "cancelled"
        rows = tables.read_day(tables.traces(home), f"{datetime.now(UTC):%Y-%m-%d}").to_pylist()
        assert [row["status"] for row in rows if row["run_id"] == run_id] == ["cancelled"]


def scope_of(server: ServerProcess, handle: str, key: str) -> tuple[int, str]:
    """Status, and the scope or the code, that a server answers for a handle."""
    found = httpx.get(f"{server.url}/scope/{handle}", headers={"X-API-Key": key}, timeout=60)
    body = found.json()
    return found.status_code, str(body["scope"]["paths"] if found.status_code == 200 else body["code"])


def test_two_servers_share_scopes_and_live_without_redis(home: Home, tmp_path: Path, redis: RedisServer) -> None:
    """Killed, restarted empty, frozen: each goes on with what it knows, both share again, nobody sees another's."""
    everything = [Permission.READ, Permission.ANSWER, Permission.TELEMETRY]
    ada, eve = (keys.create(home.keys, permissions=everything, repos=["*"])[0] for _ in range(2))
    try:
        with servers(home.root, tmp_path, 2, redis_url=redis.url, redis_timeout_ms=200) as (one, two):

            def keep(server: ServerProcess, name: str) -> tuple[str, list[str]]:
                body = {"scope": {"paths": [f"{name}/**"]}}
                made = httpx.post(f"{server.url}/scope", json=body, headers={"X-API-Key": ada}, timeout=60)
                assert made.status_code == 200, made.text
                return made.json()["scope_id"], made.json()["warnings"]

            def readiness(server: ServerProcess) -> str:
                answer = httpx.get(f"{server.url}/readyz", headers={"X-API-Key": ada}, timeout=60).json()
                return str(answer["checks"]["redis"]["status"])

            first, _ = keep(one, "store")
            assert scope_of(two, first, ada) == (200, "['store/**']")
            assert scope_of(two, first, eve) == (404, "unknown-scope")
            for fail, heal in ((redis.kill, redis.start), (redis.freeze, redis.thaw)):
                fail()
                try:
                    meanwhile, warnings = keep(one, "web")
                    assert any("Redis does not answer" in warning for warning in warnings)
                    for server in (one, two):
                        assert scope_of(server, first, ada) == (200, "['store/**']")
                        assert scope_of(server, first, eve) == (404, "unknown-scope")
                        assert httpx.post(
                            f"{server.url}/search", json={"query": "publish"}, headers={"X-API-Key": ada}, timeout=60
                        ).status_code == 200  # fmt: skip
                        until(lambda server=server: readiness(server) == "degraded")
                    assert scope_of(one, meanwhile, ada) == (200, "['web/**']")
                    assert scope_of(two, meanwhile, ada) == (404, "unknown-scope")
                finally:
                    heal()
                until(
                    lambda handle=meanwhile: (
                        scope_of(one, handle, ada)[0] == 200 and scope_of(two, handle, ada) == (200, "['web/**']")
                    )
                )
                assert scope_of(two, meanwhile, eve) == (404, "unknown-scope")
                until(lambda: readiness(one) == "ok")
    finally:
        home.keys.unlink()


def test_a_killed_server_loses_no_trace_that_it_acknowledged(home: Home, tmp_path: Path) -> None:
    """Of two servers one is killed under load: the other serves, and every answer that arrived has its row."""
    with servers(home.root, tmp_path, 2) as (one, two):
        results: list[tuple[str, int, str]] = []
        stop = threading.Event()
        clients = [threading.Thread(target=ask, args=(url, results, stop)) for url in (one.url, one.url, two.url)]
        for client in clients:
            client.start()
        until(lambda: len(results) >= 6)
        one.process.kill()
        killed_at = len(results)
        until(lambda: len(results) > killed_at + 2)
        stop.set()
        for client in clients:
            client.join(60)
    stored = set(tables.read_day(tables.traces(home), f"{datetime.now(UTC):%Y-%m-%d}").column("run_id").to_pylist())
    assert {run_id for run_id, status, _ in results if status == 200} <= stored


def keep_asking(url: str, results: list[tuple[str, int, str]], stop: threading.Event) -> None:
    """As `ask`, and when the connection breaks, on another one."""
    while not stop.is_set():
        ask(url, results, stop)


def worker_ids(server: ServerProcess) -> list[int]:
    """Process ids of the workers of a server."""
    parent = server.process.pid
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def workers_with(server: ServerProcess, sample: str) -> set[str]:
    """Workers that have such a sample above 0; only of those that answered the scrape."""
    text = httpx.get(f"{server.url}/metrics", timeout=60).text
    return set(re.findall(rf'^{re.escape(sample)}.*worker="(\d)"\}} (?!0\.0)', text, re.MULTILINE))


def threads_may_run_on(process: int) -> set[int]:
    """CPUs of all threads of a process, those of its JVM too."""
    found: set[int] = set()
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):  # ended meanwhile
            found |= os.sched_getaffinity(int(thread.name))
    return found


def test_workers_of_one_port(home: Home, tmp_path: Path, redis: RedisServer) -> None:
    """One is killed under load: the port answers on, no acknowledged trace is lost, another takes its place and knows
    the scopes. Then all are told to end under load: they say so, finish, and the parent ends with 0.
    """
    with servers(home.root, tmp_path, workers=2, redis_url=redis.url, shutdown_notice_s=5, shutdown_grace_s=30) as (
        server,
    ):
        until(lambda: len(workers_with(server, "codeintel_worker_up")) == 2, START_DEADLINE_S)
        made = httpx.post(f"{server.url}/scope", json={"scope": {"paths": ["store/**"]}}, timeout=60)
        handle = made.json()["scope_id"]
        results: list[tuple[str, int, str]] = []
        stop = threading.Event()
        clients = [threading.Thread(target=keep_asking, args=(server.url, results, stop)) for _ in range(6)]
        for client in clients:
            client.start()
        until(lambda: len(results) > 6)
        killed, living = worker_ids(server)
        allowed, share_of_killed, share_of_living = map(threads_may_run_on, (server.process.pid, killed, living))
        if len(allowed) > 1:
            assert share_of_killed < allowed
            assert share_of_living < allowed
            assert share_of_killed | share_of_living == allowed
        os.kill(killed, signal.SIGKILL)
        killed_at = len(results)
        until(lambda: len(results) > killed_at + 6)
        until(lambda: len(set(worker_ids(server)) - {killed}) == 2)
        assert living in worker_ids(server)
        (new,) = set(worker_ids(server)) - {living}
        until(lambda: len(workers_with(server, "codeintel_worker_up")) == 2, START_DEADLINE_S)

        held = ExitStack()

        def both_know() -> bool:  # the new one gets connections until it has as many as the other, then each in turn
            client = held.enter_context(httpx.Client(base_url=server.url, timeout=60))
            assert client.get(f"/scope/{handle}").json()["scope"]["paths"] == ["store/**"]
            return len(workers_with(server, 'codeintel_cache_requests_total{cache="scope"')) == 2

        with held:
            until(both_know)
        assert threads_may_run_on(new) == share_of_killed
        server.terminate()
        until(lambda: is_draining(server))
        during = len(results)
        until(lambda: len(results) > during)
        stop.set()
        assert server.exit_code() == 0
        assert "leaked" not in server.log.read_text()  # what native libraries say of an untidy end
        for client in clients:
            client.join(60)
    assert {status for _, status, _ in results} == {200}
    stored = set(tables.read_day(tables.traces(home), f"{datetime.now(UTC):%Y-%m-%d}").column("run_id").to_pylist())
    assert {run_id for run_id, _, _ in results} <= stored


def sockets(process: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for one in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += str(one.readlink()).startswith("socket:")
    return found


def test_clients_that_come_one_by_one_are_shared_out(home: Home, tmp_path: Path, redis: RedisServer) -> None:
    """Of idle workers the kernel would let the same one have nearly all of them."""
    with servers(home.root, tmp_path, workers=2, redis_url=redis.url) as (server,), ExitStack() as clients:
        until(lambda: len(workers_with(server, "codeintel_worker_up")) == 2, START_DEADLINE_S)
        before = [sockets(worker) for worker in worker_ids(server)]
        for _ in range(32):
            client = clients.enter_context(httpx.Client(base_url=server.url, timeout=60))
            assert client.get("/livez").status_code == 200
        held = [sockets(worker) - had for worker, had in zip(worker_ids(server), before, strict=True)]
        assert max(held) - min(held) <= 8, held  # some of other kinds, such as those of the scrape, come and go


def test_what_one_worker_has_found_another_one_shows(home: Home, tmp_path: Path, redis: RedisServer) -> None:
    """Clients with connections of their own ask the same; a worker that is asked second does not search."""
    hits = 'codeintel_cache_requests_total{cache="siblings",result="hit"'
    with servers(home.root, tmp_path, workers=2, redis_url=redis.url) as (server,), ExitStack() as clients:
        until(lambda: len(workers_with(server, "codeintel_worker_up")) == 2, START_DEADLINE_S)

        def ask() -> bool:
            client = clients.enter_context(httpx.Client(base_url=server.url, timeout=60))
            found = client.post("/search", json={"query": "publish"}).json()
            pages.append([(hit["path"], hit["start_line"], hit["score"]) for hit in found["results"]])
            return bool(workers_with(server, hits))

        pages: list[object] = []
        until(ask)  # each of the two gets every second connection, and what is degraded is not shared
        assert pages[-1] == pages[0] != []


def test_workers_may_run_on_any_cpu(home: Home, tmp_path: Path, redis: RedisServer) -> None:
    with servers(home.root, tmp_path, workers=2, redis_url=redis.url, worker_cpus="any") as (server,):
        until(lambda: len(workers_with(server, "codeintel_worker_up")) == 2, START_DEADLINE_S)
        allowed = threads_may_run_on(server.process.pid)
        assert [threads_may_run_on(one) for one in worker_ids(server)] == [allowed, allowed]


def test_workers_end_with_their_parent(home: Home, tmp_path: Path, redis: RedisServer) -> None:
    with servers(home.root, tmp_path, workers=2, redis_url=redis.url) as (server,):
        left = worker_ids(server)
        assert len(left) == 2
        server.process.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), START_DEADLINE_S)


def test_a_missing_home_ends_with_the_fix(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "nowhere", tmp_path / "log")
    assert server.exit_code(START_DEADLINE_S) == 1
    assert "CODEINTEL_HOME" in server.log.read_text()


def test_too_few_file_descriptors_end_with_the_fix(home: Home, tmp_path: Path) -> None:
    """With hardly any descriptors it would start and then accept nobody: it says so instead."""
    server = ServerProcess(home.root, tmp_path / "log", descriptors=24)
    assert server.exit_code(START_DEADLINE_S) == 1
    assert "ulimit -n" in server.log.read_text()


def test_just_enough_file_descriptors_serve(home: Home, tmp_path: Path) -> None:
    server = ServerProcess(home.root, tmp_path / "log", descriptors=256)
    try:
        server.wait_until_up()
        assert httpx.post(f"{server.url}/search", json={"query": "publish"}, timeout=60).status_code == 200
    finally:
        server.process.kill()
        server.process.wait()
