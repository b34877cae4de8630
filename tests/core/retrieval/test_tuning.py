"""Tuning documents: immutable, found by their digest, swapped by a pointer, refused when damaged, rolled back."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from codeintel_core.errors import PublishConflict, TuningRefused, UnknownTuning
from codeintel_core.home import Home
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.blend import blend
from codeintel_core.retrieval.cocitation import Pairs
from codeintel_core.retrieval.profile import profile
from codeintel_core.retrieval.tuning import UNTUNED, Tuned, Tuning, Tunings
from tests.core.retrieval.test_blend import _ranked

_FACTORS = {"identifier": {"lexical": 2.0, "symbols": 0.5}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def _promote(home: Home, parent: str = "", **factors: dict[str, float]) -> str:
    document = Tuning(
        parent=parent,
        created_at=datetime.now(UTC),
        factors=factors or _FACTORS,
        learned_from={"sessions": 40},
        numbers={"ndcg": 0.02},
    )
    return tuning.promote(home, document)


def test_factors_change_the_odds_of_words_and_the_weight_of_the_rest() -> None:
    asked, channels = profile("parse_header"), {"lexical": _ranked(1, 1), "dense": _ranked(0.99)}
    plain = blend(asked, channels).weights
    found = blend(asked, channels, tuned=Tuned(_FACTORS, "t")).weights
    assert found["lexical"] / found["dense"] == pytest.approx(2 * plain["lexical"] / plain["dense"])
    assert found["lexical"] + found["dense"] == pytest.approx(plain["lexical"] + plain["dense"])
    assert found["symbols"] == plain["symbols"] / 2
    assert found["exact"] == plain["exact"]
    assert blend(profile("how are headers parsed"), channels, tuned=Tuned(_FACTORS, "t")).weights == (
        blend(profile("how are headers parsed"), channels).weights
    )


def test_one_channel_alone_keeps_its_weight() -> None:
    asked, alone = profile("parse_header"), {"lexical": _ranked(1, 1)}
    assert blend(asked, alone, tuned=Tuned(_FACTORS, "t")) == blend(asked, alone)


def test_a_promotion_is_noticed_without_a_restart(home: Home) -> None:
    now = Tunings(home)
    assert now() == UNTUNED
    first = _promote(home)
    assert now() == Tuned(_FACTORS, first)
    second = _promote(home, first, error={"exact": 1.5})
    assert now() == Tuned({"error": {"exact": 1.5}}, second)
    assert tuning.load(home, second).parent == first
    assert sorted(tuning.kept(home)) == sorted([first, second])


def test_rolling_back_goes_to_the_parent_then_to_the_defaults_and_holds(home: Home) -> None:
    first = _promote(home)
    _promote(home, first, error={"exact": 1.5})
    assert not tuning.held(home).exists()
    assert tuning.roll_back(home) == first == tuning.current_id(home)
    assert tuning.held(home).exists()
    assert tuning.roll_back(home) == ""
    assert Tunings(home)() == UNTUNED
    with pytest.raises(UnknownTuning, match="defaults already"):
        tuning.roll_back(home)
    assert tuning.roll_back(home, first) == first
    with pytest.raises(PublishConflict, match="tuning resume"):
        _promote(home, first, path={"exact": 2.0})
    assert tuning.resume(home)
    assert not tuning.resume(home)
    with pytest.raises(PublishConflict, match="compared with the defaults"):
        _promote(home, path={"exact": 2.0})
    assert tuning.current_id(home) == first


def test_pairs_of_files_are_kept_with_the_factors(home: Home) -> None:
    pairs = Pairs(weight=0.1, neighbours={"r": {"a/é.py": {"b.py": 0.5}}})
    document = Tuning(
        parent="", created_at=datetime.now(UTC), factors=_FACTORS, learned_from={}, numbers={}, pairs=pairs
    )
    tuning_id = tuning.promote(home, document)
    assert Tunings(home)() == Tuned(_FACTORS, tuning_id, pairs=pairs)
    more = {f"{number:0256}": {"b": 0.5} for number in range(20_000)}
    with pytest.raises(TuningRefused, match="bytes is more than"):
        tuning.promote(home, document.model_copy(update={"pairs": Pairs(neighbours={"r": more})}))
    assert tuning.current_id(home) == tuning_id


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes().replace(b"2.0", b"9.0")), "does not match its digest"),
        (lambda path: path.unlink(), "no tuning document"),
    ],
)
def test_damaged_documents_are_refused_and_the_defaults_count(home: Home, damage: object, reason: str) -> None:
    tuning_id = _promote(home)
    damage(home.tuning / f"{tuning_id}.json")  # type: ignore[operator]
    found = Tunings(home)()
    assert found.factors == {}
    assert reason in found.problem
    assert "default weights" in found.problem
    with pytest.raises((TuningRefused, UnknownTuning)):
        tuning.roll_back(home, tuning_id)


@pytest.mark.parametrize(
    ("pointer", "reason"), [("../../secret", "is not the id"), ("", ""), ("20260101T000000Z-0123456789abcdef", "no t")]
)
def test_pointers_to_nothing_are_refused(home: Home, pointer: str, reason: str) -> None:
    home.tuning.mkdir()
    (home.tuning / "CURRENT").write_text(pointer)
    found = Tunings(home)()
    assert found.factors == {}
    assert reason in found.problem
    assert bool(found.problem) == bool(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 2}, "format 2"),
        ({"factors": {"identifier": {"telepathy": 2.0}}}, "telepathy"),
        ({"factors": {"identifier": {"lexical": 0.0}}}, "greater than"),
        ({"pairs": {"weight": 0.1, "neighbours": {"r": {"a": {"b": 1.5}}}}}, "less than or equal to 1"),
        ({"pairs": {"weight": 0.0, "neighbours": {}}}, "greater than 0"),
        ({"factors": {"poem": {"lexical": 2.0}}}, "poem|identifier"),
        ({"surprise": 1}, "not permitted"),
    ],
)
def test_documents_of_another_version_are_refused(home: Home, change: dict[str, object], reason: str) -> None:
    known = tuning.load(home, _promote(home)).model_dump(mode="json")
    document = json.dumps(known | change).encode()
    tuning_id = f"20260101T000000Z-{hashlib.sha256(document).hexdigest()[:16]}"
    (home.tuning / f"{tuning_id}.json").write_bytes(document)
    with pytest.raises(TuningRefused, match=reason):
        tuning.load(home, tuning_id)
