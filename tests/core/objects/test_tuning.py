"""Learned weights are the home's: promoted on one machine they count on all, and two machines do not both win."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from codeintel_core.errors import BucketUnavailable, PublishConflict, TuningRefused
from codeintel_core.objects import keys, shared
from codeintel_core.objects.bucket import Bucket, Entry
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.tuning import Announce, Tuning, Tunings
from codeintel_core.settings import Settings
from tests.core.objects.conftest import Machine, MakeMachine

_FACTORS = {"identifier": {"symbols": 2.0}}


def document(parent: str = "", **changes: float) -> Tuning:
    factors = {"identifier": changes} if changes else _FACTORS
    return Tuning(parent=parent, created_at=datetime.now(UTC), factors=factors, learned_from={}, numbers={})


def announce(machine: Machine) -> Announce:
    return partial(shared.announce_files, machine.settings)


def promote(machine: Machine, parent: str = "", **changes: float) -> str:
    """Promote as the command does."""
    shared.opened(machine.settings, generations=False)
    return tuning.promote(machine.home, document(parent, **changes), announce(machine))


def key(machine: Machine, tuning_id: str) -> str:
    return keys.shared_file(machine.home, machine.home.tuning / f"{tuning_id}.json")


def test_what_is_promoted_on_one_machine_counts_on_all_until_it_is_rolled_back(
    builder: Machine, reader: Machine
) -> None:
    follower, now = reader.replica(), Tunings(reader.home)
    follower.follow()
    assert now().tuning_id == ""
    first = promote(builder)
    second = promote(builder, first, exact=3.0)
    follower.follow()
    assert now().tuning_id == second
    assert now().factors == {"identifier": {"exact": 3.0}}
    assert tuning.kept(reader.home) == tuning.kept(builder.home)

    shared.opened(reader.settings, generations=False)  # roll back on the other machine
    assert tuning.roll_back(reader.home, None, announce(reader)) == first
    with pytest.raises(PublishConflict, match="a person rolled back"):
        promote(builder, first)
    assert Tunings(builder.home)().tuning_id == first
    assert tuning.resume(builder.home, announce(builder))
    follower.follow()
    assert not tuning.held(reader.home).exists()
    third = promote(reader, first, exact=2.0)
    shared.opened(builder.settings, generations=False)
    assert tuning.current_id(builder.home) == third
    assert follower.problem == ""


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_promotions_at_once_one_counts_and_the_other_is_told(
    builder: Machine, reader: Machine, is_first: bool
) -> None:
    parent = "" if is_first else promote(builder)
    for machine in (builder, reader):
        shared.opened(machine.settings, generations=False)
    won = tuning.promote(builder.home, document(parent, exact=3.0), announce(builder))
    for change in (
        lambda: tuning.promote(reader.home, document(parent, exact=4.0), announce(reader)),
        lambda: tuning.roll_back(reader.home, parent, announce(reader)),
    ):
        with pytest.raises(PublishConflict, match=r"tuning/CURRENT was changed in s3://.* meanwhile"):
            change()
        assert tuning.current_id(reader.home) == parent  # nothing was changed here
    shared.opened(reader.settings, generations=False)
    assert tuning.current_id(reader.home) == won == tuning.current_id(builder.home)


def test_a_promotion_that_ends_before_it_is_done_here_is_done_by_the_next_look(
    builder: Machine, reader: Machine
) -> None:
    def killed(changes: Mapping[Path, bytes | None]) -> None:
        shared.announce_files(builder.settings, changes)
        raise KeyboardInterrupt

    first = promote(builder)
    shared.opened(builder.settings, generations=False)
    with pytest.raises(KeyboardInterrupt):
        tuning.promote(builder.home, document(first, exact=3.0), killed)
    assert tuning.current_id(builder.home) == first
    shared.share(builder.settings)  # which another command does: what is older here is not written back
    reader.replica().follow()
    second = tuning.current_id(reader.home)
    assert tuning.load(reader.home, second).parent == first
    builder.replica().follow()
    assert tuning.current_id(builder.home) == second


def test_without_the_bucket_nothing_is_promoted(builder: Machine, reader: Machine, machine: MakeMachine) -> None:
    first = promote(builder)
    away = machine("builder", endpoint="http://127.0.0.1:9")
    with pytest.raises(BucketUnavailable):
        tuning.promote(away.home, document(first, exact=3.0), announce(away))
    with pytest.raises(BucketUnavailable):
        tuning.roll_back(away.home, "", announce(away))
    assert tuning.current_id(builder.home) == first
    assert not tuning.held(builder.home).exists()


def test_a_document_that_is_not_its_id_is_refused_by_name_until_it_is_repaired(
    builder: Machine, reader: Machine
) -> None:
    first = promote(builder)
    bucket, follower, now = Bucket.of(builder.settings), reader.replica(), Tunings(reader.home)
    good = bucket.get(key(builder, first))
    assert good is not None
    bucket.put(key(builder, first), good[0].replace(b"2.0", b"9.0"))
    follower.follow()
    assert now().factors == {}
    assert f"tuning document {first} does not match its digest" in now().problem
    assert follower.problem == ""  # repositories are followed all the same
    bucket.put(key(builder, first), good[0])
    follower.follow()
    assert (now().tuning_id, now().problem) == (first, "")


def test_damage_on_one_machine_stays_there(builder: Machine, reader: Machine) -> None:
    first = promote(builder)
    (builder.home.tuning / f"{first}.json").write_bytes(b"{}")
    with pytest.raises(TuningRefused, match=first):
        tuning.load(builder.home, first)
    shared.share(builder.settings)
    reader.replica().follow()
    assert Tunings(reader.home)().tuning_id == first
    (builder.home.tuning / f"{first}.json").unlink()  # the way to repair it
    shared.share(builder.settings)
    builder.replica().follow()
    assert Tunings(builder.home)().tuning_id == first


def test_a_pointer_that_is_younger_than_the_listing_comes_with_its_document(builder: Machine, reader: Machine) -> None:
    first = promote(builder)
    listed = Bucket.of(reader.settings).list(keys.STATE)
    second = promote(builder, first, exact=3.0)
    reader.replica().files.pull(listed)
    assert Tunings(reader.home)().tuning_id == second


def test_a_listing_that_is_older_takes_nothing_away(builder: Machine) -> None:
    before: dict[str, Entry] = Bucket.of(builder.settings).list(keys.STATE)
    first = promote(builder)
    shared.share(builder.settings)
    shared.opened(builder.settings, generations=False)
    builder.replica().files.pull(before)
    assert Tunings(builder.home)().tuning_id == first


def test_weights_of_a_home_that_was_a_folder_are_brought(builder: Machine, reader: Machine) -> None:
    folder = Settings(home=builder.settings.home)
    first = tuning.promote(builder.home, document(), partial(shared.announce_files, folder))
    shared.opened(builder.settings, generations=False)
    shared.share(builder.settings)
    reader.replica().follow()
    assert Tunings(reader.home)().tuning_id == first


def test_what_a_purge_masked_in_a_document_is_masked_everywhere(builder: Machine, reader: Machine) -> None:
    first = promote(builder)
    follower, now = reader.replica(), Tunings(reader.home)
    follower.follow()
    assert now().tuning_id == first
    bucket = shared.bucket_purge(builder.settings, wait_s=0)
    assert bucket is not None
    bucket.bring()
    path = builder.home.tuning / f"{first}.json"
    path.write_bytes(path.read_bytes().replace(b"symbols", b"*******"))  # as the purge of the folder does
    assert len(bucket.reach_followers()) == 1
    follower.follow()
    assert bucket.reach_followers() == {}
    for data in (
        (reader.home.tuning / path.name).read_bytes(),
        (Bucket.of(builder.settings).get(key(builder, first)) or [b"symbols"])[0],
    ):
        assert b"symbols" not in data
    assert "does not match its digest" in now().problem
