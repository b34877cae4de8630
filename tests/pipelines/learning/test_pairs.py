"""Pairs of files count when later sessions need both; not when they were only shown together."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from codeintel_core.catalog import ChunkRow
from codeintel_core.home import Home
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.cocitation import NO_PAIRS, Pairs, together
from codeintel_core.retrieval.tuning import Tuned, Tunings
from codeintel_core.settings import Settings
from codeintel_pipelines.evaluation.metrics import Values
from codeintel_pipelines.learning import learn, value
from codeintel_pipelines.learning.judge import Judged, judge
from codeintel_pipelines.learning.log import Log, Shown, links, ranks
from codeintel_pipelines.learning.pairs import neighbours
from codeintel_pipelines.learning.simulator import People, World, simulate, store
from tests.pipelines.learning.test_log import _read, _views

PAIRING = People(World.PAIRING, sessions=1_000, bias=0.5, related=True)
_AT = datetime(2026, 3, 1, tzinfo=UTC)
_CHUNK = ChunkRow(0, "demo", "", "", "python", "source", "utf-8", "function", "", "", "", "", 1, 1, 0, 0, "")


@pytest.fixture(scope="module")
def told() -> list[Shown]:
    return simulate(PAIRING, seed=1)


@pytest.fixture(scope="module")
def judged(told: list[Shown]) -> Judged:
    return judge(Log.of(told), {})


def test_files_that_people_need_together_serve_people_who_were_never_seen(judged: Judged) -> None:
    assert (judged.reasons, judged.pair_reasons) == ([], [])
    assert judged.weight_reasons == ["nothing better was found on the earlier sessions"]
    assert judged.factors == {}
    assert all(found.low > 0 for by in judged.pair_changes.values() for found in by.values()), judged.pair_changes
    others = Log.of(simulate(replace(PAIRING, bias=0.0, noise=0.0), seed=2))
    ours, theirs = ranks(others, {}, links(others, judged.pairs)), ranks(others, {})
    assert value.change(others, ours, theirs, value.looked_at(others)[value.NOTHING]).low > 0.02


def test_once_promoted_no_better_pairs_are_found(told: list[Shown], judged: Judged) -> None:
    again = judge(Log.of(told), {}, judged.pairs)
    assert again.pair_reasons == ["no better pairs of files were found on the earlier sessions"]
    assert again.pairs == judged.pairs


@pytest.mark.parametrize(("world", "bias"), [(World.CONTENT, 0.5), (World.BLIND, 0.5), (World.BLIND, 1.0)])
def test_files_that_are_only_shown_together_are_left_alone(world: World, bias: float) -> None:
    people = People(world, sessions=150, bias=bias, related=True)
    for seed in range(8):
        found = judge(Log.of(simulate(people, seed)), {})
        assert found.pair_reasons
        assert found.pairs == NO_PAIRS


def test_pairs_that_harm_are_taken_back() -> None:
    told = simulate(PAIRING, seed=1)
    wrong = {f"src/m{i:02d}.py": {f"src/m{(i + 7 * k) % 40:02d}.py": 1.0 for k in range(1, 6)} for i in range(40)}
    found = judge(Log.of(told), {}, Pairs(weight=1.0, neighbours={"demo": wrong}))
    assert found.pair_reasons == []
    assert not set(found.pairs.neighbours.get("demo", {}).get("src/m00.py", {})) & {"src/m07.py", "src/m14.py"}


def _sessions(*opened: str, repo: str = "demo") -> Log:
    """One session each; its files are opened by one request."""
    rows = [
        Shown(
            f"s{number}", _AT + timedelta(hours=number), "natural", {}, {},
            [(f"{repo}:{name}", 1.0, {}) for name in names], {f"{repo}:{name}": 0.3 for name in names},
        )
        for number, names in enumerate(opened)
    ]  # fmt: skip
    return Log.of(rows)


def test_what_makes_a_pair() -> None:
    others = ("x", "y", "z") * 4
    assert neighbours(_sessions("ab", "ab", "ab", "a", *others)) == {
        "demo": {"a": {"b": 0.866}, "b": {"a": 0.866}},
    }
    assert neighbours(_sessions("ab", "ab", *others)) == {}, "two sessions are too few"
    assert neighbours(_sessions("ab", "ab", "ab", "a", "b")) == {}, "no more than by chance"
    crowd = "".join(chr(ord("A") + i) for i in range(31))
    assert neighbours(_sessions(*[crowd] * 3, *others)) == {}, "people who open everything say nothing"
    many = neighbours(_sessions(*["abcdefghijkl"] * 3, *others))["demo"]
    assert [len(near) for near in many.values()] == [8] * 12
    assert neighbours(_sessions(*["ab"] * 3, *others, repo="r" * 300)) == {}, "a path that is too long for a document"


def test_offline_files_are_lifted_as_the_engine_does(told: list[Shown], judged: Judged) -> None:
    some = told[:60]
    log = Log.of(some)
    ranked = ranks(log, {}, links(log, judged.pairs))
    changed = 0
    for row, shown in enumerate(some):
        chunks = {i: _CHUNK._replace(chunk_id=i, path=file.split(":")[1]) for i, (file, _, _) in enumerate(shown.hits)}
        scores = {i: score for i, (_, score, _) in enumerate(shown.hits)}
        for chunk_id, lift in zip(*(part.tolist() for part in together(scores, chunks, judged.pairs)), strict=True):
            scores[chunk_id] += judged.pairs.weight * lift
        expected = sorted(scores, key=lambda i: -scores[i])
        assert np.argsort(ranked[row]).tolist() == expected
        changed += expected != list(range(len(expected)))
    assert changed > 5


def test_what_pairs_added_then_is_taken_out_again(home: Home, judged: Judged) -> None:
    (row,) = [shown for shown in simulate(replace(PAIRING, sessions=5), seed=4) if shown.session == "s00001"][:1]
    hits = [(file, score + 0.2 * 0.5, {**values, "cocitation": 0.5}) for file, score, values in row.hits]
    lifted = replace(row, hits=hits, weights={**row.weights, "cocitation": 0.2})
    store(home, [lifted])
    (found,) = _read(home)
    assert found.hits[0][2]["cocitation"] == 0.5
    assert Log.of([found]).rest == pytest.approx(Log.of([row]).rest)


def _golden(change: float) -> dict[str, tuple[Values, Values]]:
    before = np.linspace(0.2, 0.9, 50)
    return {"demo": (before + change, before)}


@pytest.mark.e2e
def test_a_proposal_becomes_a_document_that_counts_and_is_taken_back(
    home: Home, told: list[Shown], judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(home, told)
    monkeypatch.setattr(learn, "_golden", lambda *_: _golden(0.0))  # in place of indexes of real repositories
    with closing(_views(home)) as connection:
        proposal = learn.propose(home, Settings(home=home.root), connection)
    assert (proposal.reasons, proposal.pair_reasons) == ([], [])
    assert learn.last_proposal(home) == proposal
    tuning_id, reasons = learn.promote(home, Settings(home=home.root), "run")
    assert reasons == []
    found = Tunings(home)()
    assert (found.tuning_id, found.factors) == (tuning_id, {})
    assert found.pairs.neighbours["demo"].keys() == judged.pairs.neighbours["demo"].keys()
    assert tuning.load(home, tuning_id).numbers["of_pairs"].keys() == {value.ALL, value.NOTHING}
    tuning.roll_back(home)
    assert Tunings(home)().pairs == NO_PAIRS


def test_golden_queries_may_take_the_pairs_and_leave_the_weights(
    home: Home, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = {"identifier": {"lexical": 0.5}}
    both = replace(judged, factors=factors, weight_reasons=[])
    monkeypatch.setattr(learn, "judge", lambda *_: both)  # no simulated world teaches weights and pairs at once

    def golden(_: Home, __: Settings, ___: Tuned, ____: object, pairs: Pairs) -> dict[str, tuple[Values, Values]]:
        return _golden(-0.1 if pairs.count else 0.0)

    monkeypatch.setattr(learn, "_golden", golden)  # as above; they get worse with the pairs only
    with closing(_views(home)) as connection:
        proposal = learn.propose(home, Settings(home=home.root), connection)
    assert (proposal.reasons, proposal.factors, proposal.pairs["neighbours"]) == ([], factors, {})
    assert "golden queries" in proposal.pair_reasons[0]
    monkeypatch.setattr(learn, "judge", lambda *_: judged)
    with closing(_views(home)) as connection:
        assert "golden queries" in learn.propose(home, Settings(home=home.root), connection).reasons[0]
