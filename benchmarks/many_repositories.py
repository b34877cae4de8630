"""One query over 200 small repositories, in process: p50 and p95 against the goal of 150 ms at the median.

Usage: python -m benchmarks.many_repositories [REPOSITORIES]. The repositories are slices of this project's own files,
their vectors are stand-ins (how long a search takes does not depend on what they mean), the queries are embedded by
the real model.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from codeintel_core.embedding.contract import Matrix
from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.scope import Scope
from codeintel_core.settings import get_settings
from codeintel_pipelines.evaluation.sets import Document
from codeintel_pipelines.evaluation.throwaway import indexed

_GOAL_MS = 150
_FILES_EACH = 4
_QUERIES = (
    "how is a generation published atomically", "where are torn lines of the ledger handled", "glob_to_regex",
    "what does `ChannelPools` do when a channel hangs", "GenerationCorrupt: manifest.json is damaged",
    "codeintel_core/scope.py", "how are chunks embedded", "retry when the parent changed", "parse the shebang",
    "which files are skipped",
)  # fmt: skip
_ROUNDS = 5


class StandIn:
    """Random unit vectors for documents, real ones for queries."""

    def __init__(self, model: LocalEncoder) -> None:
        self._model = model
        self._random = np.random.default_rng(0)
        self.contract = dataclasses.replace(model.contract, revision="stand-in")

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        vectors = self._random.normal(size=(len(texts), self.contract.dimension)).astype(np.float32)
        unit: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def encode_query(self, text: str) -> Matrix:
        return self._model.encode_query(text)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._model.count_tokens(texts)


def main() -> int:
    """Print the latencies; 1 when the median misses the goal."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    mine = get_settings()
    encoder = StandIn(LocalEncoder(Home(mine.home).models, mine.embedding_precision))
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        settings = mine.model_copy(update={"retrieval_budget_ms": 60_000, "home": Path(home)})
        index = stack.enter_context(indexed(_documents(count), encoder, settings))
        generations = list(index.generations.values())
        engine = SearchEngine(settings, lambda: encoder)
        for query in _QUERIES:  # warm
            engine.search(query, generations, scope=Scope(), limit=10)
        taken = []
        for _ in range(_ROUNDS):
            for query in _QUERIES:
                started = time.perf_counter()
                found = engine.search(query, generations, scope=Scope(), limit=10)
                taken.append((time.perf_counter() - started) * 1000)
                assert found.hits
                assert not found.degraded
        engine.close()
    median, slow = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
    print(f"{len(generations)} repositories, {len(index.document_of)} chunks: p50 {median:.1f} ms, p95 {slow:.1f} ms")
    print(f"goal: p50 <= {_GOAL_MS} ms: {'holds' if median <= _GOAL_MS else 'MISSED'}")
    return 0 if median <= _GOAL_MS else 1


def _documents(count: int) -> list[Document]:
    files = sorted((Path(__file__).parent.parent / "codeintel_core").rglob("*.py"))
    texts = [(file.name, file.read_text()) for file in files if file.stat().st_size > 500]
    return [
        Document(f"{repo}:{at}", texts[(repo * 7 + at) % len(texts)][1] + f"\n# {repo}\n", f"r{repo}",
                 f"src/{texts[(repo * 7 + at) % len(texts)][0]}")
        for repo in range(count)
        for at in range(_FILES_EACH)
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
