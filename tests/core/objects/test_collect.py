"""Garbage collection in the bucket keeps what the rules name, and for a day what somebody may be downloading."""

from __future__ import annotations

from datetime import timedelta

import pytest

from codeintel_core.generations import manifest as manifests
from codeintel_core.generations import retention
from codeintel_core.generations.publish import current_id, point_at
from codeintel_core.generations.reader import kept
from codeintel_core.objects import keys, shared
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.collect import CollectedObjects, collect, drop
from tests.conftest import Repo
from tests.core import specimen
from tests.core.objects.conftest import Machine
from tests.core.objects.test_cache import version

pytestmark = pytest.mark.e2e

NONE = timedelta()


@pytest.fixture
def ids(builder: Machine, first: manifests.Manifest, source: Repo) -> list[str]:
    """Four generations in the bucket, oldest first."""
    return [first.gen_id, *(builder.publish(source, version(number)).gen_id for number in (1, 2, 3))]


def run(machine: Machine, **options: timedelta | bool | int) -> CollectedObjects:
    defaults = {"keep_last": 1, "min_age": NONE, "grace": timedelta(days=1)}
    return collect(Bucket.of(machine.settings), "demo", **(defaults | options))


def listed(machine: Machine) -> list[str]:
    found = Bucket.of(machine.settings).list(keys.generations("demo"))
    return sorted({key.split("/")[-2] for key in found})


def test_rules_keep_the_served_the_last_the_pinned_and_the_young(builder: Machine, ids: list[str]) -> None:
    retention.pin(builder.demo, ids[1])
    point_at(builder.demo, ids[0], lambda: shared.announce(builder.settings, builder.demo, ids[0]))
    shared.share(builder.settings)
    assert set(run(builder, min_age=timedelta(days=1)).kept) == set(ids)
    tried = run(builder, dry_run=True)
    assert tried.dropped == [ids[2]]
    assert tried.kept == {ids[0]: ["current"], ids[1]: ["pinned"], ids[3]: ["last"]}
    assert listed(builder) == ids
    assert run(builder).dropped == [ids[2]]
    assert listed(builder) == [ids[0], ids[1], ids[3]]


def test_objects_of_a_dropped_generation_stay_for_a_day_and_shared_ones_for_ever(
    builder: Machine, reader: Machine, ids: list[str]
) -> None:
    bucket = Bucket.of(builder.settings)
    before = bucket.list(keys.objects("demo"))
    done = run(builder)
    assert (done.dropped, done.deleted_objects) == (ids[:3], 0)
    assert bucket.list(keys.objects("demo")) == before  # somebody may be downloading
    done = run(builder, grace=NONE)
    assert done.deleted_objects > 0
    left = bucket.list(keys.objects("demo"))
    assert len(left) == len(before) - done.deleted_objects
    assert bucket.list(keys.dropped("demo")) == {}
    reader.replica().pull()  # the packs of older generations hold its history
    assert current_id(reader.demo) == ids[3]
    assert reader.replica().follow() == []
    assert kept(reader.demo) == [ids[3]]


def test_a_generation_that_is_served_again_while_it_goes_comes_back(
    builder: Machine, reader: Machine, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, delete = Bucket.of(builder.settings), Bucket.delete

    def roll_back_first(self: Bucket, gone: object) -> None:
        monkeypatch.setattr(Bucket, "delete", delete)
        point_at(builder.demo, ids[1], lambda: shared.announce(builder.settings, builder.demo, ids[1]))
        delete(self, gone)

    monkeypatch.setattr(Bucket, "delete", roll_back_first)
    drop(bucket, "demo", [ids[1]])
    reader.replica().pull()
    assert current_id(reader.demo) == ids[1]


def test_an_upload_sends_again_what_only_collected_generations_name(
    builder: Machine, ids: list[str], source: Repo, monkeypatch: pytest.MonkeyPatch, sent: list[str]
) -> None:
    run(builder)
    monkeypatch.setattr("codeintel_core.objects.upload.GRACE", NONE)  # all of it is old
    sent.clear()
    again = builder.publish(source, specimen.FILES)  # as the first generation was
    first = manifests.load(builder.demo.generation(ids[0]))
    third = manifests.load(builder.demo.generation(ids[3]))
    only_first = {f.sha256 for f in first.files.values()} - {f.sha256 for f in third.files.values()}
    needed = only_first & {f.sha256 for f in again.files.values()}
    assert needed
    assert {keys.blob("demo", sha256) for sha256 in needed} <= set(sent)
