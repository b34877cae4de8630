"""The retrieval engine: one query over pinned generations. Serving and the pipeline's smoke checks run this code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from codeintel_core.catalog import ChunkPlace, ChunkRow
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder
from codeintel_core.embedding.sparse.contract import SparseEncoder
from codeintel_core.errors import ChannelUnavailable, InvalidRequest, RetrievalUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.patterns import Pattern
from codeintel_core.retrieval import cocitation, feedback, fusion, priors
from codeintel_core.retrieval.blend import blend
from codeintel_core.retrieval.budget import Budget, budget
from codeintel_core.retrieval.channels import (
    COCITATION,
    EXACT,
    LEXICAL,
    SPARSE,
    SYMBOLS,
    ChannelPools,
    ChannelResult,
    Skipped,
    Start,
)
from codeintel_core.retrieval.gate import gate
from codeintel_core.retrieval.modes import CHANNELS_OF, Mode, patterns_of
from codeintel_core.retrieval.profile import QueryProfile, profile
from codeintel_core.retrieval.searches import SEARCHES, Request, Resources, lexical_feedback
from codeintel_core.retrieval.selection import select
from codeintel_core.retrieval.tuning import UNTUNED, Tuned
from codeintel_core.retrieval.turns import Turns
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, metrics, note, step
from codeintel_core.vector_engine.protocol import VectorEngine

MAX_QUERY_CHARS = 10_000
MAX_LIMIT = 200
MAX_PER_FILE = 100
MAX_MATCHES = 20
TUNING = "tuning"
_SCALED = "scores"
_Found = TypeVar("_Found")

OPTIONAL = frozenset({SYMBOLS, SPARSE, EXACT})
"""Channels that only add: without a hit of theirs another one must have answered."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """How candidates are ranked; the default is what evaluation chose, the rest is there to be compared with."""

    fusion: str = _SCALED
    """Name in `fusion.FUSIONS`."""
    without_priors: frozenset[str] = frozenset()
    without_channels: frozenset[str] = frozenset()
    lexical_share: float | None = None
    """A fixed share in place of `blend`."""
    collapse_copies: bool = True
    feedback: bool | None = None
    """Whether words may get a second pass; None: as the settings say."""


@dataclass(frozen=True, slots=True)
class ChannelRank:
    """Where a channel put a chunk."""

    rank: int  # from 1
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A ranked chunk, the generation it comes from, how each channel saw it and what each prior added."""

    chunk: ChunkRow
    gen_id: str
    rank: int
    score: float
    fused: float
    channels: dict[str, ChannelRank]
    explain: dict[str, float] = field(default_factory=dict)
    """Prior -> what it added to `fused`; together they make `score`."""
    matches: tuple[tuple[int, int], ...] = ()
    """First and last line of each match of a pattern, in order, at most 20."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, and what each channel did."""

    hits: list[Hit]
    profile: QueryProfile
    channels: dict[str, ChannelResult]
    candidates: int
    weights: dict[str, float] = field(default_factory=dict)
    """Weight of each channel in the fused score."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest score of each channel with hits, when fusion scaled them."""
    tuning_id: str = ""
    """The document whose learned factors changed the weights, '' when none did."""
    tuning_problem: str = ""
    """Why the learned factors were refused, '' when they were not."""
    idle: dict[str, str] = field(default_factory=dict)
    """Channels that were not needed, are not configured or not promoted, with the reason."""
    notes: list[str] = field(default_factory=list)
    """What a channel left out although it completed, in words."""

    @property
    def degraded(self) -> dict[str, str]:
        """Channels that should have run and did not complete, and `tuning` when it was refused, with the reason."""
        refused = {TUNING: self.tuning_problem} if self.tuning_problem else {}
        return refused | {
            name: f"{result.status}: {result.reason}"
            for name, result in self.channels.items()
            if result.status is not Status.COMPLETED
        }


