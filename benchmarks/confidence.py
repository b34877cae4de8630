"""Calibrate confidence: fit the logistic models, test each on the sets it was not fitted on, print the table.

Usage: python -m benchmarks.confidence [FOLDER] (the sets as in `benchmarks.quality`)

An example is a question that would be answered: the signals of its first citation, and whether that is relevant.
Printed: Brier score and expected calibration error (ten bins of equal width) of every set when it is left out, beside
the Brier score of always saying what share is relevant in the others; a reliability table of all left-out predictions;
and the fitted table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.retrieval.modes import Mode
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings, get_settings
from codeintel_pipelines.evaluation import sets
from codeintel_pipelines.evaluation.harness import RememberingEncoder
from codeintel_pipelines.evaluation.sets import EvaluationSet
from codeintel_pipelines.evaluation.throwaway import Index, indexed
from codeintel_serving.answer import calibration, citations, confidence
from codeintel_serving.answer.signals import SIGNALS, signals
from codeintel_serving.models import AnswerRequest

_ROOT = Path(__file__).parent.parent
_SETS = ("cosqa-retrieval-dev", "ctx-codebase-chunks", "repo-queries")
_MODES = {calibration.HYBRID: Mode.HYBRID, calibration.LEXICAL: Mode.LEXICAL, calibration.DENSE: Mode.SEMANTIC}
_BINS = 10
_RIDGE = 1.0
_STEPS, _RATE = 10_000, 0.5
_REQUEST = AnswerRequest(question="defaults")

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Examples:
    """Signals (examples x signals) and whether the first citation is relevant (0 or 1)."""

    x: Values
    y: Values


def main() -> int:
    """Print every table; 1 when a set is missing, since the table is of all of them."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CODEINTEL_EVAL_DATA", _ROOT / "../shared/data"))
    clones = Path(os.environ.get("CODEINTEL_EVAL_CLONES", _ROOT / "../.mirror"))
    settings = get_settings()
    encoder = RememberingEncoder(LocalEncoder(Home(settings.home).models, settings.embedding_precision))
    found: dict[str, dict[str, Examples]] = {name: {} for name in _MODES}
    for name in _SETS:
        if not (data / name).is_dir():
            print(f"{data / name} is not on disk")
            return 1
        loaded = sets.load(data / name, clones=clones)
        with indexed(loaded.documents, encoder, settings) as index:
            for way, mode in _MODES.items():
                found[way][name] = examples(loaded, index, encoder, settings, mode)
    for way, by_set in found.items():
        _report(way, by_set)
    print("\nTABLE = {")
    for way, by_set in found.items():
        print(f"    {way.upper()}: {fit(list(by_set.values()))!r},")
    print("}")
    return 0


def examples(
    data: EvaluationSet, index: Index, encoder: RememberingEncoder, settings: Settings, mode: Mode
) -> Examples:
    """What the answer pipeline would say first to every question that it would answer."""
    engine = SearchEngine(settings.model_copy(update={"retrieval_budget_ms": 60_000}), lambda: encoder)
    rows: list[tuple[list[float], float]] = []
    try:
        for query in data.queries:
            generations = [index.generations[query.repo]] if query.repo else list(index.generations.values())
            hits = engine.search(query.text, generations, scope=Scope(), limit=_REQUEST.top_k, mode=mode).hits
            cited = citations.choose(query.text, hits, _REQUEST.max_citations) if hits else []
            if confidence.is_weak(query.text, hits) or not cited:
                continue
            first = cited[0]
            seen = signals(query.text, hits, first)
            is_relevant = index.document_of[first.chunk.chunk_id] in data.qrels[query.query_id]
            rows.append(([seen[name] for name in SIGNALS], float(is_relevant)))
    finally:
        engine.close()
    return Examples(np.array([x for x, _ in rows]), np.array([y for _, y in rows]))


def fit(parts: Sequence[Examples]) -> calibration.Calibration:
    """Logistic regression with weights >= 0 (projected gradient descent, ridge 1), each set counting as much.

    Sets differ in size and in how hard they are; weighed equally, none decides what a probability means.
    """
    x, y = np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])
    share = np.concatenate([np.full(len(part.y), 1 / len(part.y) / len(parts)) for part in parts])
    means, spread = share @ x, np.sqrt(share @ (x - share @ x) ** 2)
    scaled = np.where(spread > 0, (x - means) / np.where(spread > 0, spread, 1), 0.0)
    weights, base = np.zeros(x.shape[1]), 0.0
    for _ in range(_STEPS):
        off = share * (_sigmoid(scaled @ weights + base) - y)
        weights = np.maximum(0.0, weights - _RATE * (off @ scaled + _RIDGE * weights / len(y)))
        base -= _RATE * float(off.sum())
    plain = np.divide(weights, spread, out=np.zeros_like(weights), where=spread > 0)
    kept = [(name, at) for at, name in enumerate(SIGNALS) if plain[at] > 0]
    return calibration.Calibration(
        {name: round(float(plain[at]), 3) for name, at in kept},
        {name: round(float(means[at]), 3) for name, at in kept},
        round(base, 3),
    )


def predict(model: calibration.Calibration, x: Values) -> Values:
    """Probability of each row."""
    return np.array([model.probability(dict(zip(SIGNALS, row, strict=True))) for row in x.tolist()])


def calibration_error(p: Values, y: Values) -> float:
    """Expected calibration error (Naeini et al., 2015): |mean prediction - share that is relevant|, by bin."""
    return float(sum(len(at) / len(y) * abs(p[at].mean() - y[at].mean()) for _, at in _bins(p)))


def _report(way: str, by_set: Mapping[str, Examples]) -> None:
    print(f"\n## {way}: each set predicted by a model of the others\n")
    print("| set | answered | relevant | Brier | of the others' share | ECE |\n|---|---|---|---|---|---|")
    predicted, shares, truth = [], [], []
    for name, left_out in by_set.items():
        others = [part for other, part in by_set.items() if other != name]
        p, y = predict(fit(others), left_out.x), left_out.y
        predicted.append(p)
        shares.append(np.full(len(y), np.mean([part.y.mean() for part in others])))
        truth.append(y)
        _row(name, p, shares[-1], y)
    p, y = np.concatenate(predicted), np.concatenate(truth)
    _row("all", p, np.concatenate(shares), y)
    print("\n| said | questions | mean said | relevant |\n|---|---|---|---|")
    for low, at in _bins(p):
        print(f"| {low:.1f} to {low + 1 / _BINS:.1f} | {len(at)} | {p[at].mean():.2f} | {y[at].mean():.2f} |")


def _row(name: str, p: Values, share: Values, y: Values) -> None:
    brier, constant = float(np.mean((p - y) ** 2)), float(np.mean((share - y) ** 2))
    print(f"| {name} | {len(y)} | {y.mean():.3f} | {brier:.3f} | {constant:.3f} | {calibration_error(p, y):.3f} |")


def _bins(p: Values) -> Iterator[tuple[float, NDArray[np.int64]]]:
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    for number in range(_BINS):
        at = np.flatnonzero(bins == number)
        if len(at):
            yield number / _BINS, at


def _sigmoid(x: Values) -> Values:
    found: Values = 1 / (1 + np.exp(-x))
    return found


if __name__ == "__main__":
    sys.exit(main())
