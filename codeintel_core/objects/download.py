"""Downloading a generation by digest: in parallel, resumable, nothing visible before it is whole and verified."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from codeintel_core.durable import fsync_tree
from codeintel_core.errors import BucketUnavailable, GenerationCorrupt, StorageFailed, UnknownGeneration
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import FileDigest, Manifest
from codeintel_core.generations.publish import publish_lock
from codeintel_core.generations.reader import kept
from codeintel_core.home import RepositoryHome
from codeintel_core.objects import keys, packs
from codeintel_core.objects.bucket import Bucket, in_parallel
from codeintel_core.objects.packs import MirrorRecord
from codeintel_core.objects.upload import parse_record
from codeintel_core.telemetry import step

_RANGE = 16 << 20


class Download:
    """One generation on its way into the local home; what an earlier, interrupted one left is used."""

    def __init__(
        self, bucket: Bucket, home: RepositoryHome, gen_id: str, timeout_s: float, stopping: threading.Event
    ) -> None:
        """Read the record of the generation; once `stopping` is set, a download ends as if the bucket were gone.

        Raises:
            UnknownGeneration: it is not (any more) in the bucket.
            GenerationCorrupt: its record is damaged.
            BucketUnavailable: it cannot be asked.
        """
        self._bucket, self._home, self._timeout_s, self._stopping = bucket, home, timeout_s, stopping
        self._folder = home.incoming / gen_id
        self._round = bucket.get(keys.ROUND)  # before the record: what is there now was not purged before it
        found = {name: bucket.get(keys.record(home.name, gen_id, name)) for name in keys.RECORD}
        documents = {name: pair[0] for name, pair in found.items() if pair is not None}
        if len(documents) < len(keys.RECORD):
            raise UnknownGeneration(f"'{home.name}' keeps no generation {gen_id} in {bucket.url}")
        self._documents = {name: documents[name] for name in (manifests.DIGEST_NAME, manifests.FILE_NAME)}
        self.manifest, self.record = self._parse(gen_id, documents)
        self._here = _files_by_digest(home)

    @property
    def missing_bytes(self) -> int:
        """Bytes that the local home will grow by."""
        known = packs.known(self._home.mirror)
        files = {file.sha256: file.size_bytes for file in self.manifest.files.values() if file.sha256 not in self._here}
        return sum(files.values()) + sum(pack.size_bytes for pack in self.record.packs if pack.sha256 not in known)

    def run(self) -> None:
        """Fetch what is missing, complete the mirror, then let the generation appear among the local ones.

        Raises:
            UnknownGeneration: it was purged meanwhile.
            GenerationCorrupt: bytes are missing, torn or wrong; the file and both digests are named.
            BucketUnavailable: the bucket cannot be read; what came is kept for the next try.
            StorageFailed: the disk is full.
        """
        gen_id = self.manifest.gen_id
        with step("bucket.download", gen_id=gen_id) as current:
            current.set(files=len(self.manifest.files), missing_bytes=self.missing_bytes)
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                in_parallel(self._file, sorted(self.manifest.files.items()))
                packs.take_over(
                    self._home.mirror, gen_id, self.manifest.commit, self.record, self._fetch, self._timeout_s
                )
                for name, document in self._documents.items():
                    (self._folder / name).write_bytes(document)
                self._remove_strangers()
                fsync_tree(self._folder)
            except OSError as error:
                raise StorageFailed(f"cannot write generation {gen_id} to the home folder: {error.strerror}") from None
            with publish_lock(self._home):
                self._home.generations.mkdir(exist_ok=True)
                self._check_not_purged()
                target = self._home.generation(gen_id)
                if not target.exists():
                    self._folder.rename(target)
            shutil.rmtree(self._home.incoming, ignore_errors=True)

    def _check_not_purged(self) -> None:
        """Hold the publish lock: this folder lets go of what is purged under it, so here it cannot come back."""
        gen_id = self.manifest.gen_id
        if self._bucket.get(keys.ROUND) != self._round and self._bucket.get(
            keys.record(self._home.name, gen_id, manifests.FILE_NAME)
        ) is None:  # fmt: skip
            shutil.rmtree(self._home.incoming, ignore_errors=True)
            raise UnknownGeneration(f"generation {gen_id} of '{self._home.name}' was purged while it was downloaded")

    def _parse(self, gen_id: str, documents: Mapping[str, bytes]) -> tuple[Manifest, MirrorRecord]:
        manifest, mirror = documents[manifests.FILE_NAME], documents[keys.MIRROR_NAME]
        if hashlib.sha256(manifest).hexdigest() != documents[manifests.DIGEST_NAME].decode("ascii", "replace").strip():
            raise GenerationCorrupt(
                f"generation {gen_id}: {manifests.FILE_NAME} in the bucket does not match {manifests.DIGEST_NAME}"
            )
        found = parse_record(gen_id, manifest, mirror)
        if found[0].format_version != manifests.FORMAT_VERSION or found[0].gen_id != gen_id:
            raise GenerationCorrupt(
                f"generation {gen_id}: its manifest in the bucket is of {found[0].gen_id}, format "
                f"{found[0].format_version}, not {manifests.FORMAT_VERSION}"
            )
        return found

    def _file(self, name: str, file: FileDigest) -> None:
        target = self._folder / name
        if not target.resolve().is_relative_to(self._folder.resolve()):
            raise GenerationCorrupt(f"generation {self.manifest.gen_id}: its manifest names the file {name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and manifests.known_digest(target) == file:
            return
        target.unlink(missing_ok=True)
        twin = self._here.get(file.sha256)
        with suppress(OSError):  # collected meanwhile
            if twin is not None and manifests.known_digest(twin) == file:
                os.link(twin, target)
                return
        self._fetch(file, target, name)

    def _fetch(self, file: FileDigest, target: Path, name: str = "") -> None:
        """Download an object in ranges, from where an interrupted download stopped; it gets its name once verified."""
        key = keys.blob(self._home.name, file.sha256)
        what = f"generation {self.manifest.gen_id}: {name or 'a pack of its mirror'} in the bucket ({key})"
        partial = target.with_name(target.name + ".part")
        hasher = hashlib.sha256()
        with partial.open("a+b") as pending:
            pending.seek(0)
            while block := pending.read(1 << 20):
                hasher.update(block)
            while (start := pending.tell()) < file.size_bytes:
                if self._stopping.is_set():
                    raise BucketUnavailable("this process ends; the download goes on in the next one")
                wanted = min(_RANGE, file.size_bytes - start)
                data = self._bucket.read(key, start, wanted)
                if data is None:
                    raise GenerationCorrupt(f"{what} is missing")
                if len(data) != wanted:
                    raise GenerationCorrupt(f"{what} has {start + len(data)} bytes, expected {file.size_bytes}")
                pending.write(data)
                hasher.update(data)
        if hasher.hexdigest() != file.sha256:
            partial.unlink()
            raise GenerationCorrupt(
                f"{what} has SHA-256 {hasher.hexdigest()[:16]}…, expected {file.sha256[:16]}…; it was changed"
            )
        partial.replace(target)

    def _remove_strangers(self) -> None:
        """Remove what an earlier, interrupted download left and the manifest does not list."""
        wanted = {*self.manifest.files, manifests.FILE_NAME, manifests.DIGEST_NAME}
        for path in self._folder.rglob("*"):
            if path.is_file() and path.relative_to(self._folder).as_posix() not in wanted:
                path.unlink()


def _files_by_digest(home: RepositoryHome) -> dict[str, Path]:
    """Files of the local generations; the newest that has a digest."""
    found: dict[str, Path] = {}
    for gen_id in kept(home):
        folder = home.generation(gen_id)
        with suppress(GenerationCorrupt):
            found |= {file.sha256: folder / name for name, file in manifests.load(folder).files.items()}
    return found
