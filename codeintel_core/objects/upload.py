"""Uploading a generation: what it lacks, its manifest last; then the pointer, if it still is where the build began."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from codeintel_core.errors import BucketUnavailable, GenerationCorrupt, PublishConflict
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import FileDigest, Manifest
from codeintel_core.home import RepositoryHome
from codeintel_core.objects import keys, packs
from codeintel_core.objects.bucket import Bucket, in_parallel
from codeintel_core.objects.packs import MirrorRecord
from codeintel_core.secrets import purged
from codeintel_core.telemetry import step

GRACE = timedelta(days=1)  # nothing younger is deleted: somebody may be downloading it, or about to name it


def upload(bucket: Bucket, home: RepositoryHome, folder: Path, manifest: Manifest, timeout_s: float) -> None:
    """Bring a finished generation into the bucket; nobody serves it before `move`.

    What is there with the right size is not sent again, so an upload that was interrupted goes on where it was, and
    files that generations share are sent once. What only collected generations name may be deleted at any moment; it
    is sent again unless it is young.

    Raises:
        BucketUnavailable, GitFailed: it could not be brought there; nothing of it is visible.
    """
    repo, gen_id = home.name, manifest.gen_id
    home.staging.mkdir(exist_ok=True)  # what a killed upload leaves there, the next build or collection removes
    with step("bucket.upload", gen_id=gen_id) as current, tempfile.TemporaryDirectory(dir=home.staging) as scratch:
        if bucket.get(keys.record(repo, gen_id, manifests.FILE_NAME)) is not None:
            current.skip("it is there")
            return
        try:
            before = read_record(bucket, repo, manifest.parent)
        except GenerationCorrupt:  # then everything is sent, and all history as one pack
            before = None
        record, pack = packs.write(
            home.mirror, manifest.commit, before[1] if before else None, Path(scratch), timeout_s
        )
        files = {file.sha256: (folder / name, file) for name, file in manifest.files.items()}
        if pack is not None:
            files[record.packs[-1].sha256] = (pack, record.packs[-1])
        named = digests(*before) if before else set()
        sent, size_bytes = _send(bucket, repo, files, named)
        current.set(files=len(files), sent=sent, sent_bytes=size_bytes)
        documents = {
            keys.MIRROR_NAME: record.model_dump_json().encode(),
            manifests.DIGEST_NAME: (folder / manifests.DIGEST_NAME).read_bytes(),
            manifests.FILE_NAME: (folder / manifests.FILE_NAME).read_bytes(),
        }
        for name in keys.RECORD:
            bucket.create(keys.record(repo, gen_id, name), documents[name])
        _send(bucket, repo, files, set(files), again=True)  # a collection may have been at work; now it sees the record
        packs.note(home.mirror, gen_id, record)


def withdraw(bucket: Bucket, repo: str, gen_id: str) -> None:
    """Take an uploaded generation that was never served out of sight; its objects go with the next collections."""
    bucket.delete(keys.record(repo, gen_id, name) for name in reversed(keys.RECORD))


def move(bucket: Bucket, repo: str, expected: str | None, gen_id: str) -> None:
    """Make an uploaded generation the served one of every machine, if `expected` still is.

    Raises:
        PublishConflict: another machine moved the pointer.
        BucketUnavailable: it may have been moved or not; whoever asks the bucket next knows.
    """
    key, line = keys.current(repo), f"{gen_id}\n".encode()
    now, e_tag = served(bucket, repo)
    if now == expected:
        won = bucket.create(key, line) if now is None else bucket.replace(key, line, e_tag)
        if won:
            return
        now, _ = served(bucket, repo)
    if now != gen_id:  # else it was ours: a put that was sent twice, since its first answer got lost
        raise PublishConflict(f"'{repo}' now serves {now} in the bucket, this started from {expected}; run it again")


def served(bucket: Bucket, repo: str) -> tuple[str | None, str]:
    """Id of the generation that the bucket serves, None when it serves none, and the ETag of the pointer."""
    found = bucket.get(keys.current(repo))
    return (found[0].decode("utf-8", "replace").strip(), found[1]) if found else (None, "")


def is_purged_since(bucket: Bucket, state: str) -> bool:
    """Whether the purge list in the bucket is another than that state of it (`purged.state`)."""
    found = bucket.get(keys.PURGED)
    return purged.state_of(found[0] if found else b"") != state


def read_record(bucket: Bucket, repo: str, gen_id: str | None) -> tuple[Manifest, MirrorRecord] | None:
    """Manifest and mirror record of a generation in the bucket, None when it is not (any more) there.

    Raises:
        GenerationCorrupt: they cannot be read.
    """
    if gen_id is None:
        return None
    found = [bucket.get(keys.record(repo, gen_id, name)) for name in (manifests.FILE_NAME, keys.MIRROR_NAME)]
    if found[0] is None or found[1] is None:
        return None
    return parse_record(gen_id, found[0][0], found[1][0])


def parse_record(gen_id: str, manifest: bytes, mirror: bytes) -> tuple[Manifest, MirrorRecord]:
    """The two documents of a generation; raises `GenerationCorrupt`."""
    try:
        return Manifest.model_validate_json(manifest), MirrorRecord.model_validate_json(mirror)
    except ValidationError as error:
        raise GenerationCorrupt(
            f"generation {gen_id}: its {error.title} in the bucket is damaged or of another version of CodeIntel"
        ) from None


def digests(manifest: Manifest, record: MirrorRecord) -> set[str]:
    """Names of all objects of a generation."""
    return {file.sha256 for file in manifest.files.values()} | {pack.sha256 for pack in record.packs}


def _send(
    bucket: Bucket, repo: str, files: Mapping[str, tuple[Path, FileDigest]], named: set[str], *, again: bool = False
) -> tuple[int, int]:  # fmt: skip
    """Upload what the bucket lacks, or holds without a generation that names it (`named`); returns number and bytes."""
    there = bucket.list(keys.objects(repo))
    young = datetime.now(UTC) - GRACE / 2
    missing = []
    for sha256, (path, file) in files.items():
        found = there.get(keys.blob(repo, sha256))
        if found is None or found.size_bytes != file.size_bytes or (sha256 not in named and found.modified < young):
            missing.append((keys.blob(repo, sha256), path))
    in_parallel(bucket.upload, missing)
    if again and missing:
        there = bucket.list(keys.objects(repo))
        if lost := [key for key, _ in missing if key not in there]:
            raise BucketUnavailable(f"{bucket.url} loses what is written to it: {lost[0]}")
    return len(missing), sum(path.stat().st_size for _, path in missing)
