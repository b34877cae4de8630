"""Purging a bucket: the list first, then pointers, records and objects, then every folder that follows it.

Whatever is deleted was dropped before, and the dropped records go last, so a purge that is killed goes on in the next.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection
from itertools import chain
from math import ceil
from pathlib import Path
from uuid import uuid4

from codeintel_core.errors import BucketUnavailable
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.reader import kept
from codeintel_core.home import RepositoryHome
from codeintel_core.objects import collect, collector, followers, keys, packs, segments, standing
from codeintel_core.objects.replica import Replica
from codeintel_core.objects.upload import is_purged_since, read_record, served
from codeintel_core.secrets import purged

_LOOK_EVERY_S = 1.0


class BucketPurge:
    """What a purge does besides when the home is in a bucket; the folder in front of it is purged as any home."""

    def __init__(
        self, replica: Replica, timeout_s: float, *, wait_s: float, gone: Collection[str] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """`wait_s`: how long to wait for the other folders; `gone`: ids of those that do not exist any more."""
        self._replica, self._bucket, self._home = replica, replica.bucket, replica.home
        self._timeout_s, self._wait_s, self._gone, self._sleep = timeout_s, wait_s, gone, sleep

    def bring(self) -> dict[str, list[str]]:
        """Bring all that the bucket keeps into the folder, whatever room it takes.

        Returns:
            For each repository: the older generations that cannot be had, so nobody knows what they hold.

        Raises:
            BucketUnavailable: the bucket cannot be used, or what it serves cannot be had.
        """
        self._replica.follow_to_the_end()
        if self._replica.problem:
            raise BucketUnavailable(f"what the bucket holds cannot be purged: {self._replica.problem}")
        names = self._home.repository_names()
        missing = {name: set(self._ids(name)) - set(kept(self._home.repository(name))) for name in names}
        return {name: sorted(gen_ids) for name, gen_ids in missing.items() if gen_ids}

    def share_list(self) -> None:
        """Write the purge list, so that every machine masks by it, and publishes nothing that was made without it."""
        if is_purged_since(self._bucket, purged.state(self._home.purged)):
            followers.begin_round(self._bucket)
            self._replica.files.push()

    def drop(self, repo: str, gen_ids: Collection[str]) -> None:
        """Take generations out of the bucket's sight, after the pointer moved to the newest of the others, if any."""
        if not gen_ids:
            return
        followers.begin_round(self._bucket)
        while (pointer := served(self._bucket, repo))[0] in gen_ids:
            left = [gen_id for gen_id in self._ids(repo) if gen_id not in gen_ids]
            if not left:
                self._bucket.delete([keys.current(repo)])
            elif self._bucket.replace(keys.current(repo), f"{left[-1]}\n".encode(), pointer[1]):
                break
        collect.drop(self._bucket, repo, gen_ids)

    def expunge(self) -> int:
        """Delete what was dropped, with the packs of the mirrors that hold more than what is kept; returns how much."""
        deleted = 0
        for name in self._home.repository_names():
            self._repack(self._home.repository(name))
            if self._bucket.list(keys.dropped(name)):
                followers.begin_round(self._bucket)
            deleted += collect.expunge(self._bucket, name).deleted_objects
        return deleted

    def mask_rows(self, masked: Callable[[bytes], bytes], *, dry_run: bool = False) -> list[str]:
        """Mask rows that wait in the bucket to be collected; returns the keys of those that held something.

        What is handed over from now on was masked by the purge list, which has to be in the bucket by then.
        """
        return segments.mask(self._bucket, masked, dry_run=dry_run)[0]

    def collected_by(self) -> str:
        """Host of another machine that makes the tables of all, and so may have rows; '' when there is none."""
        found = collector.named(self._bucket)
        return "" if found.machine in ("", standing.machine(self._home)) else found.host

    def reach_followers(self) -> dict[str, str]:
        """Have every folder that follows the bucket let go of what it does not keep, and wait for it.

        Returns:
            Those that did not within the time, by id, with their machine: they may still serve it.
        """
        self._replica.files.push(is_masked=True)  # registrations, learned pairs and the like, in case they held it
        followers.forget(self._bucket, self._gone)
        wanted = followers.finish_round(self._bucket)
        self._replica.pull(generations=False)
        waiting = followers.unconfirmed(self._bucket, wanted)
        for _ in range(ceil(self._wait_s / _LOOK_EVERY_S)):
            if not waiting:
                break
            self._sleep(_LOOK_EVERY_S)
            self._replica.pull(generations=False)  # a process on this machine may have it open
            waiting = followers.unconfirmed(self._bucket, wanted)
        return waiting

    def left(self, masked: Callable[[bytes], bytes]) -> list[str]:
        """What the bucket holds that no generation of this folder, which was searched, accounts for.

        Of rows, what `masked` would change, and what cannot be read.
        """
        rows = chain(*segments.mask(self._bucket, masked, dry_run=True))
        dropped = [key for name in self._home.repository_names() for key in self._bucket.list(keys.dropped(name))]
        found = [f"{self._bucket.url}/{key}" for key in (*rows, *dropped)]
        for name, gen_ids in self.bring().items():
            found += [f"{self._bucket.url}/{keys.generations(name)}/{gen_id}" for gen_id in gen_ids]
        return found

    def _ids(self, repo: str) -> list[str]:
        return sorted(keys.complete(self._bucket.list(keys.generations(repo))))

    def _repack(self, at: RepositoryHome) -> None:
        """If packs hold more than the kept generations and the refs reach, put one that does not in their place."""
        gen_ids = [gen_id for gen_id in self._ids(at.name) if gen_id in kept(at)]
        commits = {manifests.load(at.generation(gen_id)).commit for gen_id in gen_ids}
        tips = packs.tips(at.mirror, commits, self._timeout_s)
        records = [found[1] for gen_id in gen_ids if (found := read_record(self._bucket, at.name, gen_id))]
        if all(tips.issuperset(record.tips) for record in records):
            return
        at.staging.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=at.staging) as scratch:
            record, pack = packs.write_whole(at.mirror, tips, Path(scratch), self._timeout_s)
            self._bucket.upload(keys.blob(at.name, record.packs[0].sha256), pack)
        document = record.model_dump_json().encode()
        for gen_id in gen_ids:
            old = f"{gen_id}-{uuid4().hex[:8]}"
            for name in collect.DROPPED:
                if (document_before := self._bucket.get(keys.record(at.name, gen_id, name))) is not None:
                    self._bucket.put(keys.dropped(at.name, old, name), document_before[0])
            self._bucket.put(keys.record(at.name, gen_id, keys.MIRROR_NAME), document)
        packs.note(at.mirror, gen_ids[-1], record)
