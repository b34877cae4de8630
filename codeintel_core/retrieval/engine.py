"""The retrieval engine: one query over pinned generations. Serving and the pipeline's smoke checks run this code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from cachetools import LRUCache

from codeintel_core.analysis import query_terms, unique
from codeintel_core.catalog import ChunkRow
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder, Matrix
from codeintel_core.errors import InvalidRequest, RetrievalUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.indexes.dense import merge
from codeintel_core.indexes.lexical import LexicalIndex, LexicalSearcher
from codeintel_core.retrieval import fusion, priors
from codeintel_core.retrieval.channels import (
    CHANNELS,
    DENSE,
    LEXICAL,
    ChannelPools,
    ChannelResult,
    Search,
    Skipped,
)
from codeintel_core.retrieval.profile import QueryProfile, profile
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, step

MAX_QUERY_CHARS = 10_000
MAX_LIMIT = 200


class Mode(StrEnum):
    """Which channels answer."""

    HYBRID = "hybrid"
    LEXICAL = "lexical"
    SEMANTIC = "semantic"


_CHANNELS_OF = {Mode.HYBRID: CHANNELS, Mode.LEXICAL: (LEXICAL,), Mode.SEMANTIC: (DENSE,)}


@dataclass(frozen=True, slots=True)
class ChannelRank:
    """Where a channel put a chunk."""

    rank: int  # from 1
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A ranked chunk, the generation it comes from and how each channel saw it."""

    chunk: ChunkRow
    gen_id: str
    rank: int
    score: float
    fused: float
    channels: dict[str, ChannelRank]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, and what each channel did."""

    hits: list[Hit]
    profile: QueryProfile
    channels: dict[str, ChannelResult]
    candidates: int

    @property
    def degraded(self) -> dict[str, str]:
        """Channels that should have run and did not complete, with the reason."""
        return {
            name: f"{result.status}: {result.reason}"
            for name, result in self.channels.items()
            if result.status is not Status.COMPLETED
        }


class SearchEngine:
    """Runs queries; holds the thread pools and Lucene searchers, which are reused between requests."""

    def __init__(self, settings: Settings, encoder: Callable[[], Encoder]) -> None:
        """`encoder` is called on first use and may raise `CodeIntelError`: then search is lexical only."""
        self._settings = settings
        self._encoder = encoder
        self._pools = ChannelPools(settings.channel_workers)
        self._searchers: LRUCache[tuple[LexicalIndex, ...], LexicalSearcher] = LRUCache(64)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop the thread pools."""
        self._pools.close()

    def search(
        self,
        query: str,
        generations: Sequence[Generation],
        *,
        scope: Scope,
        limit: int,
        mode: Mode = Mode.HYBRID,
        deadline: Deadline | None = None,
    ) -> SearchResult:
        """Search pinned generations.

        Raises:
            InvalidRequest: empty or too long query, limit out of range.
            RetrievalUnavailable: every channel that was asked failed or timed out.
        """
        query = check_query(query)
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidRequest(f"limit must be 1..{MAX_LIMIT}")
        deadline = (deadline or Deadline.after(60)).within(self._settings.retrieval_budget_ms / 1000)
        with step("query.profile") as current:
            query_profile = profile(query)
            current.set(kind=query_profile.kind.value, lexical_weight=query_profile.lexical_weight)
        with step("retrieve.gather", channels=len(_CHANNELS_OF[mode]), repositories=len(generations)):
            searches = {name: self._search_of(name, query, generations, scope, deadline) for name in _CHANNELS_OF[mode]}
            results = self._pools.run(searches, deadline)
            if not any(result.status is Status.COMPLETED for result in results.values()):
                why = "; ".join(f"{name} {result.status}: {result.reason}" for name, result in results.items())
                raise RetrievalUnavailable(f"no retrieval channel answered ({why})")
        with step("fuse.scores") as current:
            weights = {LEXICAL: query_profile.lexical_weight, DENSE: 1 - query_profile.lexical_weight}
            completed = {name: r.ranked for name, r in results.items() if r.status is Status.COMPLETED}
            fused = fusion.by_scores(completed, weights)
            current.set(candidates=len(fused))
        with step("hydrate.catalog") as current:
            owner, chunks = _hydrate(fused, generations, scope)
            current.set(asked=len(fused), found=len(chunks))
        scored = priors.apply(query, fused, chunks)
        hits = self._select(scored, fused, chunks, owner, _ranks(completed), limit)
        return SearchResult(hits, query_profile, results, len(fused))

    def _search_of(
        self, name: str, query: str, generations: Sequence[Generation], scope: Scope, deadline: Deadline
    ) -> Search | Skipped:
        k = self._settings.candidates
        if name == DENSE:
            return lambda: self._dense(query, generations, scope, k, deadline)
        usable = [g for g in generations if g.lexical is not None]
        if not usable:
            return Skipped(generations[0].lexical_error)
        return lambda: self._lexical(query, usable, scope, k, deadline)

    def _dense(
        self, query: str, generations: Sequence[Generation], scope: Scope, k: int, deadline: Deadline
    ) -> fusion.Ranked:
        with step("embed.query"):
            encoder = self._encoder()
            vector: Matrix = encoder.encode_query(query)
        ids, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for generation in generations:
            deadline.check("dense search")
            encoder.contract.require_same(generation.manifest.contract, f"generation {generation.manifest.gen_id}")
            found = generation.dense.search(vector, k, generation.catalog.allowed_ids(scope))
            ids.append(found[0])
            scores.append(found[1])
        return merge(np.concatenate(ids), np.concatenate(scores), k)

    def _lexical(
        self, query: str, generations: Sequence[Generation], scope: Scope, k: int, deadline: Deadline
    ) -> fusion.Ranked:
        weighted = [(term, 1.0) for term in unique(query_terms(query))]
        return self._searcher(generations).search(weighted, k, scope, deadline)

    def _searcher(self, generations: Sequence[Generation]) -> LexicalSearcher:
        # By the opened indexes, not by generation ids: one that was closed and opened again has another reader.
        indexes = tuple(g.lexical for g in generations if g.lexical is not None)
        with self._lock:
            if indexes not in self._searchers:
                self._searchers[indexes] = LexicalSearcher(indexes)
            return self._searchers[indexes]

    def _select(
        self,
        scored: Mapping[int, float],
        fused: Mapping[int, float],
        chunks: Mapping[int, ChunkRow],
        owner: Mapping[int, str],
        ranks: Mapping[int, dict[str, ChannelRank]],
        limit: int,
    ) -> list[Hit]:
        hits: list[Hit] = []
        per_file: dict[tuple[str, str], int] = {}
        for chunk_id in priors.ordered(scored):
            chunk = chunks[chunk_id]
            key = (chunk.repo, chunk.path)
            if per_file.get(key, 0) >= self._settings.max_per_file:
                continue
            per_file[key] = per_file.get(key, 0) + 1
            rank = len(hits) + 1
            hits.append(Hit(chunk, owner[chunk_id], rank, scored[chunk_id], fused[chunk_id], ranks[chunk_id]))
            if len(hits) == limit:
                break
        return hits


