"""What each channel does: one function per channel from a request to ranked chunk ids, and the table of them.

A new channel is a function here and a line in `SEARCHES`; its weight is in `blend.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from cachetools import LRUCache

from codeintel_core.analysis import weighted_terms
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder
from codeintel_core.generations.generation import Generation
from codeintel_core.indexes.dense import merge
from codeintel_core.indexes.lexical import LexicalIndex, LexicalSearcher
from codeintel_core.retrieval.channels import DENSE, LEXICAL, SYMBOLS, Search, Skipped
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.retrieval.profile import QueryProfile
from codeintel_core.scope import Scope
from codeintel_core.telemetry import step

_MAX_SYMBOL_REPOSITORIES = 16  # a catalog look-up costs a millisecond each
_MAX_DEFINITIONS = 50


@dataclass(frozen=True, slots=True)
class Request:
    """One query as the channels see it."""

    query: str
    profile: QueryProfile
    generations: Sequence[Generation]
    scope: Scope
    depth: int
    deadline: Deadline
    owners: dict[int, Generation] = field(default_factory=dict)
    """Which generation holds a chunk; every channel fills in what it finds, so that hydration asks only these."""


class Resources:
    """What searches share between requests: the encoder and the Lucene searchers."""

    def __init__(self, encoder: Callable[[], Encoder]) -> None:
        """`encoder` is called on first use and may raise `CodeIntelError`."""
        self.encoder = encoder
        self._searchers: LRUCache[tuple[LexicalIndex, ...], LexicalSearcher] = LRUCache(64)
        self._lock = threading.Lock()

    def searcher(self, indexes: tuple[LexicalIndex, ...]) -> LexicalSearcher:
        """The searcher over these indexes: by the opened ones, since one that was reopened has another reader."""
        with self._lock:
            if indexes not in self._searchers:
                self._searchers[indexes] = LexicalSearcher(indexes)
            return self._searchers[indexes]


def dense(request: Request, resources: Resources) -> Search | Skipped:
    """Cosine of the query's vector with every chunk's."""

    def search() -> Ranked:
        with step("embed.query"):
            encoder = resources.encoder()
            vector = encoder.encode_query(request.query)
        ids, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for generation in request.generations:
            request.deadline.check("dense search")
            if encoder.contract != generation.manifest.contract:
                encoder.contract.require_same(generation.manifest.contract, f"generation {generation.manifest.gen_id}")
            allowed = generation.catalog.allowed_ids(request.scope)
            found = generation.dense.search(vector, request.depth, allowed)
            request.owners.update(dict.fromkeys(found[0].tolist(), generation))
            ids.append(found[0])
            scores.append(found[1])
        return merge(np.concatenate(ids), np.concatenate(scores), request.depth)

    return search


def lexical(request: Request, resources: Resources) -> Search | Skipped:
    """BM25 over code-aware terms, with statistics common to all repositories."""
    usable = [generation for generation in request.generations if generation.lexical is not None]
    if not usable:
        return Skipped(request.generations[0].lexical_error)

    def search() -> Ranked:
        terms = list(dict(weighted_terms(request.query)).items())
        searcher = resources.searcher(tuple(g.lexical for g in usable if g.lexical is not None))
        ids, scores, owners = searcher.search_owned(terms, request.depth, request.scope, request.deadline)
        request.owners.update(
            {chunk_id: usable[at] for chunk_id, at in zip(ids.tolist(), owners.tolist(), strict=True)}
        )
        return ids, scores

    return search


def symbols(request: Request, resources: Resources) -> Search | Skipped:  # noqa: ARG001 (one shape for all)
    """Definitions of the asked names, from the symbols table: exact, whatever the other channels think of them."""
    names = request.profile.names
    if not names:
        return Skipped("no identifier asked")
    if len(request.generations) > _MAX_SYMBOL_REPOSITORIES:
        return Skipped(f"more than {_MAX_SYMBOL_REPOSITORIES} repositories")

    def search() -> Ranked:
        best: dict[int, float] = {}
        for generation in request.generations:
            request.deadline.check("symbol look-up")
            for chunk_id, name, symbol in generation.catalog.definitions(list(names), request.scope, _MAX_DEFINITIONS):
                score = max(names.get(name, 0.0), names.get(symbol, 0.0))
                best[chunk_id] = max(score, best.get(chunk_id, 0.0))
                request.owners[chunk_id] = generation
        return merge(np.array(list(best), np.int64), np.array(list(best.values()), np.float32), _MAX_DEFINITIONS)

    return search


SEARCHES: dict[str, Callable[[Request, Resources], Search | Skipped]] = {
    DENSE: dense,
    LEXICAL: lexical,
    SYMBOLS: symbols,
}
"""Every channel's search by name."""
