"""What each channel does: one function per channel from a request to ranked chunk ids, and the table of them.

A new channel is a function here and a line in `SEARCHES`; its modes are in `modes.py`, its weight in `blend.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from cachetools import LRUCache

from codeintel_core.analysis import weighted_terms
from codeintel_core.catalog import ChunkRow, Match
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder
from codeintel_core.embedding.sparse.contract import SparseEncoder
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import NOT_CONFIGURED
from codeintel_core.indexes import sparse as sparse_index
from codeintel_core.indexes.dense import merge
from codeintel_core.indexes.lexical import LexicalIndex, LexicalSearcher
from codeintel_core.indexes.sparse import SparseSearcher
from codeintel_core.patterns import Pattern
from codeintel_core.retrieval import elsewhere, feedback
from codeintel_core.retrieval.channels import (
    DENSE,
    EXACT,
    LEXICAL,
    REGEX,
    SPARSE,
    SYMBOLS,
    AtOnce,
    Search,
    Skipped,
    Start,
)
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.retrieval.profile import QueryProfile
from codeintel_core.scope import Scope
from codeintel_core.secrets.redaction import MASK
from codeintel_core.telemetry import step
from codeintel_core.vector_engine.protocol import VectorEngine

_MAX_SYMBOL_REPOSITORIES = 16  # a catalog look-up costs a millisecond each
_MAX_DEFINITIONS = 50
_MAX_MATCHING = 1_000  # chunks of one repository that match a pattern
_OFTEN = 10  # more matches in a chunk count no more
_SCAN_SHARE, _LANE_SHARE = 0.8, 0.4  # of the time left, for a scan that was asked for and for one that only adds
_MOST_NAMED = 20
_MAX_RECORDED = 8  # repositories whose index searches are steps of their own; hundreds would drown the rest


@dataclass(frozen=True, slots=True)
class Request:
    """One query as the channels see it."""

    query: str
    profile: QueryProfile
    generations: Sequence[Generation]
    scope: Scope
    depth: int
    deadline: Deadline
    patterns: Sequence[Pattern] = ()
    """What the exact and regex channels look for (see `modes.patterns_of`)."""
    is_mixed: bool = True
    """Whether several channels answer, so that one that costs much may be left out."""
    notes: list[str] = field(default_factory=list)
    """What a channel left out although it completed, in words."""
    owners: dict[int, Generation] = field(default_factory=dict)
    """Which generation holds a chunk; every channel fills in what it finds, so that hydration asks only these."""


class Resources:
    """What searches share between requests: the encoders, the vector engine and the Lucene searchers."""

    def __init__(
        self,
        encoder: Callable[[], Encoder],
        sparse_encoder: Callable[[], SparseEncoder] | None = None,
        vector_engine: VectorEngine | None = None,
    ) -> None:
        """Encoders are called on first use and may raise `CodeIntelError`; without a sparse one that channel is off."""
        self.vector_engine = vector_engine
        self.encoder = encoder
        self.sparse_encoder = sparse_encoder
        self._searchers: LRUCache[tuple[LexicalIndex, ...], LexicalSearcher] = LRUCache(64)
        self._lock = threading.Lock()

    def searcher(
        self, indexes: tuple[LexicalIndex, ...], kind: type[LexicalSearcher] = LexicalSearcher
    ) -> LexicalSearcher:
        """The searcher over these indexes: by the opened ones, since one that was reopened has another reader."""
        with self._lock:
            if indexes not in self._searchers:
                self._searchers[indexes] = kind(indexes)
                for index in indexes:
                    index.when_closed(self._forget)
            return self._searchers[indexes]

    def _forget(self, closed: LexicalIndex) -> None:
        """Let go of the searchers over an index whose generation is closed."""
        with self._lock:
            for indexes in [indexes for indexes in self._searchers if closed in indexes]:
                del self._searchers[indexes]


def dense(request: Request, resources: Resources) -> Search | Skipped:
    """Cosine of the query's vector with every chunk's."""

    def search() -> Ranked:
        with step("embed.query") as current:
            encoder = resources.encoder()
            current.set(model=encoder.contract.model, remote=encoder.contract.precision == "remote")
            vector = encoder.encode_query(request.query)
        there, here = elsewhere.asked(resources.vector_engine, request, vector, encoder.contract)
        ids, scores = [there[0]], [there[1]]
        is_recorded = len(here) <= _MAX_RECORDED
        until = request.deadline.within(request.deadline.remaining_s * _SCAN_SHARE)
        for at, generation in enumerate(here):
            request.deadline.check("dense search")
            if until.is_over and (at or len(there[0])):  # what there is by now is better than nothing
                request.notes.append(_cut("vectors", here[at:]))
                break
            if encoder.contract != generation.manifest.contract:
                encoder.contract.require_same(generation.manifest.contract, f"generation {generation.manifest.gen_id}")
            allowed = generation.catalog.allowed_ids(request.scope)
            found = generation.dense.search(vector, request.depth, allowed, is_recorded=is_recorded)
            request.owners.update(dict.fromkeys(found[0].tolist(), generation))
            if len(request.generations) == 1:
                return found
            ids.append(found[0])
            scores.append(found[1])
        return merge(np.concatenate(ids), np.concatenate(scores), request.depth)

    return search


def lexical(request: Request, resources: Resources) -> Search | Skipped:
    """BM25 over code-aware terms, with statistics common to all repositories."""
    usable = _with_words(request)
    if not usable:
        return Skipped(request.generations[0].lexical_error)
    return lambda: _by_words(request, resources, dict(weighted_terms(request.query)))


def lexical_feedback(request: Request, resources: Resources, chunks: Sequence[tuple[ChunkRow, float]]) -> Search:
    """The second pass of the lexical channel: RM3 over the best chunks of the first, each with its score."""

    def search() -> Ranked:
        searcher = resources.searcher(tuple(g.lexical for g in _with_words(request) if g.lexical is not None))
        frequencies = partial(searcher.frequencies, deadline=request.deadline)
        terms = feedback.expanded(dict(weighted_terms(request.query)), chunks, frequencies, searcher.count)
        return _by_words(request, resources, terms)

    return search


def _with_words(request: Request) -> list[Generation]:
    return [generation for generation in request.generations if generation.lexical is not None]


def _by_words(request: Request, resources: Resources, terms: Mapping[str, float]) -> Ranked:
    usable = _with_words(request)
    searcher = resources.searcher(tuple(g.lexical for g in usable if g.lexical is not None))
    ids, scores, owners = searcher.search_owned(list(terms.items()), request.depth, request.scope, request.deadline)
    request.owners.update({chunk_id: usable[at] for chunk_id, at in zip(ids.tolist(), owners.tolist(), strict=True)})
    return ids, scores


def symbols(request: Request, resources: Resources) -> Start:  # noqa: ARG001 (one shape for all)
    """Definitions of the asked names, from the symbols table: exact, whatever the other channels think of them."""
    names = request.profile.names
    if not names:
        return Skipped("no identifier asked", degrades=False)
    if len(request.generations) > _MAX_SYMBOL_REPOSITORIES:
        return Skipped(f"more than {_MAX_SYMBOL_REPOSITORIES} repositories", degrades=False)

    def search() -> Ranked:
        best: dict[int, float] = {}
        for generation in request.generations:
            request.deadline.check("symbol look-up")
            for chunk_id, name, symbol in generation.catalog.definitions(list(names), request.scope, _MAX_DEFINITIONS):
                score = max(names.get(name, 0.0), names.get(symbol, 0.0))
                best[chunk_id] = max(score, best.get(chunk_id, 0.0))
                request.owners[chunk_id] = generation
        return merge(np.array(list(best), np.int64), np.array(list(best.values()), np.float32), _MAX_DEFINITIONS)

    return search if request.scope.filters_chunks else AtOnce(search)  # a filter is the caller's globs


def sparse(request: Request, resources: Resources) -> Search | Skipped:
    """Dot product of the query's learned sparse vector with every chunk's."""
    load = resources.sparse_encoder
    if load is None:
        return Skipped(NOT_CONFIGURED, degrades=False)
    usable = [generation for generation in request.generations if generation.sparse is not None]
    missing = {g.manifest.repo: g.sparse_error for g in request.generations if g.sparse is None}
    if not usable:
        return Skipped("; ".join(f"'{repo}' has no sparse index: {why}" for repo, why in sorted(missing.items())[:3]))

    def search() -> Ranked:
        with step("encode.sparse") as current:
            encoder = load()
            terms = sparse_index.query_terms(encoder.encode_query(request.query))
            current.set(terms=len(terms))
        for generation in usable:
            if (theirs := generation.manifest.sparse.contract) is not None:
                encoder.contract.require_same(theirs, f"generation {generation.manifest.gen_id}")
        request.notes.extend(f"'{repo}' has no sparse index: {why}" for repo, why in sorted(missing.items()))
        searcher = resources.searcher(tuple(g.sparse for g in usable if g.sparse is not None), SparseSearcher)
        ids, scores, owners = searcher.search_owned(terms, request.depth, request.scope, request.deadline)
        request.owners.update(
            {chunk_id: usable[at] for chunk_id, at in zip(ids.tolist(), owners.tolist(), strict=True)}
        )
        return ids, scores

    return search


def exact(request: Request, resources: Resources) -> Search | Skipped:  # noqa: ARG001 (one shape for all)
    """Chunks that hold a text as it is written."""
    if not request.patterns:
        return Skipped("nothing quoted", degrades=False)
    if len(request.patterns) * len(request.generations) > _MAX_SYMBOL_REPOSITORIES and request.is_mixed:
        return Skipped(f"more than {_MAX_SYMBOL_REPOSITORIES} repositories", degrades=False)
    return lambda: _matching(request)


def regex(request: Request, resources: Resources) -> Search | Skipped:  # noqa: ARG001 (one shape for all)
    """Chunks that a regular expression matches (RE2)."""
    return lambda: _matching(request)


def _cut(what: str, left: Sequence[Generation]) -> str:
    names = [generation.repo for generation in left]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"time ran out: {what} of {len(names)} repositories were not searched: {', '.join(names[:_MOST_NAMED])}{more}"
    )


def _matching(request: Request) -> Ranked:
    """Every match counts, one in a name or signature most, then those in source files."""
    until = request.deadline.within(request.deadline.remaining_s * (_LANE_SHARE if request.is_mixed else _SCAN_SHARE))
    scores: dict[int, float] = {}
    for searched, generation in enumerate(request.generations):
        try:
            for pattern in request.patterns:
                rows = generation.catalog.matching(pattern, request.scope, _MAX_MATCHING, until)
                if len(rows) == _MAX_MATCHING:
                    request.notes.append(
                        f"more than {_MAX_MATCHING} chunks of '{generation.manifest.repo}' match; the rest is left out"
                    )
                for chunk_id, count, is_named, file_class in _as_shown(rows, pattern, generation):
                    score = 1 + is_named + 0.5 * (file_class == "source") + 0.5 * min(count, _OFTEN) / _OFTEN
                    scores[chunk_id] = scores.get(chunk_id, 0.0) + score
                    request.owners[chunk_id] = generation
        except DeadlineExceeded:
            if not scores:
                raise
            request.notes.append(_cut("the text", request.generations[searched:]))
            break
    return merge(np.array(list(scores), np.int64), np.array(list(scores.values()), np.float32), _MAX_MATCHING)


def _as_shown(rows: Sequence[Match], pattern: Pattern, generation: Generation) -> Iterator[Match]:
    """The matches as what may be shown has them: nobody finds out what was purged by guessing at it."""
    changed = generation.changed_by_purges([row[0] for row in rows], Scope())
    for row in rows:
        if row[0] not in changed:
            yield row
        elif (chunk := changed[row[0]]) is not None and (count := _certain(pattern, chunk.text)):
            is_named = any(_certain(pattern, text) for text in (chunk.name, chunk.signature))
            yield chunk.chunk_id, count, is_named, chunk.file_class


def _certain(pattern: Pattern, masked: str) -> int:
    """How many matches there are whatever the masks hide.

    One with a mask, so any asterisk, in it or beside it does not count: `x(a|\\*)` matches what is masked anyway, and
    the index only if the guess is right.
    """
    spans = pattern.spans(masked, _MAX_MATCHING)
    return sum(MASK not in masked[max(start - 1, 0) : end + 1] for start, end in spans)


SEARCHES: dict[str, Callable[[Request, Resources], Start]] = {
    DENSE: dense,
    LEXICAL: lexical,
    SYMBOLS: symbols,
    SPARSE: sparse,
    EXACT: exact,
    REGEX: regex,
}
"""Every channel's search by name."""