def check_query(query: str) -> str:
    """The query without surrounding blanks; raises `InvalidRequest` when nothing or too much is asked."""
    query = query.replace("\0", " ").strip()
    if not query:
        raise InvalidRequest("the query is empty; ask for a name, a path, an error text or a question")
    if len(query) > MAX_QUERY_CHARS:
        raise InvalidRequest(f"the query has {len(query)} characters; the limit is {MAX_QUERY_CHARS}")
    return query.encode("utf-8", "replace").decode()  # lone surrogates


def _hydrate(
    fused: Mapping[int, float], generations: Sequence[Generation], scope: Scope
) -> tuple[dict[int, str], dict[int, ChunkRow]]:
    owner: dict[int, str] = {}
    chunks: dict[int, ChunkRow] = {}
    for generation in generations:
        found = generation.catalog.hydrate(list(fused), scope)
        chunks.update(found)
        owner.update(dict.fromkeys(found, generation.manifest.gen_id))
    return owner, chunks


def _ranks(channels: Mapping[str, fusion.Ranked]) -> dict[int, dict[str, ChannelRank]]:
    ranks: dict[int, dict[str, ChannelRank]] = {}
    for name, (ids, scores) in channels.items():
        for rank, (chunk_id, score) in enumerate(zip(ids.tolist(), scores.tolist(), strict=True), 1):
            ranks.setdefault(chunk_id, {})[name] = ChannelRank(rank, round(score, 6))
    return ranks
