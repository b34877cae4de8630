"""Uploads: resumed where they were killed, one winner, nothing half-visible, nothing sent twice."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codeintel_core.errors import BucketUnavailable, PublishConflict
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.objects import keys, shared
from codeintel_core.objects.bucket import Bucket
from tests import s3_server
from tests.conftest import Repo
from tests.core.objects.conftest import MORE, Machine, MakeMachine
from tests.ports import free_port

pytestmark = pytest.mark.e2e


def objects(machine: Machine) -> set[str]:
    return set(Bucket.of(machine.settings).list(keys.objects("demo")))


def served(machine: Machine) -> str | None:
    found = Bucket.of(machine.settings).get(keys.current("demo"))
    return found[0].decode().strip() if found else None


def test_a_killed_upload_shows_nothing_and_the_next_sends_only_the_rest(
    builder: Machine, reader: Machine, endpoint: str, published: Path, sent: list[str]
) -> None:
    published.parents[3].rename(builder.settings.home)
    manifest = manifests.load(builder.demo.generation(published.name))
    url = builder.settings.bucket_url
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_upload.py"), "5"],
        env=s3_server.environment(endpoint, url, builder.settings.home), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    before = objects(builder)
    assert 0 < len(before) < len(manifest.files)
    assert served(builder) is None
    assert reader.replica().follow() == []
    assert kept(reader.demo) == []
    shared.prepare(builder.settings, builder.home, "demo")
    assert served(builder) == manifest.gen_id
    assert sent
    assert not before & set(sent)
    assert objects(builder) == before | set(sent)
    assert reader.replica().follow() == ["demo"]


def test_what_generations_share_is_sent_once(
    builder: Machine, first: manifests.Manifest, source: Repo, sent: list[str]
) -> None:
    before = objects(builder)
    sent.clear()
    second = builder.publish(source, MORE)
    assert len(sent) == len(set(sent))
    assert not before & set(sent)
    same = {file.sha256 for file in second.files.values()} & {file.sha256 for file in first.files.values()}
    assert same
    assert len(sent) == len({file.sha256 for file in second.files.values()} - same) + 1  # and the pack


def test_of_two_machines_one_publishes_and_the_other_is_told(
    machine: MakeMachine, builder: Machine, first: manifests.Manifest, source: Repo
) -> None:
    rival = machine("rival")
    staged = {one: one.stage(source, MORE) for one in (builder, rival)}
    assert {manifest.parent for _, manifest in staged.values()} == {first.gen_id}

    def publish(one: Machine) -> str:
        try:
            shared.publish_shared(one.settings, one.demo, *staged[one])
        except PublishConflict as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        told = dict(zip(staged, pool.map(publish, staged), strict=True))
    losers = [one for one, why in told.items() if why]
    assert len(losers) == 1
    (winner,) = staged.keys() - set(losers)
    won = staged[winner][1].gen_id
    assert f"now serves {won} in the bucket" in told[losers[0]]
    assert served(builder) == won
    assert (current_id(winner.demo), current_id(losers[0].demo)) == (won, first.gen_id)
    ids = {key.split("/")[-2] for key in Bucket.of(builder.settings).list(keys.generations("demo"))}
    assert ids == {first.gen_id, won}  # the loser's is not one that machines may ask for
    losers[0].replica().follow()
    assert current_id(losers[0].demo) == won


def test_without_the_bucket_a_build_ends_with_its_name_and_nothing_changes(
    builder: Machine, reader: Machine, first: manifests.Manifest, source: Repo, machine: MakeMachine
) -> None:
    folder, manifest = builder.stage(source, MORE)
    away = builder.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(BucketUnavailable, match=r"s3://bucket-.* cannot be used: "):
        shared.publish_shared(away, builder.demo, folder, manifest)
    assert current_id(builder.demo) == first.gen_id
    assert kept(builder.demo) == [first.gen_id]
    with pytest.raises(BucketUnavailable):
        shared.prepare(away, builder.home, "demo")
    assert served(builder) == first.gen_id


def test_an_answer_that_got_lost_is_not_a_conflict(
    builder: Machine, first: manifests.Manifest, source: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Bucket.replace

    def twice(self: Bucket, key: str, data: bytes, e_tag: str) -> bool:
        replace(self, key, data, e_tag)
        return replace(self, key, data, e_tag)  # as the client does when the connection breaks after the first

    monkeypatch.setattr(Bucket, "replace", twice)
    second = builder.publish(source, MORE)
    assert served(builder) == current_id(builder.demo) == second.gen_id