class SearchEngine:
    """Runs queries; holds the thread pools and Lucene searchers, which are reused between requests."""

    def __init__(
        self,
        settings: Settings,
        encoder: Callable[[], Encoder],
        ranking: Ranking | None = None,
        sparse_encoder: Callable[[], SparseEncoder] | None = None,
        tuning: Callable[[], Tuned] = lambda: UNTUNED,
        vector_engine: VectorEngine | None = None,
    ) -> None:
        """Encoders are called on first use and may raise `CodeIntelError`: then search does without their channel.

        Without `sparse_encoder` the sparse channel is off: `skipped: not_configured`. `tuning` is asked once for each
        search (`tuning.Tunings` for what counts in a home). `vector_engine` is asked before the local vectors.
        """
        self.tuning = tuning
        self._settings = settings
        self._ranking = ranking or Ranking()
        fixed = self._ranking.feedback
        self._feedback = settings.lexical_feedback if fixed is None else fixed
        self._resources = Resources(encoder, sparse_encoder, vector_engine)
        self._pools = ChannelPools(settings.channel_workers)
        self._turns = Turns.of(settings)

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
        mode: Mode = Mode.AUTO,
        deadline: Deadline | None = None,
        per_file: int | None = None,
    ) -> SearchResult:
        """Search pinned generations; of one file come at most `per_file` hits, by default as the settings say.

        Raises:
            InvalidRequest: empty or too long query, limit or per_file out of range.
            InvalidPattern: mode `regex` or `exact` with a pattern that cannot be run.
            ChannelUnavailable: mode `sparse` without a sparse model or index.
            RetrievalUnavailable: every channel that was asked failed or timed out.
        """
        query = check_query(query)
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidRequest(f"limit must be 1..{MAX_LIMIT}")
        per_file = self._settings.max_per_file if per_file is None else per_file
        if not 1 <= per_file <= MAX_PER_FILE:
            raise InvalidRequest(f"per_file must be 1..{MAX_PER_FILE}")
        deadline = deadline or Deadline.after(60)
        budget_s = self._settings.retrieval_budget_ms / 1000
        with self._turns.taken(deadline.within(budget_s)) as waited_s:
            return self._search(query, generations, scope, limit, mode, deadline.within(budget_s), per_file, waited_s)

    def _search(
        self,
        query: str,
        generations: Sequence[Generation],
        scope: Scope,
        limit: int,
        mode: Mode,
        deadline: Deadline,
        per_file: int,
        waited_s: float,
    ) -> SearchResult:
        with step("query.profile") as current:
            asked = profile(query)
            current.set(kind=asked.kind.value, names=len(asked.names), vague=asked.is_vague)
        with step("query.budget", limit=limit) as current:
            plan = budget(
                asked,
                candidates=self._settings.candidates,
                repositories=len(generations),
                limit=limit,
                feedback=self._feedback,
            )
            current.set(
                depth=plan.depth, hydrated=plan.hydrated, reason=plan.reason,
                feedback=plan.feedback, feedback_reason=plan.feedback_reason, waited_ms=round(waited_s * 1000, 3),
            )  # fmt: skip
        names = CHANNELS_OF[mode]
        patterns, is_mixed = patterns_of(mode, query, asked), len(names) > 1
        request = Request(query, asked, generations, scope, plan.depth, deadline, patterns, is_mixed)
        results, idle = self._gather(request, [name for name in names if name not in self._ranking.without_channels])
        hydrated = self._second_stage(request, plan, results)
        completed = {name: r.ranked for name, r in results.items() if r.status is Status.COMPLETED}
        with step("fuse.scores", fusion=self._ranking.fusion) as current:
            tuned = self.tuning()
            blended = blend(asked, completed, self._ranking.lexical_share, tuned)
            fused = fusion.FUSIONS[self._ranking.fusion](completed, blended.weights)
            current.set(candidates=len(fused), reason=blended.reason, lexical_share=blended.weights[LEXICAL])
            current.set(tuning_id=tuned.tuning_id, tuning_problem=tuned.problem)
        with step("hydrate.catalog", columns="places") as current:
            kept = {chunk_id: fused[chunk_id] for chunk_id in priors.ordered(fused)[:hydrated]}
            owners = dict(request.owners)
            places = _of_catalogs(_places, kept, owners, scope)
            current.set(asked=len(kept), found=len(places))
        with step("rank.priors", without=",".join(sorted(self._ranking.without_priors))):
            scored = priors.apply(query, kept, places, self._ranking.without_priors)
        if is_mixed and COCITATION not in self._ranking.without_channels:
            together = cocitation.retrieve(scored.scores, places, [one.repo for one in generations], tuned.pairs)
            if together.status is Status.COMPLETED:
                results[COCITATION], completed[COCITATION] = together, together.ranked
                blended.weights[COCITATION] = tuned.pairs.weight
                cocitation.lift(together.ranked, tuned.pairs.weight, scored.scores, fused)
            else:
                idle[COCITATION] = together.reason
        with step("rank.select", per_file=per_file) as current:
            shown, copies, capped = select(
                _whole(priors.ordered(scored.scores), owners, 2 * limit),
                limit=limit,
                per_file=per_file,
                collapse=self._ranking.collapse_copies,
            )
            ranks = _ranks(completed, frozenset(chunk.chunk_id for chunk in shown))
            found_by = Counter(name for found in ranks.values() for name in found)
            current.set(hits=len(shown), copies=copies, capped=capped, files=len({chunk.path for chunk in shown}))
            current.set(**{f"from_{name}": found_by[name] for name in completed})
        for name, count in found_by.items():
            metrics.CHANNEL_CONTRIBUTION.labels(name).inc(count)
        effects = scored.effects(ranks)
        hits = [
            Hit(
                chunk, owners[i].manifest.gen_id, rank, scored.scores[i], fused[i], ranks[i],
                {name: round(effect, 6) for name, effect in effects[i].items()},
                _matches(chunk, patterns),
            )
            for rank, chunk in enumerate(shown, 1)
            for i in (chunk.chunk_id,)
        ]  # fmt: skip
        return SearchResult(
            hits, asked, results, len(fused), blended.weights, self._ranges(completed), tuned.tuning_id, tuned.problem,
            idle, request.notes,
        )  # fmt: skip

    def _ranges(self, completed: Mapping[str, fusion.Ranked]) -> dict[str, tuple[float, float]]:
        """What fusion scaled by, so that a trace can be fused again with other weights."""
        if self._ranking.fusion != _SCALED:
            return {}
        ranges = {name: fusion.score_range(scores) for name, (ids, scores) in completed.items() if len(ids)}
        return ranges | ({COCITATION: cocitation.RANGE} if COCITATION in ranges else {})

    def _gather(self, request: Request, names: Sequence[str]) -> tuple[dict[str, ChannelResult], dict[str, str]]:
        """What each channel that was needed did, and why the others were not."""
        idle: dict[str, str] = {}
        with step("retrieve.gather", channels=len(names), repositories=len(request.generations)):
            searches: dict[str, Start] = {}
            for name in names:
                search = SEARCHES[name](request, self._resources)
                if isinstance(search, Skipped) and (not request.is_mixed and name in OPTIONAL):
                    raise ChannelUnavailable(f"the {name} channel is off: {search.reason}; see docs/retrieval.md")
                if isinstance(search, Skipped) and not search.degrades:
                    note(f"retrieve.{name}", Status.SKIPPED, search.reason)
                    idle[name] = search.reason
                else:
                    searches[name] = search
            results = self._pools.run(searches, request.deadline)
            if not any(_answers(name, result, request.is_mixed) for name, result in results.items()):
                why = "; ".join(f"{name} {r.status}: {r.reason}" for name, r in results.items() if r.reason)
                raise RetrievalUnavailable(f"no retrieval channel answered ({why})")
        return results, idle

    def _second_stage(self, request: Request, plan: Budget, results: dict[str, ChannelResult]) -> int:
        """Do what the gate lets through: widen the words' result in place; returns how many candidates to read."""
        completed = {name: r.ranked for name, r in results.items() if r.status is Status.COMPLETED}
        with step("gate.secondary") as current:
            fan_out = len(set(request.owners.values()))
            decided = gate(plan, completed, fan_out, request.deadline)
            current.set(feedback=decided.feedback, feedback_reason=decided.feedback_reason)
            current.set(hydrated=decided.hydrated, hydrated_reason=decided.hydrated_reason, fan_out=fan_out)
        if decided.feedback:
            ids, scores = completed[LEXICAL]
            best = dict(zip(ids[: feedback.DOCUMENTS].tolist(), scores.tolist(), strict=False))
            chunks = _of_catalogs(Generation.hydrate, best, request.owners, request.scope)
            pairs = [(chunks[chunk_id], score) for chunk_id, score in best.items() if chunk_id in chunks]
            again = lexical_feedback(request, self._resources, pairs)
            second = self._pools.again(LEXICAL, "retrieve.feedback", again, request.deadline)
            if second.status is Status.COMPLETED:  # else the first pass stands, and the step says why
                results[LEXICAL] = second
        return decided.hydrated


