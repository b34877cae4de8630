"""Modes: sparse, exact and regex search through the engine, what is automatic, and what a missing channel gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.sparse.contract import Impacts, SparseContract, SparseEncoder
from codeintel_core.embedding.sparse.local import LocalSparseEncoder, folder_contract
from codeintel_core.errors import ChannelUnavailable, InvalidPattern, ModelUnavailable, RetrievalUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import RepositoryReader
from codeintel_core.home import Home
from codeintel_core.retrieval.engine import SearchEngine, SearchResult
from codeintel_core.retrieval.modes import Mode, phrases
from codeintel_core.retrieval.profile import profile
from codeintel_core.scope import Scope
from codeintel_core.secrets import purged
from codeintel_core.secrets.purged import PurgeList
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, run
from tests import tiny_splade
from tests.conftest import Repo
from tests.core import specimen

_SETTINGS = Settings(retrieval_budget_ms=60_000)


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> LocalSparseEncoder:
    folder = tiny_splade.write_model(tmp_path_factory.mktemp("sparse") / "tiny")
    contract = folder_contract(folder, document_terms=50, query_terms=10)
    return LocalSparseEncoder(folder, folder.parent, contract)


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory, splade: LocalSparseEncoder) -> Iterator[Generation]:
    folder = tmp_path_factory.mktemp("demo")
    home = Home(folder / "home")
    specimen.publish_files(home, Repo(folder / "source"), sparse_encoder=splade)
    reader = RepositoryReader(home.repository("demo"))
    yield reader.acquire()
    reader.close()


@pytest.fixture
def purging(generation: Generation) -> Iterator[Generation]:
    """`generation` while a purge of what one of its chunks says is going on."""
    at = Home(generation.git.path.parent.parent.parent).purged
    purged.save(at, PurgeList(patterns=(r"ledger\.old",)))
    yield generation
    at.unlink()


Open = Callable[..., SearchEngine]


@pytest.fixture
def opened() -> Iterator[Open]:
    engines: list[SearchEngine] = []

    def make(sparse_encoder: Callable[[], SparseEncoder] | None = None) -> SearchEngine:
        engines.append(SearchEngine(_SETTINGS, specimen.HashEncoder, sparse_encoder=sparse_encoder))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def _search(
    engine: SearchEngine, query: str, generation: Generation, mode: Mode, scope: Scope = Scope()  # noqa: B008 (frozen)
) -> SearchResult:  # fmt: skip
    return engine.search(query, [generation], scope=scope, limit=10, mode=mode)


# sparse


def test_sparse_finds_what_only_its_synonyms_say(
    opened: Open, generation: Generation, splade: LocalSparseEncoder
) -> None:
    engine = opened(lambda: splade)
    result = _search(engine, "torn", generation, Mode.SPARSE)
    assert result.hits[0].chunk.name == "torn_lines"
    assert set(result.hits[0].channels) == {"sparse"}
    hybrid = _search(engine, "torn_lines", generation, Mode.HYBRID)
    assert {"dense", "lexical", "sparse"} <= set(hybrid.hits[0].channels)
    assert hybrid.weights["sparse"] > 0
    inside = _search(engine, "line", generation, Mode.SPARSE, Scope(paths=("tests/**",)))
    assert {hit.chunk.path for hit in inside.hits} == {"tests/test_ledger.py"}


def test_a_query_that_means_nothing_to_the_model_finds_nothing(
    opened: Open, generation: Generation, splade: LocalSparseEncoder
) -> None:
    with run("search", None) as current:
        result = _search(opened(lambda: splade), "zebra crossing", generation, Mode.SPARSE)
    assert (result.hits, result.degraded) == ([], {})
    assert {s.kind: s.attributes.get("terms") for s in current.steps}["encode.sparse"] == 0


def test_without_a_model_the_channel_is_off_and_says_so(opened: Open, generation: Generation) -> None:
    with run("search", None) as current:
        result = _search(opened(), "torn_lines", generation, Mode.HYBRID)
    assert (result.idle["sparse"], result.degraded) == ("not_configured", {})
    steps = {step.kind: (step.status, step.reason) for step in current.steps}
    assert steps["retrieve.sparse"] == (Status.SKIPPED, "not_configured")
    with pytest.raises(ChannelUnavailable, match="sparse channel is off: not_configured"):
        _search(opened(), "torn_lines", generation, Mode.SPARSE)


def test_a_generation_without_the_index_degrades(
    opened: Open, standing: Generation, splade: LocalSparseEncoder
) -> None:
    result = _search(opened(lambda: splade), "torn_lines", standing, Mode.HYBRID)
    assert result.degraded == {"sparse": "skipped: 'demo' has no sparse index: not_configured"}
    assert result.hits[0].chunk.name == "torn_lines"
    with pytest.raises(ChannelUnavailable, match="'demo' has no sparse index"):
        _search(opened(lambda: splade), "torn_lines", standing, Mode.SPARSE)


def test_a_model_that_fails_fails_its_channel_only(opened: Open, generation: Generation) -> None:
    def down() -> SparseEncoder:
        raise ModelUnavailable("the sparse endpoint is left alone for 9 s")

    result = _search(opened(down), "torn_lines", generation, Mode.HYBRID)
    assert result.hits[0].chunk.name == "torn_lines"
    assert result.degraded == {"sparse": "failed: the sparse endpoint is left alone for 9 s"}
    with pytest.raises(RetrievalUnavailable, match="left alone"):
        _search(opened(down), "torn_lines", generation, Mode.SPARSE)


def test_impacts_of_another_model_are_never_compared(
    opened: Open, generation: Generation, splade: LocalSparseEncoder
) -> None:
    class Other:
        contract: SparseContract = replace(splade.contract, vocabulary=5)

        def encode_documents(self, texts: object) -> list[Impacts]:
            raise NotImplementedError

        def encode_query(self, text: str) -> Impacts:
            return np.array([[4, 100]], np.int32)

    result = _search(opened(Other), "torn_lines", generation, Mode.HYBRID)
    assert "sparse contract differs in vocabulary" in result.degraded["sparse"]


# exact and regex


def test_exact_is_what_is_written(opened: Open, generation: Generation) -> None:
    result = _search(opened(), "self.file.write(line)", generation, Mode.EXACT)
    (hit,) = result.hits
    assert (hit.chunk.symbol, hit.matches) == ("Ledger.append", ((4, 4),))
    assert _search(opened(), "Self.file.write(line)", generation, Mode.EXACT).hits == []  # case counts
    assert _search(opened(), "file.write.line", generation, Mode.EXACT).hits == []  # a dot is a dot


def test_regex_ranks_names_and_sources_first(opened: Open, generation: Generation) -> None:
    result = _search(opened(), r"(write|rotate)\w*\(", generation, Mode.REGEX)
    assert [hit.chunk.path for hit in result.hits] == ["src/ledger.py", "src/ledger.py", "vendor/ledger.py"]
    assert set(result.channels) == {"regex"}
    lines = _search(opened(), r"^\s+q\.Drain|return q", generation, Mode.REGEX).hits
    assert [(hit.chunk.name, hit.matches) for hit in lines] == [("drainQueue", ((2, 2),))]


def test_a_match_may_span_lines_and_a_scope_holds(opened: Open, generation: Generation) -> None:
    result = _search(opened(), r"def append.*\n\s+self", generation, Mode.REGEX)
    assert [hit.matches for hit in result.hits] == [((3, 4),)]
    narrowed = _search(opened(), "append", generation, Mode.REGEX, Scope(languages=("go",)))
    assert narrowed.hits == []
    tests = _search(opened(), "append", generation, Mode.EXACT, Scope(include_tests=False, include_generated=False))
    assert {hit.chunk.path for hit in tests.hits} == {"src/ledger.py"}


@pytest.mark.parametrize(
    ("mode", "query", "found"),
    [
        (Mode.REGEX, r"ledger\.old", []),  # what was purged
        (Mode.REGEX, "rename.'l", []),  # how it begins
        (Mode.REGEX, r"rename\('(l|\*)", []),  # what is shown matches, whatever it is
        (Mode.REGEX, r"rename\('(x|\*)", []),
        (Mode.REGEX, r"rename\('\b", []),  # whether there is a letter beside the match
        (Mode.REGEX, r"rename\('\B", []),
        (Mode.REGEX, r"path\.rename|old", ["rotate_ledger"]),
        (Mode.REGEX, "ledger", ["rotate_ledger"]),
        (Mode.EXACT, "ledger.old", []),
        (Mode.EXACT, "path.rename", ["rotate_ledger"]),
    ],
)
def test_what_was_purged_is_not_found_by_guessing(
    opened: Open, purging: Generation, mode: Mode, query: str, found: list[str]
) -> None:
    """Though the index of before the purge still serves."""
    assert [hit.chunk.symbol for hit in _search(opened(), query, purging, mode).hits] == found


def test_a_right_guess_leaves_the_steps_of_a_wrong_one(opened: Open, purging: Generation) -> None:
    def steps(query: str) -> list[str]:
        with run("search", None) as current:
            _search(opened(), query, purging, Mode.REGEX)
        return [step.kind for step in current.steps]

    assert steps(r"rename\('l") == steps(r"rename\('x")


def test_neither_purged_names_nor_purged_files_are_found(opened: Open, purging: Generation) -> None:
    def found() -> list[str]:
        return [hit.chunk.symbol for hit in _search(opened(), "def rotate_led.er|q.Drain", purging, Mode.REGEX).hits]

    assert found() == ["drainQueue", "rotate_ledger"]
    gone = PurgeList(patterns=("rotate_ledger",), paths=frozenset({("demo", "src/queue.go")}))
    purged.save(Home(purging.git.path.parent.parent.parent).purged, gone)
    assert found() == []


def test_a_bad_pattern_is_refused_before_anything_is_searched(opened: Open, generation: Generation) -> None:
    with run("search", None) as current, pytest.raises(InvalidPattern, match="at position 3"):
        _search(opened(), "abc((d)", generation, Mode.REGEX)
    assert not any(step.kind.startswith("retrieve") for step in current.steps)


def test_a_scan_ends_at_its_deadline(opened: Open, generation: Generation) -> None:
    with pytest.raises(RetrievalUnavailable, match="timed_out"):
        opened().search(
            "a.c", [generation], scope=Scope(), limit=5, mode=Mode.REGEX, deadline=Deadline.after(0)
        )  # fmt: skip


# what is automatic


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('where is "append only lines" raised', ["append only lines"]),
        ("what does `q.Drain()` do", ["q.Drain()"]),
        ("why does 'torn_lines' fail", []),  # a name has its own channel
        ("don't append what isn't a line", []),
        ("how are lines appended", []),
        ("KeyError: 'x' is not in the registry of commands", ["is not in the registry of commands"]),
        (
            "ValueError: could not read 12 bytes from /tmp/a: the file is truncated",
            ["the file is truncated", "could not read"],
        ),
    ],
)
def test_what_a_query_quotes(query: str, found: list[str]) -> None:
    assert phrases(query, profile(query)) == found


def test_quoted_text_is_looked_for_only_in_auto(opened: Open, generation: Generation) -> None:
    query = 'who says "Append only lines"'
    auto = _search(opened(), query, generation, Mode.AUTO)
    assert auto.hits[0].chunk.symbol == "Ledger"
    assert auto.hits[0].channels["exact"].rank == 1
    assert auto.hits[0].matches == ((2, 2),)
    hybrid = _search(opened(), query, generation, Mode.HYBRID)
    assert "exact" not in hybrid.channels
    assert _search(opened(), "append lines", generation, Mode.AUTO).idle["exact"] == "nothing quoted"
