"""The engine on real small indexes: what is found, what is left out, and what happens when a channel is gone."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeintel_core.catalog import Catalog, ChunkPlace
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder
from codeintel_core.errors import InvalidPattern, InvalidRequest, ModelUnavailable, RetrievalUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.publish import point_at
from codeintel_core.generations.reader import RepositoryReader
from codeintel_core.home import Home
from codeintel_core.patterns import MAX_PATTERN_CHARS
from codeintel_core.retrieval.engine import MAX_LIMIT, MAX_QUERY_CHARS, SearchEngine, SearchResult
from codeintel_core.retrieval.modes import Mode
from codeintel_core.retrieval.priors import PRIORS
from codeintel_core.retrieval.profile import profile
from codeintel_core.retrieval.searches import SEARCHES, Request, Resources
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, run
from tests.conftest import Repo
from tests.core import specimen

_SETTINGS = Settings(retrieval_budget_ms=60_000)
_EVERYTHING = Scope()


def _no_encoder() -> Encoder:
    raise ModelUnavailable("the model is not there")


@pytest.fixture
def generation(standing: Generation) -> Generation:
    return standing


@pytest.fixture
def engine() -> Iterator[SearchEngine]:
    yield from _engine(specimen.HashEncoder)


@pytest.fixture
def lexical_engine() -> Iterator[SearchEngine]:
    """Its encoder cannot be loaded."""
    yield from _engine(_no_encoder)


def _engine(encoder: Callable[[], Encoder], **changes: object) -> Iterator[SearchEngine]:
    engine = SearchEngine(_SETTINGS.model_copy(update=changes), encoder)
    yield engine
    engine.close()


def _search(
    engine: SearchEngine, query: str, *generations: Generation, scope: Scope = _EVERYTHING, limit: int = 10,
    mode: Mode = Mode.AUTO,
) -> SearchResult:  # fmt: skip
    return engine.search(query, generations, scope=scope, limit=limit, mode=mode)


def _names(result: SearchResult) -> list[str]:
    return [hit.chunk.name for hit in result.hits]


# what is found


MIXED = (Mode.AUTO, Mode.HYBRID)
RANKING = (*MIXED, Mode.LEXICAL, Mode.SEMANTIC)  # the modes that need no pattern and no sparse model


@pytest.mark.parametrize("mode", RANKING)
@pytest.mark.parametrize("query", ["torn_lines", "rotate_ledger", "drainQueue", "how to drain the queue"])
def test_a_name_is_found_in_every_mode(engine: SearchEngine, generation: Generation, mode: Mode, query: str) -> None:
    result = _search(engine, query, generation, mode=mode)
    assert _names(result)[0] == {"how to drain the queue": "drainQueue"}.get(query, query)
    assert result.degraded == {}
    asked = {Mode.LEXICAL: {"lexical"}, Mode.SEMANTIC: {"dense"}}.get(mode, {"dense", "lexical"})
    assert set(result.channels) - {"symbols"} == asked
    assert set(result.hits[0].channels) == asked  # the specimen has no symbols
    assert all(seen.rank >= 1 for hit in result.hits for seen in hit.channels.values())
    assert [hit.rank for hit in result.hits] == list(range(1, len(result.hits) + 1))
    assert result.hits[0].gen_id == generation.manifest.gen_id


def test_the_same_question_has_the_same_answer(engine: SearchEngine, generation: Generation) -> None:
    first, second = (_search(engine, "append a line", generation) for _ in range(2))
    assert first.hits == second.hits


def test_every_step_is_recorded(engine: SearchEngine, generation: Generation) -> None:
    with run("search", None) as current:
        _search(engine, "torn_lines", generation)
    assert {step.kind for step in current.steps} == {
        "query.profile", "query.budget", "embed.query", "faiss.primary", "retrieve.dense", "retrieve.lexical",
        "retrieve.symbols",
        "retrieve.sparse", "retrieve.exact", "retrieve.gather", "gate.secondary", "fuse.scores", "hydrate.catalog",
        "rank.priors", "retrieve.cocitation", "rank.select",
    }  # fmt: skip
    skipped = {step.kind: step.reason for step in current.steps if step.status is not Status.COMPLETED}
    assert skipped == {
        "retrieve.sparse": "not_configured", "retrieve.exact": "nothing quoted", "retrieve.cocitation": "not_promoted",
    }  # fmt: skip


@pytest.mark.parametrize("mode", RANKING)
@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        (Scope(paths=("src/",)), {"src/ledger.py", "src/queue.go"}),
        (Scope(languages=("go",)), {"src/queue.go"}),
        (Scope(include_tests=False), {"src/ledger.py", "src/queue.go", "vendor/ledger.py"}),
        (Scope(include_generated=False), {"src/ledger.py", "src/queue.go", "tests/test_ledger.py"}),
        (Scope(paths=("nowhere/",)), set()),
    ],
)
def test_a_scope_holds_in_every_channel(
    engine: SearchEngine, generation: Generation, mode: Mode, scope: Scope, allowed: set[str]
) -> None:
    result = _search(engine, "append line ledger queue", generation, scope=scope, mode=mode)
    assert {hit.chunk.path for hit in result.hits} <= allowed
    assert bool(result.hits) == bool(allowed)
    inside = {
        row["chunk_id"] for row in specimen.chunk_rows("demo", specimen.FILES) if row["path"] in allowed
    }  # fmt: skip
    for channel in result.channels.values():
        assert set(channel.ranked[0].tolist()) <= inside  # not only after hydration


def test_decisions_are_recorded_with_their_reasons(engine: SearchEngine, generation: Generation) -> None:
    with run("search", None) as current:
        _search(engine, "how are torn lines handled", generation)
    steps = {step.kind: step for step in current.steps}
    assert steps["query.profile"].attributes["kind"] == "natural"
    assert steps["query.budget"].attributes["reason"] == "usual depth"
    assert str(steps["fuse.scores"].attributes["reason"]).startswith("prose; best word hit is")
    assert steps["retrieve.symbols"].status is Status.SKIPPED
    assert steps["retrieve.symbols"].reason == "no identifier asked"


def test_a_hit_explains_its_score(engine: SearchEngine, generation: Generation) -> None:
    for hit in _search(engine, "torn_lines of the ledger", generation).hits:
        assert hit.score == pytest.approx(hit.fused + sum(hit.explain.values()), abs=1e-4)
        assert set(hit.explain) <= set(PRIORS)


def test_only_the_owners_of_candidates_are_asked(
    engine: SearchEngine, home: Home, source: Repo, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    specimen.publish_files(home, source, {"z.py": {"zebra": "def zebra():\n    pass\n"}}, name="other")
    other = RepositoryReader(home.repository("other")).acquire()
    asked: list[int] = []
    places = Catalog.places

    def counting(catalog: Catalog, ids: Sequence[int], scope: Scope) -> dict[int, ChunkPlace]:
        asked.extend(ids)
        found = places(catalog, ids, scope)
        assert len(found) == len(ids)  # nobody is asked for what another holds
        return found

    monkeypatch.setattr(Catalog, "places", counting)
    _search(engine, "zebra", generation, other)
    assert len(asked) == len(set(asked)) == 8


def test_no_file_takes_every_place(generation: Generation) -> None:
    for limit in (1, 2, 4):
        (engine,) = [next(_engine(specimen.HashEncoder, max_per_file=limit))]
        for asked, most in ((None, limit), (3, 3)):  # a caller's own cap goes before the setting
            found = engine.search("ledger append line path", [generation], scope=_EVERYTHING, limit=10, per_file=asked)
            assert [hit.chunk.path for hit in found.hits].count("src/ledger.py") == most
        engine.close()


def test_two_repositories_are_merged(engine: SearchEngine, home: Home, source: Repo, generation: Generation) -> None:
    other = {"lib/z.py": {"zebra_crossing": "def zebra_crossing():\n    return torn_lines('x')\n"}}
    specimen.publish_files(home, source, other, name="other")
    both = (generation, RepositoryReader(home.repository("other")).acquire())
    for mode in RANKING:
        assert {hit.chunk.repo for hit in _search(engine, "torn_lines zebra_crossing", *both, mode=mode).hits} == {
            "demo", "other",
        }  # fmt: skip
    hit = _search(engine, "zebra_crossing", *both).hits[0]
    assert (hit.chunk.repo, hit.gen_id) == ("other", both[1].manifest.gen_id)


def test_rolling_back_and_forth_keeps_every_channel(
    engine: SearchEngine, home: Home, source: Repo, published: Path
) -> None:
    """A generation that is closed and opened again has new readers; the engine must not use the old ones."""
    at = home.repository("demo")
    newer = specimen.publish_files(home, source)
    reader = RepositoryReader(at)
    for folder in (published, newer, published, newer):
        point_at(at, folder.name)
        reader.refresh()
        generation = reader.acquire()
        result = _search(engine, "torn_lines", generation)
        generation.release()
        assert (_names(result)[0], result.degraded) == ("torn_lines", {})


# when a channel is gone


def test_without_a_model_words_still_answer(lexical_engine: SearchEngine, generation: Generation) -> None:
    result = _search(lexical_engine, "torn_lines", generation)
    assert _names(result)[0] == "torn_lines"
    assert result.degraded == {"dense": "failed: the model is not there"}
    assert set(result.hits[0].channels) == {"lexical"}


def test_without_lucene_vectors_still_answer(engine: SearchEngine, home: Home, published: Path) -> None:
    next((published / "lucene").glob("segments_*")).unlink()
    generation = RepositoryReader(home.repository("demo"), verify=False).acquire()
    result = _search(engine, "torn_lines", generation)
    assert _names(result)[0] == "torn_lines"
    assert result.degraded["lexical"].startswith("skipped: the Lucene index cannot be opened")


def test_without_any_channel_the_reasons_are_named(
    lexical_engine: SearchEngine, home: Home, generation: Generation, published: Path
) -> None:
    with pytest.raises(RetrievalUnavailable, match="dense failed: the model is not there"):
        _search(lexical_engine, "torn_lines", generation, mode=Mode.SEMANTIC)
    next((published / "lucene").glob("segments_*")).unlink()
    broken = RepositoryReader(home.repository("demo"), verify=False).acquire()
    with pytest.raises(RetrievalUnavailable, match=r"dense failed: the model.*lexical skipped: the Lucene index"):
        _search(lexical_engine, "torn_lines", broken)


def test_vectors_of_another_contract_are_never_compared(generation: Generation) -> None:
    other = specimen.HashEncoder(replace(specimen.CONTRACT, revision="2"))
    (engine,) = [next(_engine(lambda: other))]
    result = _search(engine, "torn_lines", generation)
    assert "embedding contract differs in revision ('1', expected '2')" in result.degraded["dense"]
    assert set(result.hits[0].channels) == {"lexical"}
    engine.close()


def test_a_deadline_that_is_over_is_an_error_and_not_an_empty_answer(
    engine: SearchEngine, generation: Generation
) -> None:
    with pytest.raises(RetrievalUnavailable, match="timed_out"):
        engine.search("torn_lines", [generation], scope=_EVERYTHING, limit=5, deadline=Deadline.after(-1))


def test_a_glob_too_complex_for_lucene_leaves_the_vectors(engine: SearchEngine, generation: Generation) -> None:
    result = _search(engine, "torn_lines", generation, scope=Scope(paths=("**/*l" + "?" * 30, "src/")))
    assert "too complex" in result.degraded["lexical"]
    assert _names(result)[0] == "torn_lines"


# bad input


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1, 10**9])
def test_limits_are_named(engine: SearchEngine, generation: Generation, limit: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"limit must be 1\.\.{MAX_LIMIT}"):
        _search(engine, "x", generation, limit=limit)


@pytest.mark.parametrize("limit", [1, 3, MAX_LIMIT])
def test_limits_hold(engine: SearchEngine, generation: Generation, limit: int) -> None:
    assert len(_search(engine, "ledger append", generation, limit=limit).hits) == min(limit, 6)


@pytest.mark.parametrize(
    "query", ["", " ", "\n\t\r ", "\0", "\0 \0", "\u3000", "x" * (MAX_QUERY_CHARS + 1), "x" * 100_000]
)
def test_queries_that_are_refused(engine: SearchEngine, generation: Generation, query: str) -> None:
    with pytest.raises(InvalidRequest, match=r"empty|limit is"):
        _search(engine, query, generation)


@pytest.mark.parametrize(
    "query",
    ["a", "?", "!!! ... ---", '"(+-*?:~/[]{}^\\', "torn_lines\0", "\ud800", "torn \udfff", "😀🔥", "\u200b",
     "the of and", "terms:* OR id:[* TO *]", "'; DROP TABLE chunks; --", "x" * MAX_QUERY_CHARS, "a " * 5000,
     "İ" * 500, "_" * 50],
)  # fmt: skip
@pytest.mark.parametrize("mode", [*RANKING, Mode.EXACT, Mode.REGEX])
def test_awkward_queries_have_a_defined_answer(
    engine: SearchEngine, generation: Generation, mode: Mode, query: str
) -> None:
    try:
        result = _search(engine, query, generation, mode=mode)
    except InvalidPattern:
        assert mode is Mode.REGEX or len(query) > MAX_PATTERN_CHARS
    else:
        assert result.degraded == {}


def test_searchers_go_with_their_generation(home: Home, published: Path) -> None:
    generation = RepositoryReader(home.repository("demo")).acquire()
    resources = Resources(specimen.HashEncoder)
    assert generation.lexical is not None
    searcher = weakref.ref(resources.searcher((generation.lexical,)))
    assert resources.searcher((generation.lexical,)) is searcher()
    generation.retire()
    assert searcher() is not None  # a request still holds the generation
    generation.release()
    assert searcher() is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(), max_size=60))
def test_any_text_is_answered_or_refused(engine: SearchEngine, generation: Generation, query: str) -> None:
    try:
        result = _search(engine, query, generation)
    except InvalidRequest:
        assert not query.replace("\0", "").strip()
    else:
        assert result.degraded == {}


def test_repositories_whose_turn_did_not_come_are_named(home: Home, source: Repo, generation: Generation) -> None:
    """The first generation takes all the time there is for vectors."""
    specimen.publish_files(home, source, {"z.py": {"zebra": "def zebra():\n    pass\n"}}, name="other")
    other = RepositoryReader(home.repository("other")).acquire()
    now = Deadline.after(60)
    request = Request("zebra", profile("zebra"), [generation, other], _EVERYTHING, 10, now)
    search = SEARCHES["dense"](request, Resources(specimen.HashEncoder))
    assert callable(search)
    everything = set(search()[0].tolist())
    assert request.notes == []
    late = replace(request, deadline=_NearlyOver(now.at_s), notes=[], owners={})
    search = SEARCHES["dense"](late, Resources(specimen.HashEncoder))
    assert callable(search)
    found = set(search()[0].tolist())
    assert found < everything
    assert set(late.owners.values()) == {generation}
    assert late.notes == ["time ran out: vectors of 1 repositories were not searched: other"]


class _NearlyOver(Deadline):
    def within(self, seconds: float) -> Deadline:
        return Deadline.after(-1)