def check_query(query: str) -> str:
    """The query without surrounding blanks; raises `InvalidRequest` when nothing or too much is asked."""
    query = query.replace("\0", " ").strip()
    if not query:
        raise InvalidRequest("the query is empty; ask for a name, a path, an error text or a question")
    if len(query) > MAX_QUERY_CHARS:
        raise InvalidRequest(f"the query has {len(query)} characters; the limit is {MAX_QUERY_CHARS}")
    return query.encode("utf-8", "replace").decode()  # lone surrogates


def _answers(name: str, result: ChannelResult, is_mixed: bool) -> bool:
    """Whether the channel's result can be called an answer: an optional one of several must have found something."""
    is_enough = not is_mixed or name not in OPTIONAL or len(result.ranked[0]) > 0
    return result.status is Status.COMPLETED and is_enough


def _matches(chunk: ChunkRow, patterns: Sequence[Pattern]) -> tuple[tuple[int, int], ...]:
    """Lines of the file that the patterns match in the chunk."""
    spans = {span for pattern in patterns for span in pattern.spans(chunk.text, MAX_MATCHES)}
    lines = {
        (chunk.start_line + chunk.text.count("\n", 0, start), chunk.start_line + chunk.text.count("\n", 0, end - 1))
        for start, end in spans
    }
    return tuple(sorted(lines)[:MAX_MATCHES])


