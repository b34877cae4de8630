"""What goes wrong between the bucket and a machine: named, survived, and made good when it is over."""

from __future__ import annotations

import pytest

from codeintel_core.errors import GenerationCorrupt
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.library import Library
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.objects import keys, packs
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.upload import read_record
from codeintel_core.repository.git import GitRepository
from tests import s3_server
from tests.conftest import Repo
from tests.core.objects.conftest import MORE, Machine, MakeMachine

pytestmark = pytest.mark.e2e


class Clock:
    """Time as the test wants it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def tamper(machine: Machine, manifest: manifests.Manifest, name: str, data: bytes) -> bytes:
    """Put other bytes where a file of a generation is; returns the right ones."""
    bucket, key = Bucket.of(machine.settings), keys.blob("demo", manifest.files[name].sha256)
    right = bucket.get(key)
    assert right is not None
    bucket.put(key, data)
    return right[0]


@pytest.mark.parametrize("kind", ["flipped", "torn", "missing"])
def test_wrong_bytes_are_refused_by_name_while_the_old_generation_serves(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo, kind: str
) -> None:
    clock = Clock()
    follower = reader.replica(clock=clock)
    follower.follow()
    second = builder.publish(source, MORE)
    name = "dense/primary.faiss"
    bucket, key = Bucket.of(builder.settings), keys.blob("demo", second.files[name].sha256)
    right = tamper(builder, second, name, b"")
    if kind == "missing":
        bucket.delete([key])
    else:
        bucket.put(key, right[:-1] if kind == "torn" else right[:-1] + bytes([right[-1] ^ 1]))
    assert follower.follow() == []
    reasons = {"flipped": "has SHA-256", "torn": "bytes, expected", "missing": "is missing"}
    assert f"generation {second.gen_id}: {name} in the bucket" in follower.problem
    assert reasons[kind] in follower.problem
    assert current_id(reader.demo) == first.gen_id
    assert kept(reader.demo) == [first.gen_id]
    library = Library(reader.home)
    with library.pin(["demo"]) as (generation,):
        assert generation.manifest.gen_id == first.gen_id
    bucket.put(key, right)
    assert follower.follow() == []  # it is not asked for all the time
    clock.now = 11
    assert follower.follow() == ["demo"]
    assert follower.problem == ""
    library.refresh()
    with library.pin(["demo"]) as (generation,):
        assert generation.manifest.gen_id == second.gen_id
    library.close()


def test_a_machine_without_the_damaged_generation_builds_the_next(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo
) -> None:
    tamper(builder, first, "dense/primary.faiss", b"")
    second = reader.publish(source, MORE)
    assert second.parent == first.gen_id
    builder.replica().follow()
    assert current_id(builder.demo) == current_id(reader.demo) == second.gen_id


def test_a_pack_that_lacks_history_is_refused(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo
) -> None:
    second = builder.publish(source, MORE)
    bucket, key = Bucket.of(builder.settings), keys.record("demo", second.gen_id, keys.MIRROR_NAME)
    found = bucket.get(key)
    assert found is not None
    record = packs.MirrorRecord.model_validate_json(found[0])
    assert len(record.packs) == 2
    bucket.put(key, record.model_copy(update={"packs": record.packs[1:]}).model_dump_json().encode())
    with pytest.raises(GenerationCorrupt, match=f"generation {second.gen_id}: its packs in the bucket lack objects"):
        reader.replica().pull()
    assert current_id(reader.demo) is None


def test_an_interrupted_download_goes_on_where_it_was(
    builder: Machine, reader: Machine, first: manifests.Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeintel_core.objects.download._RANGE", 8_000)  # so that a small file has many
    ranges: list[tuple[str, int]] = []
    read = Bucket.read

    def counted(self: Bucket, key: str, start: int, length: int) -> bytes | None:
        ranges.append((key, start))
        if len(ranges) >= 20:  # several threads count: none may see the 20 itself
            follower.stop()
        return read(self, key, start, length)

    monkeypatch.setattr(Bucket, "read", counted)
    follower = reader.replica()
    follower.follow()
    assert "this process ends" in follower.problem
    assert kept(reader.demo) == []
    before = len(ranges)
    reader.replica().pull()
    assert current_id(reader.demo) == first.gen_id
    found = read_record(Bucket.of(reader.settings), "demo", first.gen_id)
    assert found is not None
    wanted = [*first.files.values(), *found[1].packs]
    every = [(keys.blob("demo", one.sha256), at) for one in wanted for at in range(0, one.size_bytes, 8_000)]
    assert before < len(every)
    assert sorted(ranges) == sorted(every)  # no range came twice
    manifests.verify(reader.demo.generation(first.gen_id), first)


def test_a_bucket_out_of_reach_leaves_what_is_here(machine: MakeMachine, reader: Machine, endpoint: str) -> None:
    with s3_server.serving() as other:
        url = s3_server.new_bucket(other)
        cut_off = machine("cut-off", endpoint=other, url=url)
        follower = cut_off.replica()
        assert follower.problem == "the bucket was not asked yet"
        assert follower.follow() == []
        assert follower.problem == ""
    assert follower.follow() == []
    assert follower.problem.startswith(f"{url} cannot be used: ")
    assert "test" not in follower.problem.replace(url, "")  # no credentials


def test_a_damaged_copy_is_downloaded_again(reader: Machine, first: manifests.Manifest) -> None:
    follower = reader.replica()
    follower.follow()
    file = reader.demo.generation(first.gen_id) / "dense" / "primary.faiss"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    library = Library(reader.home)
    reading = library.reader("demo")
    reading.refresh()
    assert "has SHA-256" in reading.problem
    assert follower.follow(["demo"]) == ["demo"]
    manifests.verify(reader.demo.generation(first.gen_id), first)
    library.close()


def test_objects_that_were_collected_from_the_mirror_come_back(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo
) -> None:
    follower = reader.replica()
    follower.follow()
    git = GitRepository(reader.demo.mirror)
    for ref in git.git("for-each-ref", "--format=%(refname)").decode().split():
        git.git("update-ref", "-d", ref)
    git.git("gc", "--quiet", "--prune=now")
    second = builder.publish(source, MORE)
    assert follower.follow() == ["demo"]
    assert git.git("rev-list", "--objects", second.commit).count(b"\n") > 5
