"""Searches before anybody asks: until the JVM has compiled what a search runs, each costs two to three times more."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from codeintel_core.analysis import weighted_terms
from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.generations.generation import Generation
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.scope import Scope

_SEARCHES = 200  # a JVM that compiles sooner (see `jvm.py`) is done with them; 600 change nothing more
_MAX_TERMS = 12  # as a question has


def rehearse(generation: Generation, candidates: int, deadline: Deadline) -> int:
    """Search a generation for what its own chunks say of themselves; returns how often, less when time is over.

    Of 160 questions after it, the first 60 took half of the CPU for their lexical search, the others four fifths.
    """
    if generation.lexical is None:
        return 0
    searcher = LexicalSearcher([generation.lexical])
    done = 0
    for query in islice(cycle(_queries(generation, generation.lexical.chunk_ids)), _SEARCHES):
        try:
            found, _ = searcher.search(weighted_terms(query)[:_MAX_TERMS], candidates, Scope(), deadline)
        except DeadlineExceeded:
            break
        generation.catalog.places(found.tolist(), Scope())  # kept; what one search finds, others find too
        done += 1
    return done


def _queries(generation: Generation, chunk_ids: NDArray[np.int64]) -> list[str]:
    """First lines of chunks from all over the index, in a fixed order."""
    some = chunk_ids[np.linspace(0, len(chunk_ids) - 1, min(len(chunk_ids), _SEARCHES)).astype(np.int64)]
    chunks = generation.catalog.hydrate(some.tolist(), Scope())
    return [f"{chunk.name} {chunk.signature or chunk.text[:80]}" for chunk in chunks.values()]
