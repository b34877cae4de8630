"""Registrations, holds and pins are those of the home, not of a machine."""

from __future__ import annotations

import pytest

from codeintel_core.errors import PublishConflict
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations import retention, rollback
from codeintel_core.generations.publish import current_id
from codeintel_core.objects import shared
from codeintel_core.repository import mirror
from tests.conftest import Repo
from tests.core import specimen
from tests.core.objects.conftest import Machine
from tests.core.objects.test_cache import version

pytestmark = pytest.mark.e2e


def test_a_roll_back_and_its_hold_reach_other_machines_and_end_there(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo
) -> None:
    follower = reader.replica()
    second = builder.publish(source, version(1))
    follower.follow()
    assert current_id(reader.demo) == second.gen_id
    shared.opened(reader.settings)  # roll back on the other machine
    rollback.roll_back(
        reader.home, "demo", first.gen_id, lambda gen_id: shared.announce(reader.settings, reader.demo, gen_id)
    )
    shared.share(reader.settings)
    shared.opened(builder.settings)
    assert current_id(builder.demo) == first.gen_id
    held = rollback.hold_of(builder.home, "demo")
    assert held is not None
    assert held.head == second.commit
    rollback.resume(builder.home, "demo")
    shared.share(builder.settings)
    follower.follow()
    assert rollback.hold_of(reader.home, "demo") is None


def test_a_roll_back_from_what_is_not_served_any_more_is_refused(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo
) -> None:
    second = builder.publish(source, version(1))
    reader.replica().follow()
    third = builder.publish(source, version(2))
    with pytest.raises(PublishConflict, match=f"now serves {third.gen_id} in the bucket"):
        rollback.roll_back(
            reader.home, "demo", first.gen_id, lambda gen_id: shared.announce(reader.settings, reader.demo, gen_id)
        )
    assert current_id(reader.demo) == second.gen_id


def test_pins_travel_and_two_changes_of_one_file_are_a_conflict(
    builder: Machine, reader: Machine, first: manifests.Manifest
) -> None:
    reader.replica().follow()
    retention.pin(builder.demo, first.gen_id)
    shared.share(builder.settings)
    shared.opened(reader.settings)
    assert retention.pinned(reader.demo) == {first.gen_id}
    retention.unpin(reader.demo, first.gen_id)
    shared.share(reader.settings)
    shared.opened(builder.settings)
    assert retention.pinned(builder.demo) == set()
    for machine, group in ((builder, "one"), (reader, "two")):
        entry = mirror.registration(machine.home, "demo")
        mirror.add(machine.home, entry.source, name="demo", group=group)
    shared.share(builder.settings)
    with pytest.raises(PublishConflict, match=r"repository\.json was changed"):
        shared.share(reader.settings)


def test_a_repository_that_was_only_registered_is_built_by_another_machine(
    builder: Machine, reader: Machine, source: Repo
) -> None:
    source.commit(specimen.sources(specimen.FILES))
    mirror.add(builder.home, str(source.path), name="demo")
    shared.share(builder.settings)
    manifest = reader.publish(source)
    builder.replica().follow()
    assert current_id(builder.demo) == manifest.gen_id
