"""The engine on a real PostgreSQL with pgvector: what is published is seen exactly, and no failure is silent."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import re2

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.errors import DeadlineExceeded, VectorEngineUnavailable
from codeintel_core.indexes.dense import Ids
from codeintel_core.models.breaker import Breaker
from codeintel_core.scope import Scope, glob_to_regex
from codeintel_core.stopping import Work
from codeintel_core.vector_engine.postgresql import PostgresEngine
from codeintel_core.vector_engine.protocol import Change, Pin, Published, State
from codeintel_core.vector_engine.rows import keys_of
from tests.core import specimen
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.e2e

_DIMENSION = 32
_EVERYTHING = Scope()


@pytest.fixture
def contract(request: pytest.FixtureRequest) -> EmbeddingContract:
    """The test's own, and so its table of vectors."""
    return replace(specimen.CONTRACT, dimension=_DIMENSION, revision=request.node.name)


@pytest.fixture
def engine(postgres: PostgresServer) -> Iterator[PostgresEngine]:
    with closing(_engine(postgres)) as opened:
        yield opened


@pytest.fixture
def publisher(engine: PostgresEngine, contract: EmbeddingContract) -> Publisher:
    return Publisher(engine, contract)


def _engine(postgres: PostgresServer, **options: Any) -> PostgresEngine:
    return PostgresEngine(postgres.url, workers=2, **({"exact_max": 10_000} | options))


def _soon() -> Deadline:
    return Deadline.after(60)


