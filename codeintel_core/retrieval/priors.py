"""Priors: what is known about a chunk apart from its scores — its symbol, its path, its file's class and company.

Each prior is one function that says by how much it changes each chunk's score, given the scores so far. `PRIORS` is
the table, in the order they are applied; `--explain` shows each one's part, and an evaluation can leave any out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from codeintel_core.analysis import query_terms, word_parts
from codeintel_core.catalog import ChunkRow
from codeintel_core.retrieval.profile import asked_names

_DEFINES = 0.25
_STEM_MATCH = 0.15
_FOLDER_SHARE = 0.5
_COHERENCE = 0.3
_DECAY = 0.85
_CLASS_FACTOR = {
    "docs": 0.8,
    "config": 0.8,
    "example": 0.7,
    "test": 0.6,
    "generated": 0.5,
    "vendored": 0.5,
    "minified": 0.3,
}
_SHIM_FACTOR = 0.8
_FACADES = frozenset(
    "__init__.py __init__.pyi index.js index.mjs index.ts index.tsx mod.rs package-info.java module-info.java".split()
)
_SHIM = re.compile(r"(?:^|[/_.-])(?:compat|legacy|deprecated|shims?)(?:[/_.-]|$)|\.pyi$|\.d\.ts$", re.I)


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates of one query, and their scores before a prior."""

    words: frozenset[str]
    """Stemmed words of the query without stop words."""
    names: Mapping[str, float]
    """Asked names in lower case with their strength (see `profile.asked_names`)."""
    chunks: Mapping[int, ChunkRow]
    scores: Mapping[int, float]


Effect = Callable[[Pool], Mapping[int, float]]
"""Change of the score by chunk id; chunks that are left out keep theirs."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores after all priors, and what each prior added to each chunk (only what is not 0)."""

    scores: dict[int, float]
    effects: dict[int, dict[str, float]]


def apply(
    query: str, fused: Mapping[int, float], chunks: Mapping[int, ChunkRow], without: Collection[str] = ()
) -> Scored:
    """Apply every prior of `PRIORS` but those named in `without` to the chunks that were hydrated."""
    words = frozenset(query_terms(query))
    names: dict[str, float] = {}
    for name, strength in asked_names(query).items():
        names[name.lower()] = max(strength, names.get(name.lower(), 0.0))
    scores = {chunk_id: score for chunk_id, score in fused.items() if chunk_id in chunks}
    effects: dict[int, dict[str, float]] = {chunk_id: {} for chunk_id in scores}
    for name, effect in PRIORS.items():
        if name in without:
            continue
        for chunk_id, change in effect(Pool(words, names, chunks, scores)).items():
            if change:
                scores[chunk_id] += change
                effects[chunk_id][name] = change
    return Scored(scores, effects)


def ordered(scored: Mapping[int, float]) -> Iterable[int]:
    """Chunk ids by falling score; ties by id, so that the order is the same every time."""
    return sorted(scored, key=lambda chunk_id: (-scored[chunk_id], chunk_id))


def defines(pool: Pool) -> dict[int, float]:
    """The chunk that defines an asked name goes up; half as much when the name stands in a sentence."""
    if not pool.names:
        return {}
    return {
        chunk_id: _DEFINES * max(pool.names.get(chunk.name.lower(), 0.0), pool.names.get(chunk.symbol.lower(), 0.0))
        for chunk_id, chunk in _of(pool)
        if chunk.name
    }


def path_words(pool: Pool) -> dict[int, float]:
    """Query words in the file's stem, and half as much in its folder."""
    bonus: dict[str, float] = {}
    for _, chunk in _of(pool):
        if chunk.path not in bonus:
            bonus[chunk.path] = _STEM_MATCH * _path_overlap(chunk.path, pool.words)
    return {chunk_id: bonus[chunk.path] for chunk_id, chunk in _of(pool)}


def file_class(pool: Pool) -> dict[int, float]:
    """Tests, examples, documents, generated and vendored files go down."""
    return {
        chunk_id: (_CLASS_FACTOR.get(chunk.file_class, 1.0) - 1) * pool.scores[chunk_id]
        for chunk_id, chunk in _of(pool)
    }


def shim(pool: Pool) -> dict[int, float]:
    """Files that only pass on what others define go down: facades, stubs, compatibility and legacy code."""
    return {
        chunk_id: (_SHIM_FACTOR - 1) * pool.scores[chunk_id]
        for chunk_id, chunk in _of(pool)
        if chunk.path.rsplit("/", 1)[-1] in _FACADES or _SHIM.search(chunk.path)
    }


def coherence(pool: Pool) -> dict[int, float]:
    """A file with several good chunks is more likely the right place than one with a single hit."""
    totals: dict[tuple[str, str], float] = {}
    for chunk_id, chunk in _of(pool):
        totals[chunk.repo, chunk.path] = totals.get((chunk.repo, chunk.path), 0.0) + pool.scores[chunk_id]
    top = max(totals.values(), default=0.0)
    if top <= 0:
        return {}
    return {chunk_id: _COHERENCE * totals[chunk.repo, chunk.path] / top for chunk_id, chunk in _of(pool)}


def decay(pool: Pool) -> dict[int, float]:
    """Each further chunk of a file counts less, so that other files get a place."""
    seen: dict[tuple[str, str], int] = {}
    out: dict[int, float] = {}
    for chunk_id in ordered(pool.scores):
        key = (pool.chunks[chunk_id].repo, pool.chunks[chunk_id].path)
        out[chunk_id] = (_DECAY ** seen.get(key, 0) - 1) * pool.scores[chunk_id]
        seen[key] = seen.get(key, 0) + 1
    return out


PRIORS: dict[str, Effect] = {
    "defines": defines,
    "path_words": path_words,
    "file_class": file_class,
    "shim": shim,
    "coherence": coherence,
    "decay": decay,
}
"""Every prior by name, in the order they are applied. A new prior is a function above and a line here."""


def _of(pool: Pool) -> Iterable[tuple[int, ChunkRow]]:
    return ((chunk_id, pool.chunks[chunk_id]) for chunk_id in pool.scores)


def _path_overlap(path: str, words: frozenset[str]) -> float:
    folder, _, file = path.rpartition("/")
    stem, nearest = word_parts(file.split(".")[0]), word_parts(folder.rpartition("/")[2])
    found = len(stem & words) / max(1, len(stem)) + _FOLDER_SHARE * len(nearest & words) / max(1, len(nearest))
    return min(1.0, found)
