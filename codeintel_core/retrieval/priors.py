"""Priors: what is known about a chunk apart from its scores — its symbol, its path, its file's class and company.

Each prior is one function that says by how much it changes each chunk's score, given the scores so far. `PRIORS` is
the table, in the order they are applied; `--explain` shows each one's part, and an evaluation can leave any out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


Values = NDArray[np.float64]
Chunk = ChunkPlace | ChunkRow


class File(NamedTuple):
    """What the chunks of a file share."""

    repo: str
    path: str
    file_class: str


_file_of = attrgetter(*File._fields)


@dataclass(slots=True)
class Pool:
    """The N candidates of one query, which lie in F files, and their scores before a prior."""

    words: frozenset[str]
    """Stemmed words of the query without stop words."""
    names: Mapping[str, float]
    """Asked names in lower case with their strength (see `profile.asked_names`)."""
    chunks: Sequence[Chunk]
    ids: NDArray[np.int64]
    """(N,)"""
    files: Sequence[File]
    file_of: NDArray[np.intp]
    """(N,) which of `files` each chunk is in."""
    scores: Values
    """(N,)"""

    def by_file(self, value: Callable[[File], float]) -> Values:
        """(N,) a value of each chunk's file, asked once for each file."""
        found: Values = np.fromiter(map(value, self.files), np.float64, len(self.files))[self.file_of]
        return found


Effect = Callable[[Pool], Values | None]
"""Change of each chunk's score: (N,), or None when it changes none."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores after all priors, and by how much each prior changed them."""

    scores: dict[int, float]
    changes: Mapping[str, Values]
    """By prior, in the order of `scores`."""

    def effects(self, chunk_ids: Collection[int]) -> dict[int, dict[str, float]]:
        """What each prior added to these chunks (only what is not 0)."""
        return {
            chunk_id: {name: float(change[at]) for name, change in self.changes.items() if change[at]}
            for at, chunk_id in enumerate(self.scores)
            if chunk_id in chunk_ids
        }


def apply(query: str, fused: Mapping[int, float], chunks: Mapping[int, Chunk], without: Collection[str] = ()) -> Scored:
    """Apply every prior of `PRIORS` but those named in `without` to the chunks that were hydrated."""
    names: dict[str, float] = {}
    for name, strength in asked_names(query).items():
        names[name.lower()] = max(strength, names.get(name.lower(), 0.0))
    ids = [chunk_id for chunk_id in fused if chunk_id in chunks]
    found = [chunks[chunk_id] for chunk_id in ids]
    number: dict[tuple[str, str, str], int] = {}
    file_of = np.array([number.setdefault(_file_of(chunk), len(number)) for chunk in found], np.intp)
    files, scores = [*map(File._make, number)], np.array([fused[chunk_id] for chunk_id in ids], np.float64)
    pool = Pool(frozenset(query_terms(query)), names, found, np.array(ids, np.int64), files, file_of, scores)
    changes: dict[str, Values] = {}
    for name, effect in PRIORS.items():
        if name not in without and (change := effect(pool)) is not None:
            changes[name] = change
            pool.scores = pool.scores + change
    return Scored(dict(zip(ids, pool.scores.tolist(), strict=True)), changes)


def ordered(scored: Mapping[int, float]) -> list[int]:
    """Chunk ids by falling score; ties by id, so that the order is the same every time."""
    return sorted(sorted(scored), key=scored.__getitem__, reverse=True)  # stable: ids break ties


def defines(pool: Pool) -> Values | None:
    """The chunk that defines an asked name goes up; half as much when the name stands in a sentence."""
    if not (asked := pool.names):
        return None
    strength = [
        max(asked.get(chunk.name.lower(), 0.0), asked.get(chunk.symbol.lower(), 0.0)) if chunk.name else 0.0
        for chunk in pool.chunks
    ]
    return _DEFINES * np.array(strength, np.float64)


def path_words(pool: Pool) -> Values | None:
    """Query words in the file's stem, and half as much in its folder."""
    return _STEM_MATCH * pool.by_file(lambda file: _path_overlap(file.path, pool.words)) if pool.words else None


def file_class(pool: Pool) -> Values:
    """Tests, examples, documents, generated and vendored files go down."""
    return pool.by_file(lambda file: _CLASS_FACTOR.get(file.file_class, 1.0) - 1) * pool.scores


def shim(pool: Pool) -> Values:
    """Files that only pass on what others define go down: facades, stubs, compatibility and legacy code."""
    return pool.by_file(lambda file: _SHIM_FACTOR - 1 if _is_shim(file.path) else 0.0) * pool.scores


def coherence(pool: Pool) -> Values | None:
    """A file with several good chunks is more likely the right place than one with a single hit."""
    totals = np.bincount(pool.file_of, pool.scores)
    top = totals.max(initial=0.0)
    return (_COHERENCE * totals / top)[pool.file_of] if top > 0 else None


def decay(pool: Pool) -> Values:
    """Each further chunk of a file counts less, so that other files get a place."""
    order = np.lexsort((pool.ids, -pool.scores, pool.file_of))
    counts = np.bincount(pool.file_of)
    before = np.empty_like(order)
    before[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    lost = np.array([_DECAY**rank - 1 for rank in range(counts.max(initial=0))], np.float64)
    return lost[before] * pool.scores


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
def _parts(path: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Words of a file's stem, of its folder's name, and of both."""
    folder, _, file = path.rpartition("/")
    stem, nearest = word_parts(file.split(".")[0]), word_parts(folder.rpartition("/")[2])
    return stem, nearest, stem | nearest


def _path_overlap(path: str, words: frozenset[str]) -> float:
    stem, nearest, both = _parts(path)
    if words.isdisjoint(both):  # nearly always
        return 0.0
    found = len(stem & words) / max(1, len(stem)) + _FOLDER_SHARE * len(nearest & words) / max(1, len(nearest))
    return min(1.0, found)
