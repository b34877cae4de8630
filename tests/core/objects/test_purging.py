"""What is purged leaves the bucket and every folder that follows it, before the purge says so; killed, it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
from obstore.exceptions import PermissionDeniedError

from codeintel_core.errors import BucketUnavailable, PublishConflict, UnknownGeneration
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations import retention
from codeintel_core.generations.library import Library
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.objects import collect, keys, shared
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.download import Download
from codeintel_core.objects.purging import BucketPurge
from codeintel_core.objects.replica import Replica
from codeintel_core.repository.git import GitRepository
from codeintel_core.secrets import purged
from codeintel_core.secrets.purged import PurgeList
from tests.conftest import Repo
from tests.core import specimen
from tests.core.objects.conftest import Machine, MakeMachine
from tests.core.objects.test_cache import version

pytestmark = pytest.mark.e2e


@pytest.fixture
def ids(builder: Machine, first: manifests.Manifest, source: Repo) -> list[str]:
    """Three generations in the bucket, oldest first; the last one serves."""
    return [first.gen_id, *(builder.publish(source, version(number)).gen_id for number in (1, 2))]


def purge(machine: Machine, *gen_ids: str) -> dict[str, str]:
    """Purge generations as the command does, once it knows which; returns who did not confirm."""
    bucket = shared.bucket_purge(machine.settings, wait_s=0)
    assert bucket is not None
    bucket.bring()
    purged.save(machine.home.purged, PurgeList(patterns=(f"PURGED-[0-9]{{{len(gen_ids) + 1}}}",)))
    bucket.share_list()
    bucket.drop("demo", gen_ids)
    retention.drop(machine.demo, [gen_id for gen_id in gen_ids if gen_id in kept(machine.demo)])
    GitRepository(machine.demo.mirror).git("gc", "--quiet", "--prune=now")
    bucket.expunge()
    waiting = bucket.reach_followers()
    assert bucket.left(bytes) == []
    return waiting


def reach(machine: Machine, *others: Replica, gone: tuple[str, ...] = ()) -> dict[str, str]:
    """A round of purging, during which other machines look at the bucket once; returns who did not confirm."""

    def look(_: float) -> None:
        for other in others:
            other.follow()

    follower = machine.replica()
    return BucketPurge(follower, 60, wait_s=1, gone=gone, sleep=look).reach_followers()


def objects(machine: Machine) -> set[str]:
    return {key.rpartition("/")[2] for key in Bucket.of(machine.settings).list(keys.objects("demo"))}


def only_in(machine: Machine, gen_id: str, others: list[str]) -> set[str]:
    """Digests of the files that only that generation has."""
    files = {one: {f.sha256 for f in manifests.load(machine.demo.generation(one)).files.values()} for one in others}
    mine = {f.sha256 for f in manifests.load(machine.demo.generation(gen_id)).files.values()}
    return mine - set().union(*files.values())


def test_what_is_purged_leaves_bucket_and_followers_before_it_is_confirmed(
    builder: Machine, reader: Machine, ids: list[str]
) -> None:
    follower = reader.replica()
    follower.follow_to_the_end()
    library = Library(reader.home)
    library.refresh()
    retention.pin(reader.demo, ids[0])
    dirty = only_in(builder, ids[2], ids[:2])
    assert dirty <= objects(builder)
    (waiting,) = purge(builder, ids[0], ids[2]).values()  # the reader did not look yet
    assert "last heard of" in waiting
    assert not dirty & objects(builder)
    assert [current_id(one.demo) for one in (builder, reader)] == [ids[1], ids[2]]

    # It looks: what serves there changes, but a process still has it open, so nothing is confirmed.
    assert follower.follow() == ["demo"]
    assert kept(reader.demo) == [ids[1]]
    assert len(reach(builder, follower)) == 1
    library.refresh()
    (serving,) = library.serving()
    assert serving.manifest.gen_id == ids[1]
    assert reach(builder, follower) == {}
    assert follower.problem == ""
    library.close()


def test_the_history_that_only_purged_generations_had_leaves_the_packs(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo
) -> None:
    secret = source.commit({"src/queue.go": "func nightingale() {}\n"})
    blob = source.git("rev-parse", f"{secret}:src/queue.go")
    source.git("reset", "--quiet", "--hard", "HEAD~1")
    dirty = builder.publish(source, version(1))
    GitRepository(builder.demo.mirror).git("fetch", "--quiet", str(source.path), f"{secret}:refs/tags/old")
    dirty = builder.publish(source, version(2))  # whose pack holds the tag
    GitRepository(builder.demo.mirror).git("update-ref", "-d", "refs/tags/old")
    builder.publish(source, version(3))
    packs_before = objects(builder)
    purge(builder, dirty.gen_id)
    reader.replica().follow_to_the_end()
    assert len(kept(reader.demo)) == 3
    found = GitRepository(reader.demo.mirror).git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    assert blob not in found.decode()
    assert packs_before - objects(builder)


@pytest.mark.parametrize("name", ["drop", "expunge", "round"])
def test_a_purge_that_is_killed_is_completed_by_the_next(
    builder: Machine, reader: Machine, ids: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    reader.replica().follow_to_the_end()
    dirty = only_in(builder, ids[2], ids[:2])

    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> NoReturn:
        raise Killed

    with monkeypatch.context() as patch:
        if name == "expunge":  # when the objects are gone, and not yet the records that name them
            delete = Bucket.delete
            patch.setattr(Bucket, "delete", lambda self, gone: kill() if (w := list(gone)) and "dropped" in w[0]
                          else delete(self, w))  # fmt: skip
        else:
            patch.setattr(*{"drop": (collect, "drop"), "round": (BucketPurge, "reach_followers")}[name], kill)
        with pytest.raises(Killed):
            purge(builder, ids[2])
    follower = reader.replica()
    assert len(purge(builder, ids[2])) == 1
    follower.follow()
    assert current_id(reader.demo) == current_id(builder.demo) == ids[1]
    assert ids[2] not in kept(reader.demo)
    assert not dirty & objects(builder)


def test_a_build_that_began_before_the_purge_publishes_nothing_and_leaves_nothing(
    builder: Machine, machine: MakeMachine, ids: list[str], source: Repo
) -> None:
    rival = machine("rival")
    folder, manifest = rival.stage(source, version(5))
    before = objects(builder)
    purge(builder, ids[0])
    with pytest.raises(PublishConflict, match="something was purged while 'demo' was built"):
        shared.publish_shared(rival.settings, rival.demo, folder, manifest)
    assert not {file.sha256 for file in manifest.files.values()} & objects(builder) - before
    folder, manifest = rival.stage(source, version(5))
    shared.publish_shared(rival.settings, rival.demo, folder, manifest, purged.state(rival.home.purged))
    assert current_id(rival.demo) == manifest.gen_id


def test_a_download_that_began_before_the_purge_does_not_bring_it_back(
    builder: Machine, reader: Machine, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = reader.replica()
    follower.pull()
    fsync: Callable[..., None] = lambda folder: (purge(builder, ids[0]), follower.pull())  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr("codeintel_core.objects.replica.let_go", lambda bucket, at: True)  # as if it came just before
        patch.setattr("codeintel_core.objects.download.fsync_tree", fsync)
        with pytest.raises(UnknownGeneration, match="was purged while it was downloaded"):
            Download(follower.bucket, reader.demo, ids[0], 60, follower._stopping).run()
    assert ids[0] not in kept(reader.demo)
    assert not reader.demo.incoming.exists()


def test_with_nothing_clean_left_nothing_serves_until_the_next_build(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo
) -> None:
    follower = reader.replica()
    follower.follow()
    purge(builder, first.gen_id)
    follower.follow()
    assert current_id(reader.demo) is None
    assert kept(reader.demo) == []
    assert objects(builder) == set()
    folder, manifest = builder.stage(source, specimen.FILES)
    shared.publish_shared(builder.settings, builder.demo, folder, manifest, purged.state(builder.home.purged))
    assert follower.follow() == ["demo"]
    assert current_id(reader.demo) == manifest.gen_id


def test_a_folder_that_is_gone_is_taken_off_the_list_and_a_copied_one_gets_its_own_name(
    builder: Machine, reader: Machine, ids: list[str], machine: MakeMachine
) -> None:
    reader.replica().follow()
    copy = machine("copy")
    reader.settings.home.rename(copy.settings.home)
    copy.replica().follow()
    (gone,) = reach(builder, copy.replica())
    assert reach(builder, copy.replica(), gone=(gone,)) == {}


def test_a_machine_that_may_not_write_serves_and_says_that_no_purge_waits_for_it(
    builder: Machine, reader: Machine, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Bucket, key: str, data: bytes) -> NoReturn:
        raise BucketUnavailable(f"{key} cannot be written") from PermissionDeniedError("no")

    follower = reader.replica()
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put", refuse)
        assert follower.follow() == ["demo"]
    assert "may not write followers/*" in follower.problem
    assert purge(builder, ids[2]) == {}
