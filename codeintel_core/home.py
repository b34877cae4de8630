"""The home folder: where everything lies. The only module that knows the layout."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from codeintel_core.errors import InvalidName, UnknownRepository
from codeintel_core.watched import Stamp, Watched

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_REGISTRATION = "repository.json"
_MOST_LISTED = 20
_MOST_COMPARED = 1_000
_SETTLED_NS = 1_000_000_000  # a file system's clock ticks: what changes within one tick has the same time


def check_name(name: str) -> str:
    """Return `name` if it can name a repository folder, else raise `InvalidName`."""
    if not _NAME.fullmatch(name) or name.endswith((".git", ".lock", ".")) or ".." in name:
        raise InvalidName(
            f"'{name[:60]}' is not a repository name: use 1..100 of a-z 0-9 . _ -, starting with a letter or digit"
        )
    return name


@dataclass(frozen=True, slots=True)
class RepositoryHome:
    """Folder of one repository: its registration, mirror, staging and generations."""

    root: Path

    @property
    def name(self) -> str:
        """Name of the repository."""
        return self.root.name

    @property
    def registration(self) -> Path:
        """Where the repository comes from (JSON)."""
        return self.root / _REGISTRATION

    @property
    def mirror(self) -> Path:
        """Bare git mirror; builds and the server read only this."""
        return self.root / "mirror.git"

    @property
    def current(self) -> Path:
        """Pointer file: one line, the id of the served generation."""
        return self.root / "CURRENT"

    @property
    def generations(self) -> Path:
        """Folder of published generations."""
        return self.root / "generations"

    @property
    def staging(self) -> Path:
        """Folder of builds that are not published yet."""
        return self.root / "staging"

    @property
    def incoming(self) -> Path:
        """Folder of generations that are being downloaded from a bucket."""
        return self.root / "incoming"

    @property
    def lease(self) -> Path:
        """Who is building now (JSON)."""
        return self.root / "build.lease"

    @property
    def lock(self) -> Path:
        """File locked around changes to the lease and to CURRENT."""
        return self.root / "publish.lock"

    @property
    def leases(self) -> Path:
        """Locked files, one for each generation that a reader process has open."""
        return self.root / "leases"

    @property
    def pins(self) -> Path:
        """Files named after the generations that are never removed."""
        return self.root / "pins"

    @property
    def hold(self) -> Path:
        """What a roll back must not be undone by (JSON)."""
        return self.root / "hold.json"

    @property
    def seen_head(self) -> Path:
        """The source's head as a sensor last saw it (JSON)."""
        return self.root / "head.json"

    @property
    def doomed(self) -> Path:
        """What garbage collection took out of sight and is deleting."""
        return self.root / "doomed"

    def generation(self, gen_id: str) -> Path:
        """Folder of the generation `gen_id`."""
        return self.generations / gen_id


class _Registered:
    """Names of the registered repositories, read anew when the folder has changed: every request asks for them.

    A repository comes and goes as a whole folder, which changes the time of the folder around it; one that is there and
    not registered yet does not when it is, so with one of these nothing is kept.
    """

    def __init__(self, repos: Path) -> None:
        self._repos, self._folder = repos, Watched(repos)
        self._kept: tuple[Stamp, tuple[str, ...]] = None, ()

    def names(self) -> tuple[str, ...]:
        """Sorted; none when there is no folder."""
        stamp = self._folder.stamp()
        if stamp is None:
            return ()
        if self._kept[0] == stamp:
            return self._kept[1]
        try:
            with os.scandir(self._repos) as entries:
                there = [entry for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            return ()
        found = tuple(sorted(entry.name for entry in there if os.path.exists(f"{entry.path}/{_REGISTRATION}")))
        if len(found) == len(there) and stamp[1] < time.time_ns() - _SETTLED_NS:
            self._kept = stamp, found
        return found


@dataclass(frozen=True)
class Home:
    """The home folder (setting `home`)."""

    root: Path

    @cached_property
    def repos(self) -> Path:
        """Folder of all repositories."""
        return self.root / "repos"

    @cached_property
    def _registered(self) -> _Registered:
        return _Registered(self.repos)

    def repository(self, name: str) -> RepositoryHome:
        """Folder of the repository `name`; raises `InvalidName`."""
        return RepositoryHome(self.repos / check_name(name))

    def repository_names(self) -> list[str]:
        """Names of all registered repositories, sorted."""
        return list(self._registered.names())

    def vectors(self, contract_id: str) -> Path:
        """Folder of the vector cache of one embedding contract."""
        return self.root / "embeddings" / contract_id

    @property
    def models(self) -> Path:
        """Models exported once (ONNX)."""
        return self.root / "models"

    @property
    def trace_journal(self) -> Path:
        """Journals of AnswerTrace rows, one folder per day."""
        return self.root / "traces" / "journal"

    @property
    def trace_daily(self) -> Path:
        """AnswerTrace tables, one Parquet file per day."""
        return self.root / "traces" / "daily"

    @property
    def feedback_journal(self) -> Path:
        """Journals of feedback rows, one folder per day."""
        return self.root / "feedback" / "journal"

    @property
    def feedback_daily(self) -> Path:
        """Feedback tables, one Parquet file per day."""
        return self.root / "feedback" / "daily"

    @property
    def tuning(self) -> Path:
        """Learned fusion weights: immutable documents, the pointer to the one that counts, the last proposal."""
        return self.root / "tuning"

    @cached_property  # asked for by every request, and joining paths takes longer than what is done with it
    def ledger(self) -> Path:
        """Step ledger, one folder per day, one file per run."""
        return self.root / "ledger"

    @property
    def runpacks(self) -> Path:
        """Runpacks, one zip per run."""
        return self.root / "runpacks"

    @property
    def groups(self) -> Path:
        """How many minutes each group of repositories may be behind (JSON)."""
        return self.root / "groups.json"

    @property
    def failures(self) -> Path:
        """Records of failed runs, one JSON file each."""
        return self.root / "failures"

    @property
    def purged(self) -> Path:
        """What was purged and must not come back (JSON)."""
        return self.root / "purged.json"

    @property
    def analytics(self) -> Path:
        """DuckDB file for analysts."""
        return self.root / "analytics" / "codeintel.duckdb"

    @property
    def reports(self) -> Path:
        """Analytics tables, one Parquet file each."""
        return self.root / "analytics" / "reports"

    @property
    def delta(self) -> Path:
        """Delta Lake tables, exported from what is stored elsewhere."""
        return self.root / "delta"

    def delta_chunks(self, name: str) -> Path:
        """Delta table of the chunks of the repository `name`."""
        return self.delta / "chunks" / check_name(name)

    @property
    def delta_traces(self) -> Path:
        """Delta table of the AnswerTrace rows of all days."""
        return self.delta / "answer_traces"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def keys(self) -> Path:
        """API keys, hashed (JSON)."""
        return self.root / "access" / "keys.json"


def unknown_repository(name: str, known: Sequence[str]) -> UnknownRepository:
    """The error for a name that is not among `known`, the repositories that exist for the caller."""
    listed = ", ".join(known[:_MOST_LISTED]) or "none; run `codeintel add PATH_OR_URL`"
    more = f" and {len(known) - _MOST_LISTED} more" if len(known) > _MOST_LISTED else ""
    meant = get_close_matches(name[:100], known[:_MOST_COMPARED], n=1, cutoff=0.75)
    hint = f"; did you mean '{meant[0]}'?" if meant else ""
    return UnknownRepository(f"no repository '{name[:100]}' is registered (registered: {listed}{more}){hint}")
