"""Which symbols of a repository matter: PageRank over files that use each other's names.

Page et al., "The PageRank Citation Ranking" (1999), personalised; a file's rank flows to the definitions of the names
that it uses, shared among them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codeintel_core.symbol_table import SymbolRow

_DAMPING = 0.85
_ROUNDS = 30
_MINOR = 0.1
MOST_DEFINITIONS = 8
"""A name that more places define says nothing about any of them."""


@dataclass(frozen=True, slots=True)
class RankedSymbol:
    """A definition and how much of the repository leads to it."""

    symbol: SymbolRow
    score: float  # the scores of all add up to at most 1
    references: int  # lines of other files that use its name


def rank(
    definitions: Sequence[SymbolRow], uses: Sequence[tuple[str, str, int]], *,
    focus: Mapping[str, float] | None = None, minor: Container[str] = (),
) -> list[RankedSymbol]:  # fmt: skip
    """All definitions, the most important first; equal ones by path and line.

    Args:
        definitions: of one repository.
        uses: (path, name, lines) as `SymbolTable.uses` gives them.
        focus: weight of files where rank starts; everywhere alike when empty.
        minor: files whose definitions are seldom meant: tests, examples, generated code.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for i, definition in enumerate(definitions):
        places[definition.name].append(i)
    paths = sorted({d.path for d in definitions} | {path for path, _, _ in uses})
    number = {path: i for i, path in enumerate(paths)}
    sources, targets, weights, symbols = [], [], [], []
    references = np.zeros(len(definitions), np.int64)
    for path, name, lines in uses:
        defined = [i for i in places.get(name, ()) if definitions[i].path != path]
        if not defined or len(places[name]) > MOST_DEFINITIONS:
            continue
        for i in defined:
            sources.append(number[path])
            targets.append(number[definitions[i].path])
            # Many uses in one file are not as many votes; a field's name is mostly another thing's too.
            worth = _MINOR if definitions[i].path in minor or definitions[i].kind == "field" else 1.0
            weights.append(worth * lines**0.5 / len(defined))
            symbols.append(i)
            references[i] += lines
    scores = _scores(len(paths), len(definitions), sources, targets, weights, symbols, _start(paths, focus or {}))
    ranked = [
        RankedSymbol(d, float(s), int(r)) for d, s, r in zip(definitions, scores, references.tolist(), strict=True)
    ]
    return sorted(ranked, key=lambda r: (-round(r.score, 12), r.symbol.path, r.symbol.start_line, r.symbol.symbol))


def _start(paths: Sequence[str], focus: Mapping[str, float]) -> NDArray[np.float64]:
    start = np.array([focus.get(path, 0.0) for path in paths], np.float64)
    if not start.any():
        start = np.ones(len(paths), np.float64)
    return start / start.sum() if paths else start


def _scores(
    files: int, definitions: int, sources: Sequence[int], targets: Sequence[int], weights: Sequence[float],
    symbols: Sequence[int], start: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """Score of each definition: what flows to it in the last round."""
    if not sources:
        return np.zeros(definitions, np.float64)
    source, target = np.asarray(sources), np.asarray(targets)
    weight = np.asarray(weights, np.float64)
    out = np.bincount(source, weight, files)
    share = weight / out[source]
    ranks = start
    for _ in range(_ROUNDS):
        flowing = np.bincount(target, ranks[source] * share, files)
        lost = 1.0 - flowing.sum()  # of files that use nothing
        ranks = (1 - _DAMPING) * start + _DAMPING * (flowing + lost * start)
    return np.asarray(np.bincount(np.asarray(symbols), ranks[source] * share, definitions), np.float64)
