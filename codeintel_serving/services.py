"""`Services` wires everything once; REST, SSE, MCP and the CLI are thin faces over its functions."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder
from codeintel_core.embedding.queries import CachedQueries
from codeintel_core.errors import CodeIntelError, UnknownGeneration, UnknownRepository
from codeintel_core.generations import rollback
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import Library, kept
from codeintel_core.home import Home
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.indexes.sparse import SparseSearcher
from codeintel_core.models.roles import chat_model, score_model
from codeintel_core.repository import mirror
from codeintel_core.retrieval.engine import Hit, SearchEngine
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import current_run, metrics, step
from codeintel_core.traces.journal import TraceJournal
from codeintel_serving import files, freshness
from codeintel_serving.display import without_server_paths
from codeintel_serving.encoder import LazyEncoder, query_encoder, sparse_query_encoder
from codeintel_serving.freshness import Freshness
from codeintel_serving.models import (
    ChannelScore,
    Explanation,
    Lines,
    ReadRequest,
    ReadResponse,
    RepositoryStatus,
    SearchHit,
    SearchRequest,
    SearchResponse,
    StatusResponse,
)
from codeintel_serving.probes import Probes
from codeintel_serving.recording import Asked, Caller, note_generations, note_hits, recorded
from codeintel_serving.results import CachedSearch

_log = logging.getLogger("codeintel.serving")
_WORKERS = 16
_T = TypeVar("_T")


class Services:
    """Everything that serves one home; close it, or use it as a context manager.

    Attributes:
        settings, home, library, engine, results, encoder, chat, reranker, probes, journal, freshness: the parts, wired.
        sparse: the sparse encoder, or None when no sparse model is configured.
    """

    def __init__(self, settings: Settings, *, encoder: Callable[[], Encoder] | None = None) -> None:
        """`encoder` loads the query encoder on first use; the one the settings name by default."""
        self.settings = settings
        self.home = Home(settings.home)
        self.library = Library(self.home, verify=settings.verify_digests, device=settings.dense_device)
        load = encoder or (lambda: query_encoder(settings))
        self.encoder = LazyEncoder(lambda: CachedQueries(load(), settings.query_vector_cache))
        self.sparse = LazyEncoder(lambda: sparse_query_encoder(settings)) if settings.has_sparse else None
        self.engine = SearchEngine(settings, self.encoder, sparse_encoder=self.sparse)
        self.results = CachedSearch(self.engine, settings.result_cache, settings.retrieval_budget_ms / 1000)
        self.chat, self.reranker = chat_model(settings), score_model(settings)
        self.probes = Probes(settings)
        self.journal = TraceJournal(self.home.trace_journal)
        self.freshness = Freshness(self.library, settings.watch_interval_s)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="answer")
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Warm up, then watch for new generations in the background until `close`."""
        self.warm()
        self._watcher = threading.Thread(target=self._watch, name="generation-watcher", daemon=True)
        self._watcher.start()

    def warm(self, repos: Sequence[str] = (), as_of: str = "") -> None:
        """Load the encoder, open generations, start the JVM and run each index once; problems are left to requests."""
        for part in (self._warm_encoder, lambda: self._open_old(repos, as_of) if as_of else self._refresh(repos)):
            try:
                part()
            except (UnknownGeneration, UnknownRepository):
                continue  # the caller's mistake, which the request answers
            except CodeIntelError as error:
                _log.warning("not everything is warm: %s", error)

    def close(self) -> None:
        """Stop watching and release everything."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(timeout=10)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.engine.close()
        self.library.close()
        self.journal.close()

    async def aclose(self) -> None:
        """Close the model connections of the running event loop; part of its end, before `close`."""
        for model in (self.chat, self.reranker):
            if model is not None:
                await model.endpoint.aclose()

    def submit(self, work: Callable[[], _T]) -> Future[_T]:
        """Run `work` in a thread that records its steps in the caller's run."""
        return self._pool.submit(contextvars.copy_context().run, work)

    def search(self, request: SearchRequest, caller: Caller) -> SearchResponse:
        """Ranked spans; blocks for at most the retrieval budget.

        Raises:
            CodeIntelError: with the reason, after the trace row was written.
        """
        asked = Asked(
            "search",
            request.query,
            request.scope.model_dump_json(),
            request.mode.value,
            self.settings.retrieval_budget_ms,
            self.settings.retrieval_budget_ms,
        )
        with recorded(asked, caller, self.home, self.journal) as (current, trace), ExitStack() as pins:
            with step("scope.resolve"):
                scope = request.scope.as_scope()
                generations = pins.enter_context(self.library.pin(scope.repos, request.scope.as_of))
            note_generations(trace, generations)
            found = self.results.search(request.query, generations, scope=scope, limit=request.limit, mode=request.mode)
            note_hits(trace, found)
            index = self.freshness.entries(generations)
            searched = freshness.coverage(generations, found.degraded, found.idle)
            trace.limits = [*freshness.warnings(index, searched), *found.notes]
            trace.status = "ok" if found.hits else "empty"
            return SearchResponse(
                results=[search_hit(hit, found.weights if request.explain else None) for hit in found.hits],
                index=index,
                coverage=searched,
                run_id=current.run_id,
                trace_id=current.trace_id,
                warnings=trace.limits,
            )

    def read(self, request: ReadRequest) -> ReadResponse:
        """Lines of a file of the pinned commit; raises `UnknownRepository`, `UnknownFile` or `InvalidRequest`."""
        with step("files.read"), self.library.pin([request.repo]) as generations:
            text = files.read(generations[0], request)
        run = current_run()
        return ReadResponse(**text.model_dump(), run_id=run.run_id if run else "", trace_id=run.trace_id if run else "")

    def status(self, repos: Sequence[str] = ()) -> StatusResponse:
        """State of the repositories (all when `repos` is empty); raises `UnknownRepository`."""
        for name in repos:
            self.library.reader(name)
        run = current_run()
        return StatusResponse(
            repositories=[self._repository_status(name) for name in repos or self.home.repository_names()],
            run_id=run.run_id if run else "",
            trace_id=run.trace_id if run else "",
        )

    def _repository_status(self, name: str) -> RepositoryStatus:
        group, held = self._registered(name)
        generations = kept(self.home.repository(name))[::-1]
        try:
            generation = self.library.reader(name).acquire()
        except CodeIntelError as error:
            return RepositoryStatus(
                repo=name,
                index=None,
                files=0,
                chunks=0,
                coverage={},
                redacted={},
                secondary_ratio=0.0,
                group=group,
                held=held,
                sparse="",
                generations=generations,
                dense_device="",
                problem=without_server_paths(str(error)),
            )
        try:
            manifest = generation.manifest
            return RepositoryStatus(
                repo=name,
                index=self.freshness.entry(generation),
                files=manifest.counts.files,
                chunks=manifest.counts.chunks,
                coverage=manifest.coverage,
                redacted=manifest.redacted,
                secondary_ratio=round(manifest.counts.compaction_ratio, 4),
                group=group,
                held=held,
                sparse=freshness.sparse_state(generation, is_configured=self.settings.has_sparse),
                generations=generations,
                dense_device=generation.dense.primary.device.text,
                problem=self.freshness.problem(generation),
            )
        finally:
            generation.release()

    def _registered(self, name: str) -> tuple[str, str]:
        """The group of a repository, and why its automatic builds wait."""
        hold = rollback.hold_of(self.home, name)
        held = f"rolled back from {hold.head[:10]}; waits for a newer commit or `rollback --resume`" if hold else ""
        return mirror.registration(self.home, name).group, held

    def _warm_encoder(self) -> None:
        self.encoder().encode_query("warm up")
        if self.sparse is not None:
            self.sparse().encode_query("warm up")

    def _watch(self) -> None:
        while not self._stopping.wait(self.settings.watch_interval_s):
            try:
                self._refresh()
            except Exception:  # the watcher must outlive whatever it meets: a half-registered repository, a full disk
                _log.exception("looking for new generations failed")

    def _refresh(self, repos: Sequence[str] = ()) -> None:
        """Swap in new generations, and run each of their indexes once."""
        for name in repos or self.home.repository_names():
            if self.library.reader(name).refresh():
                with self.library.pin([name]) as (generation,):
                    _log.info("serving generation %s", generation.manifest.gen_id)
                    metrics.GENERATION_INFO.labels(name).set(generation.manifest.created_at.timestamp())
                    self._warm_generation(generation)

    def _open_old(self, repos: Sequence[str], as_of: str) -> None:
        with self.library.pin(repos, as_of) as generations:
            for generation in generations:
                self._warm_generation(generation)

    def _warm_generation(self, generation: Generation) -> None:
        if generation.lexical is not None:
            LexicalSearcher([generation.lexical]).search([("warm", 1.0)], 1, Scope(), Deadline.after(60))
        if generation.sparse is not None and self.sparse is not None:
            SparseSearcher([generation.sparse]).search([("0", 1.0)], 1, Scope(), Deadline.after(60))
        if self.encoder.loaded is not None:
            vector = self.encoder.loaded.encode_query("warm up")
            generation.catalog.hydrate(generation.dense.search(vector, 1)[0].tolist(), Scope())


def search_hit(hit: Hit, weights: Mapping[str, float] | None = None) -> SearchHit:
    """The model of a hit; with the weights of its channels also how its score came about."""
    chunk = hit.chunk
    explanation = None
    if weights is not None:
        mine = {name: weights[name] for name in hit.channels if name in weights}
        explanation = Explanation(fused=round(hit.fused, 6), weights=mine, priors=hit.explain)
    return SearchHit(
        id=f"{chunk.repo}:{chunk.path}:{chunk.start_line}-{chunk.end_line}",
        repo=chunk.repo,
        path=chunk.path,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        symbol=chunk.symbol,
        kind=chunk.kind,
        language=chunk.language,
        score=round(hit.score, 6),
        rank=hit.rank,
        channels={name: ChannelScore(rank=at.rank, score=at.score) for name, at in hit.channels.items()},
        matches=[Lines(start_line=start, end_line=end) for start, end in hit.matches],
        explanation=explanation,
        snippet=chunk.text,
    )
