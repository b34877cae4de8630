"""`Services` wires everything once; REST, SSE, MCP and the CLI are thin faces over its functions."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder
from codeintel_core.embedding.queries import CachedQueries
from codeintel_core.errors import CodeIntelError, UnknownGeneration, UnknownRepository
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.library import Library
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.indexes import doc_ids, jvm
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.indexes.sparse import SparseSearcher
from codeintel_core.memo import AS_BYTES, Memo
from codeintel_core.models.roles import chat_model, score_model
from codeintel_core.objects import shared
from codeintel_core.retrieval import elsewhere
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.retrieval.rehearsal import rehearse
from codeintel_core.retrieval.tuning import Tunings
from codeintel_core.scope import Scope
from codeintel_core.secrets import purged
from codeintel_core.settings import Settings
from codeintel_core.telemetry import metrics
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import READ, Feedback, TraceJournal
from codeintel_core.vector_engine.select import engine_for
from codeintel_serving import feedback
from codeintel_serving.access.keys import KeyRing
from codeintel_serving.access.principal import Permission
from codeintel_serving.encoder import LazyEncoder, query_encoder, sparse_query_encoder
from codeintel_serving.feedback import FeedbackRequest, FeedbackResponse
from codeintel_serving.freshness import Freshness
from codeintel_serving.models import SearchRequest, SearchResponse
from codeintel_serving.probes import Probes
from codeintel_serving.recording import Caller
from codeintel_serving.resolving import Resolver
from codeintel_serving.results import CachedSearch
from codeintel_serving.run_reports import RunpackWriter
from codeintel_serving.scope.handles import Scopes
from codeintel_serving.searching import Answered, Searching
from codeintel_serving.shared_pages import SharedPages

_log = logging.getLogger("codeintel.serving")
_WORKERS = 16
_OPEN_BEFORE_READY_S = 2.0
_REHEARSE_S = 1.0  # of small indexes it takes half a second; of 100,000 chunks 130 searches fit into it
_T = TypeVar("_T")


class Services:
    """Everything that serves one home; close it, or use it as a context manager.

    Attributes:
        settings, home, library, engine, results, encoder, chat, reranker, probes, journal, feedback_journal, keys,
            freshness, resolver, scopes, runpacks: the parts, wired.
        sparse: the sparse encoder, or None when no sparse model is configured.
        replica: what follows the bucket that the home is in, or None when the home is a folder.
        handover: what hands the rows of this machine to that bucket, or None likewise.
        vector_engine: the external vector engine, or None when none is configured.
        is_warm: whether it was warmed up, and so verifies generations in the vector engine.
    """

    def __init__(self, settings: Settings, *, encoder: Callable[[], Encoder] | None = None) -> None:
        """`encoder` loads the query encoder on first use; the one the settings name by default."""
        self.settings = settings
        self.home = Home(settings.home)
        self.replica = shared.replica(settings)
        self.handover = shared.handover(settings)
        self.library = Library(
            self.home,
            verify=settings.verify_digests,
            device=settings.dense_device,
            most_open=settings.open_generations,
        )
        load = encoder or (lambda: query_encoder(settings))
        self.encoder = LazyEncoder(lambda: CachedQueries(load(), settings.query_vector_cache))
        self.sparse = LazyEncoder(lambda: sparse_query_encoder(settings)) if settings.has_sparse else None
        self.vector_engine = engine_for(settings)
        self.is_warm = False
        self.engine = SearchEngine(
            settings,
            self.encoder,
            sparse_encoder=self.sparse,
            tuning=Tunings(self.home),
            vector_engine=self.vector_engine,
        )
        self._purged = purged.CurrentList(self.home.purged)
        self.results = CachedSearch(
            self.engine, settings.result_cache, settings.retrieval_budget_ms / 1000, self._purged.stamp
        )
        self.chat, self.reranker = chat_model(settings), score_model(settings)
        self.probes = Probes(settings)
        self.journal = TraceJournal(
            self.home.trace_journal, queries=settings.trace_queries, answers=settings.trace_answers
        )
        self.feedback_journal = Journal(self.home.feedback_journal)
        self.keys = KeyRing(self.home.keys)
        self.freshness = Freshness(self.library, settings.watch_interval_s)
        self.resolver = Resolver(self.library)
        self.scopes = Scopes(settings, self.resolver, self.freshness)
        self._searching = Searching(settings, self.home, self.resolver, self.results, self.freshness, self.journal)
        self.runpacks = RunpackWriter(self.home, settings, self._readiness)
        self.tool_answers: Memo[Hashable, Any] = Memo("tools", settings.result_cache, AS_BYTES)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="answer")
        self._stopping, self._draining = threading.Event(), threading.Event()
        self._background: list[threading.Thread] = []
        self._rehearsal_is_due = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Warm up, then watch for new generations in the background until `close`."""
        self._rehearsal_is_due = True
        jvm.expect(sum(map(self._documents, self.home.repository_names())))
        if self.replica is not None:  # what is here serves at once, and nothing of a large home has to come first
            self._start(lambda: self._every(self.settings.bucket_interval_s, self.follow), "bucket-follower")
        if self.handover is not None:
            self._start(lambda: self._every(self.settings.trace_handover_s, self.hand_over), "trace-handover")
        self.warm(deadline=Deadline.after(_OPEN_BEFORE_READY_S))  # the watcher opens the rest of a large home
        self._start(lambda: self._every(self.settings.watch_interval_s, self._refresh), "generation-watcher")

    def follow(self) -> None:
        """Bring the home up to date with its bucket, when it is in one; what stands in the way is a readiness check."""
        if self.replica is not None:
            names = self.home.repository_names()
            self.replica.follow([name for name in names if self.library.reader(name).problem])

    def hand_over(self) -> None:
        """Hand the rows that were written since the last time to the bucket; what stands in the way is a check."""
        if self.handover is not None:
            self.handover.run()

    def warm(self, repos: Sequence[str] = (), as_of: str = "", deadline: Deadline | None = None) -> None:
        """Load the encoder, open generations, start the JVM and run each index once; problems are left to requests.

        After the deadline no further generation is opened.
        """
        self.is_warm = True
        opening = lambda: self._open_old(repos, as_of) if as_of else self._refresh(repos, deadline)  # noqa: E731
        for part in (self._warm_encoder, opening):
            try:
                part()
            except (UnknownGeneration, UnknownRepository):
                continue  # the caller's mistake, which the request answers
            except CodeIntelError as error:
                _log.warning("not everything is warm: %s", error)

    def drain(self) -> None:
        """Say from now on that this server is about to stop; it still answers."""
        self._draining.set()

    @property
    def is_draining(self) -> bool:
        """Whether it is about to stop."""
        return self._draining.is_set()

    def close(self) -> None:
        """Stop watching and release everything."""
        self._stopping.set()
        if self.replica is not None:
            self.replica.stop()
        for thread in self._background:
            thread.join(timeout=10)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.engine.close()
        if self.vector_engine is not None:
            self.vector_engine.close()
        self.library.close()
        self.journal.close()
        self.feedback_journal.close()
        self.runpacks.close()
        if self.handover is not None:
            self.handover.finish()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; part of its end, before `close`."""
        await self.scopes.aclose()
        for model in (self.chat, self.reranker):
            if model is not None:
                await model.endpoint.aclose()

    def submit(self, work: Callable[[], _T]) -> Future[_T]:
        """Run `work` in a thread that records its steps in the caller's run."""
        return self._pool.submit(contextvars.copy_context().run, work)

    def search(self, request: SearchRequest, caller: Caller) -> SearchResponse:
        """`find`, as its model."""
        return self.find(request, caller).response()

    def find(self, request: SearchRequest, caller: Caller) -> Answered:
        """Ranked spans; blocks for at most the retrieval budget, and half of it for its turn.

        Raises:
            CodeIntelError: with the reason, after the trace row was written.
            CancelledError: it was given up meanwhile: nobody waits any more.
        """
        return self._searching.search(request, caller)

    def recall(self, request: SearchRequest, caller: Caller) -> Answered | None:
        """What `find` would answer when all of it is in memory; waits for nothing. None: ask `find`."""
        return self._searching.recall(request, caller)

    def share_pages(self, pages: SharedPages) -> None:
        """Be one of several workers, which share the pages of their results."""
        self._searching.share(pages)

    def purge_stamp(self) -> Hashable:
        """What is purged, as a key: another one once something more was."""
        return self._purged.stamp()

    def vector_engine_problem(self, manifest: Manifest) -> str:
        """Why the vector engine, which there is, is not asked for a generation, '' when it is.

        A process that serves nobody, such as a command, verifies nothing: it asks the engine whether it is there.
        """
        assert self.vector_engine is not None
        look = elsewhere.problem if self.is_warm else elsewhere.lack
        return look(self.vector_engine, manifest)

    def feedback(self, request: FeedbackRequest, caller: Caller) -> FeedbackResponse:
        """Store what a caller says about an answer, also of another machine where the rows of all are collected.

        Raises:
            UnknownRun, InvalidRequest: there is no such run or citation.
            StorageFailed: it could not be written.
        """
        caller.principal.require(Permission.READ)
        is_joined = self.handover.reaches_tables if self.handover is not None else lambda: False
        return feedback.give(self.home, self.feedback_journal, request, caller, caller.principal.may_see, is_joined)

    def note_read(self, caller: Caller, run_id: str, places: Iterable[tuple[str, str]]) -> None:
        """Keep which files (repository, path) a session read; whether a request had shown them is for analytics."""
        if caller.session_id:
            for repo, path in dict.fromkeys(places):
                Feedback(run_id, READ, caller.session_id, caller.surface, repo=repo, path=path).write(
                    self.feedback_journal
                )

    def _readiness(self) -> dict[str, Any]:
        from codeintel_serving.readiness import readiness  # it looks at services

        return readiness(self).model_dump(mode="json")

    def _warm_encoder(self) -> None:
        self.encoder().encode_query("warm up")
        if self.sparse is not None:
            self.sparse().encode_query("warm up")

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._background.append(thread)
        thread.start()

    def _every(self, interval_s: float, look: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                look()
            except Exception:  # it must outlive whatever it meets: a half-registered repository, a full disk
                _log.exception("looking for new generations failed")
            self._stopping.wait(interval_s)

    def _refresh(self, repos: Sequence[str] = (), deadline: Deadline | None = None) -> None:
        """Swap in new generations, and run each of their indexes once; forget what was kept before a purge."""
        for name in self.library.refreshed(repos, deadline):
            if self._stopping.is_set():
                return
            with self.library.pin([name]) as (generation,):
                _log.info("serving generation %s", generation.manifest.gen_id)
                metrics.GENERATION_INFO.labels(name).set(generation.manifest.created_at.timestamp())
                self._warm_generation(generation)
                if self._rehearsal_is_due:  # once, with the first generation that there is
                    searches = rehearse(generation, self.settings.candidates, Deadline.after(_REHEARSE_S))
                    self._rehearsal_is_due = not searches
                    _log.info("rehearsed %d searches of %s", searches, name)
        if self._purged.has_changed():  # after it, what was purged is in no generation that a request can pin
            self._searching.forget()
            self.tool_answers.clear()

    def _documents(self, repo: str) -> int:
        """How many the Lucene index that a repository serves has, about; nothing is opened."""
        repository = self.home.repository(repo)
        with suppress(OSError):  # whoever opens it says what is wrong
            if gen_id := current_id(repository):
                return doc_ids.count(repository.generation(gen_id) / "lucene")
        return 0

    def _open_old(self, repos: Sequence[str], as_of: str) -> None:
        with self.library.pin(repos, as_of) as generations:
            for generation in generations:
                self._warm_generation(generation)

    def _warm_generation(self, generation: Generation) -> None:
        if generation.lexical is not None:
            LexicalSearcher([generation.lexical]).search([("warm", 1.0)], 1, Scope(), Deadline.after(60))
        if generation.sparse is not None and self.sparse is not None:
            SparseSearcher([generation.sparse]).search([("0", 1.0)], 1, Scope(), Deadline.after(60))
        if self.vector_engine is not None and (pin := elsewhere.pin_of(generation.manifest)) is not None:
            self.vector_engine.verify([pin])
        if self.encoder.loaded is not None:
            vector = self.encoder.loaded.encode_query("warm up")
            generation.catalog.hydrate(generation.dense.search(vector, 1)[0].tolist(), Scope())