def _vectors(count: int, seed: int = 0) -> Matrix:
    """Unit vectors around a few centres."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(4, count // 100), _DIMENSION))
    found = centres[random.integers(0, len(centres), count)] + random.normal(0, 0.7, (count, _DIMENSION))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def _rows(ids: Sequence[int], vectors: Matrix, path: Callable[[int], str] = "src/{}.py".format) -> pa.Table:
    count = len(ids)
    table = pa.table(
        {
            "chunk_id": pa.array(ids, pa.int64()),
            "text_key": [f"{chunk_id:032x}" for chunk_id in ids],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), _DIMENSION),
            "path": [path(chunk_id) for chunk_id in ids],
            "language": ["go" if chunk_id % 2 else "python" for chunk_id in ids],
            "file_class": ["test" if chunk_id % 5 == 0 else "source" for chunk_id in ids],
        }
    )
    assert table.num_rows == count
    return table.append_column("key", pa.array(keys_of(table)))


@dataclass
class Publisher:
    """Publishes generations of a repository, each with the rows that it is to have."""

    engine: PostgresEngine
    contract: EmbeddingContract
    repo: str = "demo"
    count: int = 0

    def pin(self, rows: pa.Table) -> Pin:
        self.count += 1
        gen_id = f"{self.contract.contract_id}-{self.repo}-{self.count}"
        return Pin(self.repo, gen_id, self.contract, State.of(rows["key"].to_numpy()))

    def publish(self, rows: pa.Table, parent: str | None = None, change: Change | None = None) -> tuple[Pin, Published]:
        pin = self.pin(rows)
        return pin, self.engine.publish(pin, parent, change, lambda: iter([rows]))


def _ids(
    engine: PostgresEngine, pin: Pin, query: Matrix, k: int = 10, scope: Scope = _EVERYTHING, within: Ids | None = None
) -> list[int]:  # fmt: skip
    if engine.unverified([pin]):
        assert engine.verify([pin]) == {pin.gen_id: ""}
    return engine.search([pin], query, k, scope, _soon(), within).ids.tolist()


def _exact(ids: Sequence[int], vectors: Matrix, query: Matrix, k: int = 10) -> list[int]:
    return np.asarray(ids)[np.argsort(-(vectors @ query), kind="stable")[:k]].tolist()


def _held_rows(postgres: PostgresServer, contract: EmbeddingContract) -> int:
    with postgres.connect() as connection:
        row = connection.execute(f"SELECT count(*) FROM codeintel_vectors_{contract.contract_id}").fetchone()
        assert row is not None
        return int(row[0])


def test_a_generation_is_found_as_the_local_vectors_find_it(publisher: Publisher) -> None:
    ids, vectors, query = range(1, 301), _vectors(300), _vectors(1, seed=9)[0]
    pin, done = publisher.publish(_rows(ids, vectors))
    assert done == Published(300, 0)
    assert publisher.engine.verify([pin]) == {pin.gen_id: ""}
    found = publisher.engine.search([pin], query, 10, _EVERYTHING, _soon())
    assert found.ids.tolist() == _exact(ids, vectors, query)
    assert np.allclose(found.scores, np.sort(vectors @ query)[::-1][:10], atol=2e-3)  # halves of floats
    assert found.owners.tolist() == [0] * 10


@pytest.mark.parametrize("exact_max", [10_000, 100], ids=["compared", "indexed"])
def test_recall_also_in_a_narrow_scope(postgres: PostgresServer, contract: EmbeddingContract, exact_max: int) -> None:
    count, queries = 3_000, _vectors(3_030)[3_000:]
    ids, vectors = np.arange(1, count + 1), _vectors(3_030)[:count]
    scopes = {
        Scope(): np.ones(count, bool),
        Scope(paths=("narrow/**",)): ids % 50 == 0,
        Scope(languages=("go",), include_tests=False): (ids % 2 == 1) & (ids % 5 != 0),
    }
    with closing(_engine(postgres, exact_max=exact_max)) as engine:
        rows = _rows(ids.tolist(), vectors, lambda at: f"{'wide' if at % 50 else 'narrow'}/{at}.py")
        pin, _ = Publisher(engine, contract).publish(rows)
        with postgres.connect() as connection:
            named = f"codeintel_vectors_{contract.contract_id}_nearest"
            is_indexed = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [named]).fetchone()
        assert is_indexed == (exact_max < count,)
        beside = _vectors(150, seed=7)
        other, _ = Publisher(engine, contract, "other").publish(_rows(range(9_001, 9_151), beside))
        assert len(_ids(engine, other, queries[0], 200)) == 150, "also when the index holds mostly others"
        for scope, inside in scopes.items():
            for within in (None, ids[inside]):
                shares = [
                    len(
                        {*_ids(engine, pin, query, 100, scope, within)[:10]}
                        & {*_exact(ids[inside], vectors[inside], query)}
                    ) / 10
                    for query in queries
                ]  # fmt: skip
                assert np.mean(shares) >= 0.99, scope


def test_publishing_again_writes_nothing(publisher: Publisher, postgres: PostgresServer) -> None:
    rows = _rows(range(1, 41), _vectors(40))
    pin, _ = publisher.publish(rows)
    assert publisher.engine.publish(pin, None, None, lambda: iter([rows])) == Published(0, 0)
    assert publisher.publish(rows, parent=pin.gen_id)[1] == Published(0, 0)  # a forced build: another generation
    assert _held_rows(postgres, publisher.contract) == 40
    with pytest.raises(VectorEngineUnavailable, match="holds another generation"):
        publisher.engine.publish(replace(pin, state=State(1, "0" * 16)), None, None, lambda: iter([rows]))


def test_each_generation_sees_exactly_its_rows(publisher: Publisher, postgres: PostgresServer) -> None:
    """A chain, a change that is only said, and a branch that starts from an older generation after a roll back."""
    engine, vectors, query = publisher.engine, _vectors(60), _vectors(1, seed=5)[0]
    first = _rows(range(1, 41), vectors[:40])
    one, _ = publisher.publish(first)
    second = pa.concat_tables([first.slice(10), _rows(range(41, 51), vectors[40:50])])
    change = Change((second.slice(30),), first["key"].to_numpy()[:10])
    two = publisher.pin(second)
    assert engine.publish(two, one.gen_id, change, lambda: pytest.fail("the change was enough")) == Published(10, 10)
    assert _held_rows(postgres, publisher.contract) == 50
    branch = pa.concat_tables([first.slice(5), _rows(range(51, 61), vectors[50:])])
    from_one = Change((branch.slice(35),), first["key"].to_numpy()[:5])
    three, done = publisher.publish(branch, parent=one.gen_id, change=from_one)  # but `two` is the newest there
    assert done == Published(15, 10)
    for pin, rows in ((one, first), (two, second), (three, branch)):
        assert sorted(_ids(engine, pin, query, 100)) == sorted(rows["chunk_id"].to_pylist()), pin.gen_id


def test_a_change_that_does_not_lead_to_the_state_is_not_believed(publisher: Publisher) -> None:
    engine, rows = publisher.engine, _rows(range(1, 41), _vectors(40))
    one, _ = publisher.publish(rows.slice(0, 20))
    wrong = Change((rows.slice(20, 5),), rows["key"].to_numpy()[:0])
    two, done = publisher.publish(rows, parent=one.gen_id, change=wrong)
    assert done == Published(20, 0)
    assert len(_ids(engine, two, _vectors(1)[0], 100)) == 40
    three = replace(publisher.pin(rows), state=State(7, "0" * 16))
    with pytest.raises(VectorEngineUnavailable, match="would hold 40 rows"):
        engine.publish(three, None, None, lambda: iter([rows]))
    kept = engine.kept("demo").keys()
    assert {one.gen_id, two.gen_id} <= kept
    assert three.gen_id not in kept  # nothing of it is there


def test_many_repositories_are_one_search(engine: PostgresEngine, contract: EmbeddingContract) -> None:
    vectors, query = _vectors(90), _vectors(1, seed=3)[0]
    pins = []
    for at, repo in enumerate(("a'; DROP TABLE codeintel_generations; --", 'b"b', "c%s{table}")):
        rows = _rows(range(30 * at + 1, 30 * at + 31), vectors[30 * at : 30 * at + 30])
        pins.append(Publisher(engine, contract, repo).publish(rows)[0])
    assert set(engine.verify(pins).values()) == {""}
    found = engine.search(pins, query, 20, _EVERYTHING, _soon())
    assert found.ids.tolist() == _exact(range(1, 91), vectors, query, 20)
    assert found.owners.tolist() == [(chunk_id - 1) // 30 for chunk_id in found.ids.tolist()]
    only = engine.search(pins[1:2], query, 20, _EVERYTHING, _soon())
    assert {*only.ids.tolist()} <= {*range(31, 61)}
    assert not only.owners.any()


def test_paths_mean_what_they_mean_in_the_catalog(publisher: Publisher) -> None:
    wanted = {
        "src/it's.py": "src/it's.py", 'a"b/**': 'a"b/c/d.py', "a\\b/*": "a\\b/c.py", "%/_.py": "%/_.py",
        "**/ключ?.go": "x/y/ключи.go", "[a]/{b}.py": "[a]/{b}.py", "new\nline/*": "new\nline/x.py",
        "***:(?i)x": "***:(?i)x", "$1/%(k)s/*": "$1/%(k)s/x",
    }  # fmt: skip
    paths = [*wanted.values(), "other.py", "src/its.py", "x/.py", "A/b.py", "z/***:(?i)X"]
    pin, _ = publisher.publish(_rows(range(len(paths)), _vectors(len(paths)), lambda at: paths[at]))
    for glob, path in wanted.items():
        found = _ids(publisher.engine, pin, _vectors(1)[0], 100, Scope(paths=(glob,)))
        meant = [at for at, one in enumerate(paths) if re2.fullmatch(glob_to_regex(glob), one)]
        assert sorted(found) == meant, glob
        assert paths.index(path) in meant


def test_deleting_leaves_what_others_see(publisher: Publisher, postgres: PostgresServer) -> None:
    engine, rows = publisher.engine, _rows(range(1, 41), _vectors(40))
    publisher.repo = "deleted"
    one, _ = publisher.publish(rows.slice(0, 30))
    two, _ = publisher.publish(rows.slice(10))
    assert _ids(engine, one, _vectors(1)[0])
    assert engine.delete("deleted", [one.gen_id]) == 10
    assert sorted(_ids(engine, two, _vectors(1)[0], 100)) == list(range(11, 41))
    assert engine.delete("deleted", [one.gen_id, "never"]) == 0
    with pytest.raises(VectorEngineUnavailable, match="does not hold what it held"):
        engine.search([one], _vectors(1)[0], 5, _EVERYTHING, _soon())
    assert engine.delete("deleted", [two.gen_id], thoroughly=True) == 30
    assert (_held_rows(postgres, publisher.contract), engine.kept("deleted"), engine.delete("?", ["x"])) == (0, {}, 0)
    again, done = publisher.publish(rows)  # the newest generation that it knew is gone
    assert (done.added, len(_ids(engine, again, _vectors(1)[0], 100))) == (40, 40)


def test_another_contract_has_vectors_of_its_own(publisher: Publisher) -> None:
    engine, contract, rows = publisher.engine, publisher.contract, _rows(range(1, 11), _vectors(10))
    old, _ = publisher.publish(rows)
    other = Publisher(engine, replace(contract, precision="int8"))
    new, done = other.publish(rows, parent=old.gen_id, change=Change((), rows["key"].to_numpy()[:0]))
    assert done == Published(10, 0)
    assert len(_ids(engine, old, _vectors(1)[0], 20)) == len(_ids(engine, new, _vectors(1)[0], 20)) == 10
    with pytest.raises(VectorEngineUnavailable, match="at most 4000"):
        Publisher(engine, replace(contract, dimension=4_001)).publish(rows)


def test_what_is_not_of_its_state_is_refused(postgres: PostgresServer, contract: EmbeddingContract) -> None:
    with closing(_engine(postgres)) as engine:
        publisher, rows = Publisher(engine, contract), _rows(range(1, 11), _vectors(10))
        pin, _ = publisher.publish(rows)
        missing = publisher.pin(rows)
        assert "is not in" in engine.verify([missing])[missing.gen_id]
        with postgres.connect() as connection:
            connection.execute(f"DELETE FROM codeintel_vectors_{contract.contract_id} WHERE chunk_id = 3")
        assert "holds 9 vectors" in engine.verify([pin])[pin.gen_id]
        assert "holds 9 vectors" in engine.unverified([pin])[pin.gen_id]
        with pytest.raises(VectorEngineUnavailable, match="not verified"):
            engine.search([pin], _vectors(1)[0], 5, _EVERYTHING, _soon())


@pytest.mark.parametrize("is_given_up", [False, True], ids=["late", "given up"])
def test_a_search_that_is_stopped_ends_there(publisher: Publisher, postgres: PostgresServer, is_given_up: bool) -> None:
    engine = publisher.engine
    pin, _ = publisher.publish(_rows(range(1, 11), _vectors(10)))
    assert engine.verify([pin]) == {pin.gen_id: ""}
    with postgres.connect() as other:
        other.execute("BEGIN")
        other.execute(f"LOCK codeintel_vectors_{publisher.contract.contract_id}")
        search = partial(engine.search, [pin], _vectors(1)[0], 5, _EVERYTHING)
        if is_given_up:
            work = Work()
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(work.context().run, search, _soon())
                _until(lambda: _waits(postgres))
                work.give_up()
                with pytest.raises(CancelledError):
                    running.result()
        else:
            with pytest.raises(DeadlineExceeded):
                search(Deadline.after(0.05))
        _until(lambda: not _waits(postgres))
        other.execute("ROLLBACK")
    assert engine.search([pin], _vectors(1)[0], 5, _EVERYTHING, _soon()).ids.size == 5


def test_closing_ends_what_waits_for_the_server(publisher: Publisher, postgres: PostgresServer) -> None:
    pin, _ = publisher.publish(_rows(range(1, 11), _vectors(10)))
    with postgres.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN")
        other.execute(f"LOCK codeintel_vectors_{publisher.contract.contract_id}")
        verifying = pool.submit(publisher.engine.verify, [pin])
        _until(lambda: _waits(postgres))
        publisher.engine.close()
        assert verifying.result(30)[pin.gen_id] != ""
        other.execute("ROLLBACK")
    assert publisher.engine.verify([pin]) == {pin.gen_id: "the vector engine is closed"}


def test_publishing_again_makes_no_search_larger(publisher: Publisher, postgres: PostgresServer) -> None:
    rows = _rows(range(1, 11), _vectors(10))
    publisher.publish(rows)
    publisher.publish(rows)
    publisher.publish(rows)
    Publisher(publisher.engine, publisher.contract, "next").publish(rows)
    with postgres.connect() as connection:
        query = "SELECT repo_id FROM codeintel_repositories WHERE contract_id = %s ORDER BY 1"
        (one,), (other,) = connection.execute(query, [publisher.contract.contract_id]).fetchall()
    assert other == one + 1


def test_a_number_that_became_another_generations_is_not_asked(publisher: Publisher, postgres: PostgresServer) -> None:
    """Tables were made anew, and published to in another order, while connections stayed open."""
    engine, rows = publisher.engine, _rows(range(1, 11), _vectors(10))
    pins = [publisher.publish(rows)[0], publisher.publish(rows.slice(5))[0]]
    assert set(engine.verify(pins).values()) == {""}
    with postgres.connect() as connection:
        ids = [pin.gen_id for pin in pins]
        connection.execute("UPDATE codeintel_generations SET gen_id = gen_id || '?' WHERE gen_id = ANY(%s)", [ids])
        swap = "UPDATE codeintel_generations SET gen_id = %s WHERE gen_id = %s"
        for old, new in zip(ids, reversed(ids), strict=True):
            connection.execute(swap, [new, f"{old}?"])
    with pytest.raises(VectorEngineUnavailable, match="does not hold what it held"):
        engine.search(pins, _vectors(1)[0], 5, _EVERYTHING, _soon())


def test_connections_that_were_lost_meanwhile_are_made_anew(publisher: Publisher, postgres: PostgresServer) -> None:
    pin, _ = publisher.publish(_rows(range(1, 11), _vectors(10)))
    assert len(_ids(publisher.engine, pin, _vectors(1)[0])) == 10
    with postgres.connect() as other:
        ended = other.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'codeintel'"
        ).fetchall()
    assert ended
    assert publisher.engine.search([pin], _vectors(1)[0], 5, _EVERYTHING, _soon()).ids.size == 5


def test_a_server_that_is_away_is_left_alone_for_a_while(contract: EmbeddingContract) -> None:
    now = [0.0]
    away = PostgresEngine(
        "postgresql://127.0.0.1:1/none", exact_max=1, workers=1, breaker=Breaker(2, 5.0, clock=lambda: now[0])
    )
    with closing(away) as engine:
        pin = Publisher(engine, contract).pin(_rows(range(1, 3), _vectors(2)))
        for _ in range(2):
            assert "does not answer (OperationalError)" in engine.verify([pin])[pin.gen_id]
        assert engine._connections.problem == engine.unverified([pin])[pin.gen_id] != ""
        now[0] = 6.0
        with pytest.raises(VectorEngineUnavailable) as caught:
            engine.kept("demo")
        assert caught.value.is_lost


def test_a_database_without_pgvector_is_named(postgres: PostgresServer, contract: EmbeddingContract) -> None:
    with closing(PostgresEngine(postgres.database("empty"), exact_max=1, workers=1)) as engine:
        with pytest.raises(VectorEngineUnavailable, match="lacks pgvector"):
            engine.ping(30)
        assert engine.kept("demo") == {}
        pin, _ = Publisher(engine, contract).publish(_rows(range(1, 3), _vectors(2)))
        assert engine.ping(30).startswith("PostgreSQL 18")
        assert engine.verify([pin]) == {pin.gen_id: ""}


def _waits(postgres: PostgresServer) -> bool:
    """Whether a call waits for a lock; by a connection of its own, since a transaction sees that as it was at first."""
    with postgres.connect() as looking:
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'codeintel'"
        return looking.execute(waiting).fetchone() is not None


def _until(happened: Callable[[], bool]) -> None:
    ends = Deadline.after(30)
    while not happened():
        ends.check("what the server does")
