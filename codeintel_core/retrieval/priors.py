"""Priors: what is known about a chunk apart from its scores — its symbol, its path, its file's class and company.

Each prior is one function that says by how much it changes each chunk's score, given the scores so far. `PRIORS` is
the table, in the order they are applied; `--explain` shows each one's part, and an evaluation can leave any out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from codeintel_core.analysis import query_terms, word_parts
from codeintel_core.catalog import ChunkPlace, ChunkRow
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
    chunks: Mapping[int, ChunkPlace | ChunkRow]
    """Those of `scores`, in its order."""
    files: Mapping[tuple[str, str], Sequence[int]]
    """Repository and path -> its chunks among them."""
    scores: Mapping[int, float]


Effect = Callable[[Pool], Mapping[int, float]]
"""Change of the score by chunk id; chunks that are left out keep theirs."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores after all priors, and what each prior added to each chunk (only what is not 0)."""

    scores: dict[int, float]
    effects: dict[int, dict[str, float]]


def apply(
    query: str,
    fused: Mapping[int, float],
    chunks: Mapping[int, ChunkPlace | ChunkRow],
    without: Collection[str] = (),
) -> Scored:
    """Apply every prior of `PRIORS` but those named in `without` to the chunks that were hydrated."""
    words = frozenset(query_terms(query))
    names: dict[str, float] = {}
    for name, strength in asked_names(query).items():
        names[name.lower()] = max(strength, names.get(name.lower(), 0.0))
    scores = {chunk_id: score for chunk_id, score in fused.items() if chunk_id in chunks}
    chunks = {chunk_id: chunks[chunk_id] for chunk_id in scores}
    files: dict[tuple[str, str], list[int]] = {}
    for chunk_id, chunk in chunks.items():
        files.setdefault((chunk.repo, chunk.path), []).append(chunk_id)
    effects: dict[int, dict[str, float]] = {chunk_id: {} for chunk_id in scores}
    for name, effect in PRIORS.items():
        if name in without:
            continue
        for chunk_id, change in effect(Pool(words, names, chunks, files, scores)).items():
            if change:
                scores[chunk_id] += change
                effects[chunk_id][name] = change
    return Scored(scores, effects)


def ordered(scored: Mapping[int, float]) -> list[int]:
    """Chunk ids by falling score; ties by id, so that the order is the same every time."""
    return sorted(sorted(scored), key=scored.__getitem__, reverse=True)  # stable: ids break ties


def defines(pool: Pool) -> dict[int, float]:
    """The chunk that defines an asked name goes up; half as much when the name stands in a sentence."""
    if not (asked := pool.names):
        return {}
    return {
        chunk_id: _DEFINES * max(asked.get(name, 0.0), asked.get(symbol, 0.0))
        for chunk_id, chunk in pool.chunks.items()
        if (name := chunk.name.lower()) and ((symbol := chunk.symbol.lower()) in asked or name in asked)
    }


def path_words(pool: Pool) -> dict[int, float]:
    """Query words in the file's stem, and half as much in its folder."""
    if not pool.words:
        return {}
    return {
        chunk_id: bonus
        for (_, path), ids in pool.files.items()
        if (bonus := _STEM_MATCH * _path_overlap(path, pool.words))
        for chunk_id in ids
    }


def file_class(pool: Pool) -> dict[int, float]:
    """Tests, examples, documents, generated and vendored files go down."""
    return {
        chunk_id: (_CLASS_FACTOR[chunk.file_class] - 1) * pool.scores[chunk_id]
        for chunk_id, chunk in pool.chunks.items()
        if chunk.file_class in _CLASS_FACTOR
    }


def shim(pool: Pool) -> dict[int, float]:
    """Files that only pass on what others define go down: facades, stubs, compatibility and legacy code."""
    return {
        chunk_id: (_SHIM_FACTOR - 1) * pool.scores[chunk_id]
        for (_, path), ids in pool.files.items()
        if _is_shim(path)
        for chunk_id in ids
    }


def coherence(pool: Pool) -> dict[int, float]:
    """A file with several good chunks is more likely the right place than one with a single hit."""
    totals = [sum(map(pool.scores.__getitem__, ids)) for ids in pool.files.values()]
    top = max(totals, default=0.0)
    if top <= 0:
        return {}
    return {
        chunk_id: _COHERENCE * total / top
        for ids, total in zip(pool.files.values(), totals, strict=True)
        for chunk_id in ids
    }


def decay(pool: Pool) -> dict[int, float]:
    """Each further chunk of a file counts less, so that other files get a place."""
    return {
        chunk_id: (_DECAY**before - 1) * pool.scores[chunk_id]
        for ids in pool.files.values()
        if len(ids) > 1
        for before, chunk_id in enumerate(sorted(sorted(ids), key=pool.scores.__getitem__, reverse=True))
        if before
    }


PRIORS: dict[str, Effect] = {
    "defines": defines,
    "path_words": path_words,
    "file_class": file_class,
    "shim": shim,
    "coherence": coherence,
    "decay": decay,
}
"""Every prior by name, in the order they are applied. A new prior is a function above and a line here."""


@lru_cache(65_536)
def _is_shim(path: str) -> bool:
    return path.rsplit("/", 1)[-1] in _FACADES or _SHIM.search(path) is not None


@lru_cache(65_536)
def _parts(path: str) -> tuple[frozenset[str], frozenset[str]]:
    """Words of a file's stem and of its folder's name."""
    folder, _, file = path.rpartition("/")
    return word_parts(file.split(".")[0]), word_parts(folder.rpartition("/")[2])


def _path_overlap(path: str, words: frozenset[str]) -> float:
    stem, nearest = _parts(path)
    if words.isdisjoint(stem) and words.isdisjoint(nearest):
        return 0.0
    found = len(stem & words) / max(1, len(stem)) + _FOLDER_SHARE * len(nearest & words) / max(1, len(nearest))
    return min(1.0, found)
