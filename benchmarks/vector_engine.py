"""PostgreSQL with pgvector beside the local files: the same vectors, asked for as search asks, in one run.

The server runs on the same machine and is asked over its socket, so no network is in its times; its CPU is that of its
processes and of ours. Both are asked for as many candidates as the dense channel wants; recall@10 is against exact
search. The last row changes 20 vectors.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.dense import clustered
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.indexes import dense_build
from codeintel_core.indexes.dense import DenseIndex, Ids
from codeintel_core.scope import Scope
from codeintel_core.vector_engine.postgresql import PostgresEngine
from codeintel_core.vector_engine.protocol import Change, Pin, State
from codeintel_core.vector_engine.rows import keys_of
from tests.postgres_server import PostgresServer, postgres_server

_TOP, _CANDIDATES, _QUERIES, _CHANGED, _FLAT_MAX = 10, 100, 100, 20, 10_000
_NARROW = 100  # every hundredth vector lies in the narrow folder
_CONTRACT = EmbeddingContract(
    model="synthetic", revision="1", dimension=384, precision="fp32", pooling="", normalized=True, query_prefix="",
    document_prefix="", max_tokens=1, text_version=1,
)  # fmt: skip
Search = Callable[[Matrix], Ids]


@dataclass(frozen=True, slots=True)
class _Took:
    """What the searches of one kind took: p50 of the clock, CPU of all processes for each, and recall@10."""

    p50_ms: float
    cpu_ms: float
    recall: float

    def row(self, subject: str, measure: str, peer: str = "", ratio: float | None = None) -> Row:
        note = f"{self.cpu_ms:.2f} CPU-ms, recall@10 {self.recall:.4f}"
        return Row(subject, measure, self.p50_ms, "ms p50", peer, ratio, note)


def measure(at: Workplace) -> Rows:
    """Every size up to 100,000."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        for size in at.sizes:
            if size <= 100_000:
                yield from _at_size(size, server, Path(folder) / str(size))


def _at_size(size: int, server: PostgresServer, folder: Path) -> Rows:
    subject = f"vector engine, {size:,} vectors"
    vectors, queries = clustered(size)
    queries = queries[:_QUERIES]
    ids = np.arange(size, dtype=np.int64) + 1
    local = _local(vectors, ids, folder / "dense")
    rows = _rows(ids, vectors)
    keys = rows["key"].to_numpy()
    exact_max = _FLAT_MAX + _CHANGED  # so that the change is not what makes an index necessary
    with closing(PostgresEngine(server.url, exact_max=exact_max, workers=1)) as engine:
        one = Pin(f"repo-{size}", f"{size}-1", _CONTRACT, State.of(keys))
        started = time.perf_counter()
        engine.publish(one, None, None, lambda: iter([rows]))
        published_s = time.perf_counter() - started
        assert not any(engine.verify([one]).values())
        scopes = {"": (Scope(), None), ", scope of 1 %": (Scope(paths=("narrow/**",)), ids[ids % _NARROW == 0])}
        for label, (scope, allowed) in scopes.items():
            truth = [_exact(vectors, ids, query, allowed) for query in queries]

            def here(query: Matrix, allowed: Ids | None = allowed) -> Ids:
                return local.search(query, _CANDIDATES, allowed)[0]

            def there(query: Matrix, scope: Scope = scope, allowed: Ids | None = allowed) -> Ids:
                return engine.search([one], query, _CANDIDATES, scope, Deadline.after(60), allowed).ids

            ours, theirs = _took(here, queries, truth, server), _took(there, queries, truth, server)
            yield ours.row(subject, f"local files{label}")
            peer = f"local files {ours.p50_ms:.2f}"
            yield theirs.row(subject, f"PostgreSQL, pgvector{label}", peer, ours.p50_ms / theirs.p50_ms)
        yield Row(subject, "published whole", published_s, "s", note="rows, and the index where there is one")
        random = np.random.default_rng(2)
        fresh = random.normal(size=(_CHANGED, _CONTRACT.dimension)).astype(np.float32)
        fresh /= np.linalg.norm(fresh, axis=1, keepdims=True)
        change = Change((_rows(ids[-1] + 1 + np.arange(_CHANGED), fresh),), keys[:_CHANGED])
        two = Pin(one.repo, f"{size}-2", _CONTRACT, one.state.changed(change.added_keys, change.removed))
        started = time.perf_counter()
        engine.publish(two, one.gen_id, change, lambda: iter(()))
        yield Row(subject, f"published with {_CHANGED} changed", time.perf_counter() - started, "s")


def _local(vectors: Matrix, ids: Ids, folder: Path) -> DenseIndex:
    choice = dense_build.build_primary(vectors, ids, folder, flat_max=_FLAT_MAX, min_recall=0.95)
    nothing = np.empty(0, np.int64)
    dense_build.write_secondary(vectors[:0], nothing, nothing, folder)
    return DenseIndex.open(folder, choice.operating)


def _rows(ids: Ids, vectors: Matrix) -> pa.Table:
    count = len(ids)
    table = pa.table(
        {
            "chunk_id": ids, "text_key": [f"{number:032x}" for number in ids.tolist()],
            "path": [f"{'wide' if number % _NARROW else 'narrow'}/{number}.py" for number in ids.tolist()],
            "language": ["python"] * count, "file_class": ["source"] * count,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )  # fmt: skip
    return table.append_column("key", pa.array(keys_of(table)))


def _exact(vectors: Matrix, ids: Ids, query: Matrix, allowed: Ids | None) -> Ids:
    scores = vectors @ query
    if allowed is not None:
        scores[~np.isin(ids, allowed)] = -2
    found: Ids = ids[np.argsort(-scores)[:_TOP]]
    return found


def _took(search: Search, queries: Matrix, truth: list[Ids], server: PostgresServer) -> _Took:
    for query in queries[:5]:
        search(query)
    cpu, times, shares = _cpu_s(server), [], []
    for query, best in zip(queries, truth, strict=True):
        started = time.perf_counter()
        found = search(query)
        times.append(time.perf_counter() - started)
        shares.append(len(np.intersect1d(found[:_TOP], best)) / len(best))
    spent = _cpu_s(server) - cpu
    return _Took(percentiles(times)[0], 1000 * spent / len(queries), float(np.mean(shares)))


def _cpu_s(server: PostgresServer) -> float:
    """CPU seconds of this process and of the server's."""
    used = [process.cpu_times() for process in server.process.children(recursive=True)]
    return time.process_time() + float(sum(times.user + times.system for times in used))
