"""Files that are opened together: one goes up to the other, never past it, and never out of the scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from codeintel_core.catalog import ChunkRow
from codeintel_core.generations.generation import Generation
from codeintel_core.retrieval.channels import COCITATION
from codeintel_core.retrieval.cocitation import NO_PAIRS, Pairs, together
from codeintel_core.retrieval.engine import Ranking, SearchEngine, SearchResult
from codeintel_core.retrieval.modes import Mode
from codeintel_core.retrieval.tuning import Tuned
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, run
from tests.core import specimen

_CHUNK = ChunkRow(0, "r", "x.py", "", "python", "source", "utf-8", "function", "", "", "", "", 1, 1, 0, 0, "")
_PAIRS = Pairs(weight=0.4, neighbours={"demo": {"src/ledger.py": {"src/queue.go": 0.5, "tests/test_ledger.py": 0.9}}})


def _together(pairs: Pairs, *files: str) -> dict[str, float]:
    """Values by file; the files have scores 1, .9, .8 …"""
    repo_and_path = [file.split(":") for file in files]
    chunks = {i: _CHUNK._replace(chunk_id=i, repo=r, path=p) for i, (r, p) in enumerate(repo_and_path)}
    ids, values = together({i: 1 - i / 10 for i in chunks}, chunks, pairs)
    assert sorted(values.tolist(), reverse=True) == values.tolist()
    return {files[i]: round(value, 6) for i, value in zip(ids.tolist(), values.tolist(), strict=True)}


def test_a_file_comes_up_to_the_one_that_it_goes_with() -> None:
    pairs = Pairs(weight=0.2, neighbours={"r": {"a": {"d": 0.5, "b": 1.0, "gone": 1.0}, "d": {"a": 1.0}}})
    # b would pass a: it comes up by .99 of what is between them.
    assert _together(pairs, "r:a", "r:b", "r:c", "r:d", "r:d") == {"r:d": 0.5, "r:b": 0.495}


def test_only_the_three_best_files_of_the_same_repository_lift_others() -> None:
    pairs = Pairs(weight=0.2, neighbours={"r": {"a": {"x": 0.5}, "c": {"x": 0.7}, "d": {"x": 0.9}}})
    assert _together(pairs, "r:a", "r:b", "r:b", "r:c", "r:d", "r:x") == {"r:x": 0.7}
    assert _together(pairs, "s:a", "r:b", "r:x", "s:x") == {}
    assert _together(NO_PAIRS, "r:a", "r:x") == {}


Search = Callable[..., SearchResult]


@pytest.fixture
def search(standing: Generation) -> Iterator[Search]:
    """Asks for lines with these pairs."""
    opened: list[SearchEngine] = []

    def ask(
        pairs: Pairs, scope: Scope | None = None, mode: Mode = Mode.AUTO, ranking: Ranking | None = None
    ) -> SearchResult:
        settings = Settings(retrieval_budget_ms=60_000)
        engine = SearchEngine(settings, specimen.HashEncoder, ranking, tuning=lambda: Tuned({}, "t", pairs=pairs))
        opened.append(engine)
        return engine.search("append a line", [standing], scope=scope or Scope(), limit=10, mode=mode)

    yield ask
    for engine in opened:
        engine.close()


def _lifted(found: SearchResult) -> dict[str, float]:
    return {hit.chunk.path: hit.channels[COCITATION].score for hit in found.hits if COCITATION in hit.channels}


def test_the_engine_adds_it_to_the_score_and_says_so(search: Search) -> None:
    plain = search(NO_PAIRS)
    with run("search", None) as current:
        found = search(_PAIRS)
    assert _lifted(found).keys() == {"src/queue.go", "tests/test_ledger.py"}
    assert found.hits[0] == plain.hits[0]
    before = {hit.chunk.chunk_id: hit for hit in plain.hits}
    for hit in found.hits:
        seen = hit.channels.get(COCITATION)
        added = found.weights[COCITATION] * seen.score if seen else 0.0
        assert hit.score == pytest.approx(before[hit.chunk.chunk_id].score + added, abs=1e-5)
        assert hit.score == pytest.approx(hit.fused + sum(hit.explain.values()), abs=1e-5)
        assert hit.score < found.hits[0].score or hit is found.hits[0]
    assert found.ranges[COCITATION] == (0.0, 1.0)
    assert found.channels[COCITATION].status is Status.COMPLETED
    assert COCITATION not in found.idle
    steps = {step.kind: step for step in current.steps}
    assert steps["retrieve.cocitation"].attributes["hits"] == 2
    assert steps["rank.select"].attributes["from_cocitation"] == 2


def test_nothing_out_of_the_scope_comes_in(search: Search) -> None:
    found = search(_PAIRS, Scope(paths=("src/",)))
    assert {hit.chunk.path for hit in found.hits} == {"src/ledger.py", "src/queue.go"}
    assert _lifted(found).keys() == {"src/queue.go"}
    assert _lifted(search(_PAIRS, Scope(paths=("tests/",)))) == {}


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [(NO_PAIRS, "not_promoted"), (Pairs(neighbours={"else": {"a": {"b": 1.0}}}), "no pairs of what was searched")],
)
def test_without_pairs_nothing_changes_and_the_channel_is_idle(search: Search, pairs: Pairs, reason: str) -> None:
    found, without = search(pairs), search(pairs, ranking=Ranking(without_channels=frozenset({COCITATION})))
    assert found.idle == without.idle | {COCITATION: reason}
    assert (found.hits, found.weights, found.ranges) == (without.hits, without.weights, without.ranges)
    assert COCITATION not in found.channels


def test_a_channel_alone_is_left_as_it_is(search: Search) -> None:
    with run("search", None) as current:
        found = search(_PAIRS, mode=Mode.LEXICAL)
    assert (_lifted(found), found.idle) == ({}, {})
    assert "retrieve.cocitation" not in {step.kind for step in current.steps}
