"""Whether the tuned numbers of ranking hold on data they were not chosen on: leave one evaluation set out.

Usage: python -m benchmarks.tuning [FOLDER] (sets as in benchmarks.quality). For every number: the value that is best on
the other sets, and what it changes on the set that was left out, against the value in the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.quality import on_disk
from codeintel_core.catalog import ChunkRow
from codeintel_core.embedding.select import encoder_for
from codeintel_core.retrieval import blend, fusion, priors
from codeintel_core.retrieval.budget import budget
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.retrieval.profile import QueryProfile
from codeintel_core.retrieval.selection import select
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings, get_settings
from codeintel_core.telemetry import Status
from codeintel_pipelines.evaluation.metrics import Values, paired, per_query
from codeintel_pipelines.evaluation.sets import EvaluationSet
from codeintel_pipelines.evaluation.throwaway import indexed

NUMBERS: dict[str, tuple[Any, str, tuple[Any, ...]]] = {
    "lexical share per margin": (blend, "_PER_MARGIN", (0.05, 0.1, 0.15)),
    "lexical share per doubt": (blend, "_PER_DOUBT", (0.3, 0.4, 0.5, 0.6, 0.7)),
    "exponent of lexical scores": (fusion, "_EXPONENT", tuple({"lexical": e} for e in (1.0, 1.25, 1.5, 1.75, 2.0))),
    "path_words": (priors, "_STEM_MATCH", (0.1, 0.15, 0.2, 0.25)),
    "folder's part of path_words": (priors, "_FOLDER_SHARE", (0.25, 0.5, 0.75)),
    "coherence": (priors, "_COHERENCE", (0.2, 0.3, 0.4, 0.5)),
    "defines": (priors, "_DEFINES", (0.15, 0.25, 0.35)),
    "decay": (priors, "_DECAY", (0.75, 0.85, 0.95)),
    "shim": (priors, "_SHIM_FACTOR", (0.7, 0.8, 0.9)),
}
"""Name -> module, constant and the values that are tried; one at a time, since they hardly depend on each other."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the channels said to one query, kept so that ranking can be repeated without them."""

    query_id: str
    text: str
    profile: QueryProfile
    channels: dict[str, fusion.Ranked]
    chunks: dict[int, ChunkRow]
    document_of: dict[int, str]


def main() -> int:
    """Print one row per number and set left out."""
    settings = get_settings().model_copy(update={"retrieval_budget_ms": 60_000})
    answered = {data.name: (data, list(_answers(data, settings))) for data in on_disk(sys.argv[1:])}
    if len(answered) < 2:
        print("skipped: fewer than two evaluation sets on disk")
        return 0
    print("| number | in the code | left out | best on the others | nDCG@10 there | change | 95 % interval |")
    print("|---|---|---|---|---|---|---|")
    now = {name: _measure(*one, settings) for name, one in answered.items()}
    for number, (module, constant, values) in NUMBERS.items():
        tried = []
        for value in values:
            with mock.patch.object(module, constant, value):
                tried.append({name: _measure(*one, settings) for name, one in answered.items()})
        for name in answered:
            others = [np.mean([found[other].mean() for other in answered if other != name]) for found in tried]
            best = int(np.argmax(others))
            change = paired(tried[best][name], now[name])
            print(
                f"| {number} | {_shown(getattr(module, constant))} | {name} | {_shown(values[best])} | "
                f"{tried[best][name].mean():.3f} | {change.mean:+.3f} | [{change.low:+.3f}, {change.high:+.3f}] |"
            )
    return 0


def _answers(data: EvaluationSet, settings: Settings) -> Iterator[Answered]:
    encoder = encoder_for(settings, threads=settings.embedding_threads)
    with indexed(data.documents, encoder, settings) as index, _engine(settings, encoder) as engine:
        for query in data.queries:
            generations = [index.generations[query.repo]] if query.repo else list(index.generations.values())
            found = engine.search(query.text, generations, scope=Scope(), limit=10)
            channels = {n: r.ranked for n, r in found.channels.items() if r.status is Status.COMPLETED}
            ids = sorted({i for ranked, _ in channels.values() for i in ranked.tolist()})
            chunks = {i: c for g in generations for i, c in g.catalog.hydrate(ids, Scope()).items()}
            yield Answered(query.query_id, query.text, found.profile, channels, chunks, index.document_of)


@contextmanager
def _engine(settings: Settings, encoder: Any) -> Iterator[SearchEngine]:
    engine = SearchEngine(settings, lambda: encoder)
    try:
        yield engine
    finally:
        engine.close()


def _measure(data: EvaluationSet, answers: list[Answered], settings: Settings) -> Values:
    rankings = {}
    for one in answers:
        plan = budget(one.profile, candidates=settings.candidates, repositories=1, limit=10)
        fused = fusion.by_scores(one.channels, blend.blend(one.profile, one.channels).weights)
        kept = {i: fused[i] for i in priors.ordered(fused)[: plan.hydrated]}
        scores = priors.apply(one.text, kept, one.chunks).scores
        order = [one.chunks[i] for i in priors.ordered(scores)]
        shown = select(order, limit=200, per_file=settings.max_per_file)[0]
        rankings[one.query_id] = list(dict.fromkeys(one.document_of[chunk.chunk_id] for chunk in shown))
    return per_query(rankings, data.qrels)["ndcg@10"]


def _shown(value: Any) -> str:
    return f"{next(iter(value.values())) if isinstance(value, dict) else value:g}"


if __name__ == "__main__":
    sys.exit(main())