def _places(generation: Generation, chunk_ids: Sequence[int], scope: Scope) -> Mapping[int, ChunkPlace]:
    return generation.catalog.places(chunk_ids, scope)


def _of_catalogs(
    read: Callable[[Generation, Sequence[int], Scope], Mapping[int, _Found]],
    wanted: Iterable[int],
    owners: Mapping[int, Generation],
    scope: Scope,
) -> dict[int, _Found]:
    """What is read of chunks from the generations that hold them, the scope checked again."""
    by_generation: defaultdict[Generation, list[int]] = defaultdict(list)
    for chunk_id in wanted:
        by_generation[owners[chunk_id]].append(chunk_id)
    found: dict[int, _Found] = {}
    for generation, ids in by_generation.items():
        if scope.repos and generation.repo not in scope.repos:
            continue
        found.update(read(generation, ids, scope))
    return found


def _whole(order: Sequence[int], owners: Mapping[int, Generation], at_once: int) -> Iterator[ChunkRow]:
    """Chunks of the scope in this order, so many read at once, and none before it is asked for.

    Those of files that were purged are left out.
    """
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        with step("hydrate.catalog", columns="all") as current:
            chunks = _of_catalogs(Generation.hydrate, some, owners, Scope())
            current.set(asked=len(some), found=len(chunks))
        yield from (chunks[chunk_id] for chunk_id in some if chunk_id in chunks)


def _ranks(channels: Mapping[str, fusion.Ranked], shown: frozenset[int]) -> dict[int, dict[str, ChannelRank]]:
    ranks: dict[int, dict[str, ChannelRank]] = {chunk_id: {} for chunk_id in shown}
    for name, (ids, scores) in channels.items():
        for at, chunk_id in enumerate(ids.tolist()):
            if chunk_id in shown:
                ranks[chunk_id][name] = ChannelRank(at + 1, round(float(scores[at]), 6))
    return ranks
