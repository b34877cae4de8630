"""PostgreSQL with pgvector as a vector engine: what is held and verified there, and searching it.

Up to `exact_max` rows are compared one by one, as FAISS does it: those of the repositories, or of a scope that lets no
more through. More are looked up in an HNSW index over halves of floats, whose scan goes on while scope and repositories
let too little through; if it ends with less than was asked for, they are compared one by one after all. Every search
reads one snapshot, in which the generations it names are there, or it says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Matrix
from codeintel_core.errors import DeadlineExceeded, VectorEngineUnavailable
from codeintel_core.indexes.dense import Ids
from codeintel_core.models.breaker import Breaker
from codeintel_core.scope import Scope
from codeintel_core.telemetry import step
from codeintel_core.vector_engine import publishing, tables
from codeintel_core.vector_engine.connections import Connections, Work
from codeintel_core.vector_engine.protocol import Change, Found, Pin, Published

if TYPE_CHECKING:
    from psycopg import Connection

_T = TypeVar("_T")
_VERIFY_S = 60.0
_VERIFY_AGAIN_S = 30.0
_KEPT_S = 10.0
_NOT_YET = "it is being verified"
_MOST_HELD = 10_000  # generations
_MIN_BEAM, _MAX_BEAM = 100, 1_000  # pgvector's own limit
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TIMEOUT = "SELECT set_config('statement_timeout', %s, true)"
_EXACT = (  # leaves the bitmap of a repository's or a scope's rows, also of a table that was not analysed yet
    "SELECT set_config(name, 'off', true) FROM (VALUES ('enable_indexscan'), ('enable_seqscan')) AS wanted (name)"
)
_BY_INDEX = (
    "SELECT set_config(name, value, true) FROM (VALUES ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'), "
    "('enable_sort', 'off'), ('hnsw.iterative_scan', 'relaxed_order'), ('hnsw.ef_search', %s)) AS wanted (name, value)"
)
_HELD = (
    "SELECT count(*) FROM codeintel_generations JOIN unnest(%s::int[], %s::bigint[], %s::text[]) "
    "AS held (repo_id, number, gen_id) USING (repo_id, number, gen_id)"
)
# The number of each repository's generation stands at its id: 0, which no row lives at, where it is not asked.
_SEARCH = """
SELECT repo_id, chunk_id, -(embedding <#> %(query)s::halfvec({dimension})) AS score FROM {table}
WHERE first <= (%(numbers)s::bigint[])[repo_id] AND until > (%(numbers)s::bigint[])[repo_id]
"""
_REPOSITORIES = " AND repo_id = ANY(%(repos)s)"
_PATHS = " AND path ~ %(paths)s"
_LANGUAGES = " AND language = ANY(%(languages)s)"
_CLASSES = " AND file_class <> ALL(%(classes)s)"
_WITHIN = " AND chunk_id = ANY(%(within)s)"
_BEST = " ORDER BY embedding <#> %(query)s::halfvec({dimension}) LIMIT %(k)s"
_FIND = """
SELECT generation.repo_id, generation.number, generation.digest, generation.vectors
FROM codeintel_generations AS generation JOIN codeintel_repositories AS repository USING (repo_id)
WHERE gen_id = %s AND name = %s AND contract_id = %s
"""
_KEPT = """
SELECT gen_id, published_at FROM codeintel_generations JOIN codeintel_repositories USING (repo_id) WHERE name = %s
"""


@dataclass(frozen=True, slots=True)
class _Held:
    """Where a verified generation is."""

    repo_id: int
    number: int


class PostgresEngine:
    """The engine `postgresql://…`."""

    system = "postgresql"

    def __init__(
        self, url: str, *, exact_max: int, workers: int, breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Connects on first use. `workers`: searches at the same time."""
        self._exact_max, self._clock = exact_max, clock
        self._connections = Connections(url, workers, breaker)
        self._verifier = ThreadPoolExecutor(1, thread_name_prefix="vector-engine-verify")
        self._held: LRUCache[str, _Held] = LRUCache(_MOST_HELD)
        self._refused: LRUCache[str, tuple[str, float]] = LRUCache(_MOST_HELD)  # why, and until when it is left alone
        self._verifying: set[str] = set()
        self._lock = threading.Lock()

    def ping(self, timeout_s: float) -> str:
        """As `VectorEngine.ping`."""
        return self._ask(tables.version, Deadline.after(timeout_s))

    def publish(
        self, pin: Pin, parent: str | None, change: Change | None, whole: Callable[[], Iterator[pa.Table]]
    ) -> Published:  # fmt: skip
        """As `VectorEngine.publish`."""
        return self._connections.run(
            lambda connection: publishing.publish(connection, pin, parent, change, whole, self._exact_max)
        )

    def verify(self, pins: Sequence[Pin]) -> dict[str, str]:
        """As `VectorEngine.verify`; takes a look at every row, so it is done once."""
        found = {}
        for pin in pins:
            with step("vector_engine.verify", gen_id=pin.gen_id, repo=pin.repo) as current:
                found[pin.gen_id] = why = self._verified(pin)
                if why:
                    current.skip(why)
        return found

    def unverified(self, pins: Sequence[Pin]) -> dict[str, str]:
        """As `VectorEngine.unverified`."""
        found: dict[str, str] = {}
        with self._lock:
            for pin in pins:
                if pin.gen_id in self._held:
                    continue
                why, until = self._refused.get(pin.gen_id, (_NOT_YET, 0.0))
                found[pin.gen_id] = self._connections.problem or why
                if self._clock() >= until and pin.gen_id not in self._verifying:
                    self._verifying.add(pin.gen_id)
                    self._verifier.submit(self._verify_later, pin)
        return found

    def search(
        self, pins: Sequence[Pin], query: Matrix, k: int, scope: Scope, deadline: Deadline, within: Ids | None = None
    ) -> Found:  # fmt: skip
        """As `VectorEngine.search`."""
        with self._lock:
            held = [self._held.get(pin.gen_id) for pin in pins]
        there = [at for at in held if at is not None]
        if len(there) < len(pins):
            raise VectorEngineUnavailable("the vector engine's generations are not verified")
        count = sum(pin.state.count for pin in pins) if within is None else len(within)
        asked = _Asked(pins, there, query, k, scope, within if count <= self._exact_max else None)
        is_exact = count <= self._exact_max
        rows = self._searched(asked, deadline, is_exact=is_exact)
        if len(rows) < min(k, count) and not is_exact:
            rows = self._searched(asked, deadline, is_exact=True)
        found = np.array([(repo_id, chunk_id) for repo_id, chunk_id, _ in rows], np.int64).reshape(-1, 2)
        scores: Matrix = np.array([score for _, _, score in rows], np.float32)
        order = np.lexsort((found[:, 1], -scores))
        at = np.zeros(1 + max(one.repo_id for one in there), np.int64)
        at[[one.repo_id for one in there]] = np.arange(len(there))
        return Found(found[order, 1], scores[order], at[found[order, 0]])

    def kept(self, repo: str) -> dict[str, datetime]:
        """As `VectorEngine.kept`."""

        def look(connection: Connection[Any]) -> dict[str, datetime]:
            return dict(connection.execute(_KEPT, [repo]).fetchall()) if tables.is_set_up(connection) else {}

        try:
            return self._ask(look, Deadline.after(_KEPT_S))
        except DeadlineExceeded as error:
            raise VectorEngineUnavailable(str(error)) from None

    def delete(self, repo: str, gen_ids: Collection[str], *, thoroughly: bool = False) -> int:
        """As `VectorEngine.delete`."""
        return self._connections.run(
            lambda connection: publishing.delete(connection, repo, gen_ids, thoroughly=thoroughly)
        )

    def close(self) -> None:
        """As `VectorEngine.close`."""
        self._verifier.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    def _ask(self, work: Work[_T], deadline: Deadline) -> _T:
        try:
            return self._connections.ask(work, deadline)
        except VectorEngineUnavailable as error:
            if error.is_lost:  # what comes back may be a server that was set up anew
                with self._lock:
                    self._held.clear()
            raise

    def _verify_later(self, pin: Pin) -> None:
        try:
            self.verify([pin])
        finally:
            with self._lock:
                self._verifying.discard(pin.gen_id)

    def _verified(self, pin: Pin) -> str:
        def look(connection: Connection[Any]) -> tuple[_Held | None, str]:
            connection.execute(_BEGIN)
            connection.execute(_TIMEOUT, [f"{_VERIFY_S * 1000:.0f}"])
            if not tables.is_set_up(connection):
                return None, f"generation {pin.gen_id} is not in the vector engine"
            row = connection.execute(_FIND, [pin.gen_id, pin.repo, pin.contract.contract_id]).fetchone()
            if row is None:
                return None, f"generation {pin.gen_id} is not in the vector engine"
            found = publishing.state(connection, pin.contract.contract_id, row[0], row[1])
            if found != pin.state:
                return None, (
                    f"generation {pin.gen_id}: the vector engine holds {found.count} vectors ({found.digest}), "
                    f"not {pin.state.count} ({pin.state.digest})"
                )
            return _Held(row[0], row[1]), ""

        try:
            held, why = self._ask(look, Deadline.after(_VERIFY_S))
        except (VectorEngineUnavailable, DeadlineExceeded) as error:
            return str(error)  # the breaker says when it is asked again
        with self._lock:
            self._refused.pop(pin.gen_id, None)
            if held is None:
                self._refused[pin.gen_id] = why, self._clock() + _VERIFY_AGAIN_S
            else:
                self._held[pin.gen_id] = held
        return why

    def _searched(self, asked: _Asked, deadline: Deadline, *, is_exact: bool) -> list[tuple[int, int, float]]:
        def look(connection: Connection[Any]) -> tuple[bool, list[tuple[int, int, float]]]:
            with connection.pipeline():  # one round trip
                connection.execute(_BEGIN)
                connection.execute(_TIMEOUT, [f"{max(1.0, deadline.remaining_s * 1000):.0f}"])
                connection.execute(*((_EXACT, None) if is_exact else (_BY_INDEX, [asked.beam])))
                there = connection.execute(_HELD, [asked.repo_ids, asked.numbers, asked.gen_ids])
                rows = connection.execute(asked.statement, asked.parameters)
                connection.execute("COMMIT")
            (count,) = there.fetchone() or (0,)
            return count == len(asked.numbers), rows.fetchall()

        is_there, rows = self._ask(look, deadline)
        if not is_there:
            with self._lock:
                for gen_id in asked.gen_ids:
                    self._held.pop(gen_id, None)
            raise VectorEngineUnavailable("the vector engine does not hold what it held")
        return rows


class _Asked:
    """A search as PostgreSQL gets it: values are parameters, whatever they hold."""

    def __init__(
        self, pins: Sequence[Pin], held: Sequence[_Held], query: Matrix, k: int, scope: Scope, within: Ids | None
    ) -> None:  # fmt: skip
        """`within`: ids that say what the scope does; None: its filters do."""
        self.repo_ids, self.numbers = [at.repo_id for at in held], [at.number for at in held]
        self.gen_ids = [pin.gen_id for pin in pins]
        self.beam = str(min(_MAX_BEAM, max(_MIN_BEAM, 2 * k)))
        numbers = [0] * max(at.repo_id for at in held)  # arrays count from 1
        for at in held:
            numbers[at.repo_id - 1] = at.number
        self.parameters = {
            "query": f"[{','.join(map(str, query.tolist()))}]", "k": k, "numbers": numbers,
            "repos": self.repo_ids, "paths": f"^(?:{scope.path_regex()})$",
            "languages": list(scope.languages), "classes": list(scope.excluded_classes),
            "within": [] if within is None else within.tolist(),
        }  # fmt: skip
        filters = ((_PATHS, scope.paths), (_LANGUAGES, scope.languages), (_CLASSES, scope.excluded_classes))
        chosen = "".join([_REPOSITORIES, *(part for part, is_wanted in filters if is_wanted)])
        if within is not None:
            chosen = _WITHIN  # and no other condition that an index answers, whatever is known of the table yet
        contract = pins[0].contract
        self.statement = tables.composed(_SEARCH + chosen + _BEST, contract.contract_id, contract.dimension)
