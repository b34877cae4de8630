"""The folder in front of a bucket: bounded, and never without what serves or is open."""

from __future__ import annotations

import pytest

from codeintel_core.generations import manifest as manifests
from codeintel_core.generations import retention
from codeintel_core.generations.leases import ReaderLease
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.objects import shared
from tests.conftest import Repo
from tests.core import specimen
from tests.core.objects.conftest import Machine

pytestmark = pytest.mark.e2e


def version(number: int) -> specimen.Files:
    return {"src/only.py": {f"number_{number}": f"def number_{number}():\n    return {number}\n"}}


@pytest.fixture
def ids(builder: Machine, first: manifests.Manifest, source: Repo) -> list[str]:
    """Three generations in the bucket that share little, oldest first."""
    return [first.gen_id, *(builder.publish(source, version(number)).gen_id for number in (1, 2))]


def test_older_generations_come_as_far_as_there_is_room(reader: Machine, ids: list[str]) -> None:
    reader.replica().follow_to_the_end()
    assert kept(reader.demo) == ids
    for gen_id in ids:
        manifests.verify(reader.demo.generation(gen_id), manifests.load(reader.demo.generation(gen_id)))


def test_what_serves_comes_whatever_the_bound_and_says_so(reader: Machine, ids: list[str]) -> None:
    follower = reader.replica(max_bytes=1)
    follower.follow()
    assert kept(reader.demo) == [current_id(reader.demo)] == [ids[-1]]
    assert "more than CODEINTEL_HOME_CACHE_GIB" in follower.problem


def test_a_new_generation_makes_older_ones_go_but_not_those_that_are_open_or_pinned(
    builder: Machine, reader: Machine, ids: list[str], source: Repo
) -> None:
    reader.replica().follow_to_the_end()
    lease = ReaderLease.take(reader.demo, ids[0])
    assert lease is not None
    retention.pin(builder.demo, ids[1])
    shared.share(builder.settings)
    fourth = builder.publish(source, version(3)).gen_id
    follower = reader.replica(max_bytes=1)
    assert follower.follow() == ["demo"]
    assert kept(reader.demo) == [ids[0], ids[1], fourth]
    lease.give_back()
    retention.unpin(builder.demo, ids[1])
    shared.share(builder.settings)
    fifth = builder.publish(source, version(4)).gen_id
    follower.follow()
    assert kept(reader.demo) == [fifth]
