"""Replay: the question of a runpack asked again of the generations it was answered from, and the hits compared."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from codeintel_core.deadline import Deadline
from codeintel_core.errors import InvalidRequest, UnknownGeneration
from codeintel_core.generations.generation import Generation
from codeintel_core.home import Home
from codeintel_core.retrieval import tuning as tunings
from codeintel_core.retrieval.channels import CHANNELS, EXACT, REGEX, SYMBOLS
from codeintel_core.retrieval.engine import Ranking, SearchEngine
from codeintel_core.retrieval.modes import Mode
from codeintel_core.settings import Settings
from codeintel_serving.encoder import LazyEncoder, query_encoder, sparse_query_encoder
from codeintel_serving.models import ScopeModel

_BUDGET_MS = 60_000
_SHOWN = 10
_BY_QUERY = frozenset({SYMBOLS, EXACT, REGEX})
"""Channels that the query itself switches on or off: what it skipped once, it skips again."""


@dataclass(frozen=True, slots=True)
class Replay:
    """How the hits of the replay compare with those of the record, by chunk id."""

    run_id: str
    query: str
    generations: list[str]
    recorded: list[int]
    found: list[int]
    is_reranked: bool
    """Then the recorded order is the reranker's, and only the set is compared."""
    without: list[str]
    """Channels left out, because they did not complete in the record."""

    @property
    def missing(self) -> list[int]:
        """Recorded hits that the replay does not have."""
        return [chunk_id for chunk_id in self.recorded if chunk_id not in self.found]

    @property
    def is_same(self) -> bool:
        """Whether the same hits came, in the same order unless reranked."""
        return not self.missing if self.is_reranked else self.recorded == self.found[: len(self.recorded)]

    @property
    def text(self) -> str:
        """A few lines for people."""
        said = "the same hits" if self.is_same else f"DIFFERENT: {len(self.missing)} of {len(self.recorded)} missing"
        if not self.is_same and not self.missing:
            said = "DIFFERENT: the same hits in another order"
        lines = [f"run {self.run_id}: {said}", f"  hits         {len(self.recorded)}"]
        lines += [f"  generation   {gen_id}" for gen_id in self.generations]
        lines += [f"  left out     {name}: it did not complete then" for name in self.without]
        return "\n".join(lines + [f"  missing      chunk {chunk_id}" for chunk_id in self.missing[:_SHOWN]])

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "missing": self.missing, "is_same": self.is_same}


def replay(home: Home, settings: Settings, parts: Mapping[str, Any]) -> Replay:
    """Search again what a runpack recorded; budgets are wide, so that load does not change the result.

    Raises:
        InvalidRequest: the run did not come to a search, or its query was not kept.
        UnknownGeneration, UnknownTuning, TuningRefused: what it was answered with is not kept any more, or damaged.
    """
    row = parts.get("trace.json") or {}
    if not row.get("generations"):
        raise InvalidRequest("this run did not come to a search: there is nothing to replay")
    if not row.get("query"):
        raise InvalidRequest("the query was not kept: CODEINTEL_TRACE_QUERIES was off when it was asked")
    report = parts["report.json"]
    without = _left_out(report["channels"])
    is_reranked = report["coverage"]["rerank"]["state"] == "ran"
    recorded = [int(candidate["chunk_id"]) for candidate in row["candidates"]]
    steps = {step["kind"]: step["attributes"] for step in report.get("steps", [])}
    limit = max(len(recorded), steps["rerank"]["candidates"] if is_reranked else 1)
    per_file = (steps.get("rank.select") or steps.get("cache.results") or {}).get("per_file") or None
    tuned = tunings.tuned(home, row.get("tuning_id") or "")
    wide = settings.model_copy(update={"retrieval_budget_ms": _BUDGET_MS})
    scope = ScopeModel.model_validate_json(row["scope"]).as_scope()
    ranking = Ranking(without_channels=frozenset(without))
    sparse = LazyEncoder(lambda: sparse_query_encoder(wide)) if wide.has_sparse else None
    encoder = LazyEncoder(lambda: query_encoder(wide))
    with closing(SearchEngine(wide, encoder, ranking, sparse, lambda: tuned)) as engine:
        generations = [_opened(home, wide, wanted) for wanted in row["generations"]]
        try:
            found = engine.search(
                row["query"], generations, scope=scope, limit=limit, mode=Mode(row["mode"]),
                deadline=Deadline.after(_BUDGET_MS / 1000), per_file=per_file,
            )  # fmt: skip
        finally:
            for generation in generations:
                generation.release()
                generation.retire()
    return Replay(
        run_id=row["run_id"],
        query=row["query"],
        generations=[wanted["gen_id"] for wanted in row["generations"]],
        recorded=recorded,
        found=[hit.chunk.chunk_id for hit in found.hits],
        is_reranked=is_reranked,
        without=without,
    )


def _left_out(channels: Mapping[str, Any]) -> list[str]:
    statuses = {name: channels.get(name, {}).get("status", "completed") for name in CHANNELS}
    return [n for n, s in statuses.items() if s != "completed" and not (s == "skipped" and n in _BY_QUERY)]


def _opened(home: Home, settings: Settings, wanted: Mapping[str, str]) -> Generation:
    repository = home.repository(wanted["repo"])
    folder = repository.generation(wanted["gen_id"])
    if not folder.is_dir():
        raise UnknownGeneration(
            f"generation {wanted['gen_id']} of '{wanted['repo']}' is not kept any more; pin what you want to replay"
        )
    generation = Generation.open(folder, repository.mirror, verify=settings.verify_digests)
    generation.acquire()
    return generation
