"""Planning a build: which commit, from which parent, and what changed between them.

The change set is a set difference of (path, blob) between the commit's tree and the published generation, so a
first build, a force push and a branch switch are no special cases.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import __version__
from codeintel_core.analysis import ANALYSIS_VERSION
from codeintel_core.chunking import CHUNKER_VERSION
from codeintel_core.embedding.contract import EmbeddingContract
from codeintel_core.embedding.select import contract_for
from codeintel_core.embedding.sparse.select import sparse_contract_for
from codeintel_core.embedding.text import TEXT_VERSION
from codeintel_core.errors import BuildFailed, CodeIntelError, GenerationCorrupt, SourceUnavailable
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest, Versions
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.objects import shared
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository, TreeEntry
from codeintel_core.secrets import SECRETS_VERSION, purged
from codeintel_core.settings import Settings
from codeintel_core.vector_engine import select
from codeintel_pipelines.build import lease, parts

_log = logging.getLogger("codeintel.build")


def versions(secret_files: str = "") -> Versions:
    """Versions of what writes a generation, with the setting `secret_files`."""
    return Versions(
        code=__version__, chunker=CHUNKER_VERSION, analysis=ANALYSIS_VERSION, text=TEXT_VERSION,
        secrets=f"{SECRETS_VERSION} {secret_files}".strip(),
    )  # fmt: skip


class Embed(StrEnum):
    """Which chunks of a generation get a vector."""

    AUTO = "auto"  # all, unless that takes long: then those in the cache, so that search does not wait
    DEFINITIONS = "definitions"  # those in the cache and the definitions in source files
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run builds."""

    repo: str
    commit: str
    branch: str
    parent: str | None  # CURRENT when the build was planned
    reuse: bool  # whether the parent's artefacts may be taken over
    up_to_date: bool  # whether the parent already is what would be built
    created_at: str
    embed: Embed = Embed.AUTO
    compact: bool = False  # whether the parent's indexes are merged instead of extended
    purged: str = ""  # state of the purge list before anything was read


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Differences of (path, blob) between the parent and the commit."""

    added: frozenset[str]
    changed: frozenset[str]
    removed: frozenset[str]
    unchanged: frozenset[str]


class Build:
    """A planned build: its staging folder, its commit and its parent. Stages read and write through this."""

    def __init__(self, home: Home, settings: Settings, plan: Plan) -> None:
        self.home = home
        self.settings = settings
        self.plan = plan
        self.repository: RepositoryHome = home.repository(plan.repo)
        self.git = GitRepository(self.repository.mirror, settings.git_timeout_s)
        self._replaced: dict[str, tuple[pa.Table, pa.Table]] = {}

    @property
    def folder(self) -> Path:
        """Staging folder of this commit, or the parent's folder when the build is up to date."""
        if self.plan.up_to_date and self.plan.parent:
            return self.repository.generation(self.plan.parent)
        return self.repository.staging / self.plan.commit

    @property
    def contract(self) -> EmbeddingContract:
        """Embedding contract of the settings."""
        return contract_for(self.settings)

    @property
    def parent_folder(self) -> Path | None:
        """Folder of the parent whose artefacts may be reused, or None."""
        if not self.plan.reuse or self.plan.parent is None:
            return None
        return self.repository.generation(self.plan.parent)

    @cached_property
    def parent_manifest(self) -> Manifest | None:
        """Manifest of the reusable parent."""
        return manifests.load(self.parent_folder) if self.parent_folder else None

    @cached_property
    def tree(self) -> list[TreeEntry]:
        """Files of the commit."""
        return self.git.tree(self.plan.commit)

    @cached_property
    def changes(self) -> ChangeSet:
        """What changed since the reusable parent (everything is added when there is none)."""
        now = {entry.path: entry.blob for entry in self.tree}
        before: dict[str, str] = {}
        if self.parent_folder:
            files = pq.read_table(self.parent_folder / "files.parquet", columns=["path", "blob"])
            before = dict(zip(files["path"].to_pylist(), files["blob"].to_pylist(), strict=True))
        return ChangeSet(
            added=frozenset(now.keys() - before.keys()),
            changed=frozenset(p for p in now.keys() & before.keys() if now[p] != before[p]),
            removed=frozenset(before.keys() - now.keys()),
            unchanged=frozenset(p for p in now.keys() & before.keys() if now[p] == before[p]),
        )

    def keep_facts(self, stage: str, facts: dict[str, Any]) -> None:
        """Keep what a stage reports and only the manifest will hold."""
        path = self.repository.staging / f"{stage}.facts.json"
        path.write_text(json.dumps(facts))

    def facts(self, stage: str) -> dict[str, Any]:
        """What a stage kept; raises `BuildFailed` when it did not run."""
        try:
            found: dict[str, Any] = json.loads((self.repository.staging / f"{stage}.facts.json").read_text())
        except FileNotFoundError:
            raise BuildFailed(f"stage '{stage}' of '{self.plan.repo}' has not run; materialise it first") from None
        return found

    @property
    def fresh_paths(self) -> frozenset[str]:
        """Files whose rows are not taken over from the parent."""
        return self.changes.added | self.changes.changed

    @property
    def gone_paths(self) -> frozenset[str]:
        """Files whose rows in the parent are not right any more."""
        return self.changes.changed | self.changes.removed

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A table of this build."""
        return pq.read_table(self.folder / name, columns=columns)

    def replaced(self, name: str, columns: list[str] | None = None) -> tuple[pa.Table, pa.Table]:
        """Rows of the parts of a table that are not the parent's, and the rows of the parts they replace.

        All rows and none when there is no reusable parent. What changed is the difference of the two.
        """
        mine = self.folder / name
        schema = pq.read_schema(parts.files(mine)[0])
        if self.parent_folder is None:
            return parts.read(parts.files(mine), columns, schema), parts.read([], columns, schema)
        if name not in self._replaced:  # several stages and checks look at the same few parts
            now, before = parts.replaced(mine, self.parent_folder / name)
            self._replaced[name] = parts.read(now, None, schema), parts.read(before, None, schema)
        both = self._replaced[name]
        return (both[0].select(columns), both[1].select(columns)) if columns else both


def start(
    home: Home, settings: Settings, repo: str, run_id: str, is_finished: Callable[[str], bool], *,
    force: bool = False, compact: bool = False, embed: Embed = Embed.AUTO,
) -> Build:  # fmt: skip
    """Take the lease, fetch the source and plan a build of its head; what an earlier run left behind is removed.

    With `compact` nothing is fetched: the served commit gets a generation with merged indexes.

    Raises:
        UnknownRepository, BuildInProgress, SourceUnavailable: it cannot be built now.
        BucketUnavailable: the home's bucket cannot be asked what it serves.
        VectorEngineUnavailable: an engine is set and its driver is not installed.
    """
    repository = home.repository(repo)
    select.require_driver(settings)
    shared.prepare(settings, home, repo)
    entry = mirror.registration(home, repo)
    lease.acquire(repository, run_id, is_finished)
    purge_state = purged.state(home.purged)
    fetched = "" if compact else mirror.refresh(home, repo, timeout_s=settings.git_timeout_s)
    parent = current_id(repository)
    reusable = _reusable(repository, parent, settings) if parent else None
    if compact and reusable is None:
        raise BuildFailed(f"'{repo}' serves no generation that can be compacted; run `codeintel build {repo}`")
    commit = reusable.commit if reusable and compact else fetched
    plan = Plan(
        repo=repo,
        commit=commit,
        branch=entry.branch,
        parent=parent,
        reuse=reusable is not None and not force,
        up_to_date=reusable is not None
        and reusable.commit == commit
        and not force
        and (is_compact(reusable) if compact else _is_complete(reusable, settings)),
        created_at=datetime.now(UTC).isoformat(),
        # What was published lexical first is completed by the next build, whoever asks for it.
        embed=Embed.ALL if embed is Embed.AUTO and reusable is not None and reusable.commit == commit else embed,
        compact=compact,
        purged=purge_state,
    )
    shutil.rmtree(repository.staging, ignore_errors=True)
    (repository.staging / commit).mkdir(parents=True)
    _plan_file(repository).write_text(json.dumps(asdict(plan), indent=1))
    return Build(home, settings, plan)


def up_to_date(home: Home, settings: Settings, repo: str) -> Manifest | None:
    """The served manifest when a build would publish nothing new; None when it would, or when that is not known.

    Takes no lease and fetches nothing, so it is also cheap when nothing changed.

    Raises:
        UnknownRepository: not registered.
    """
    mirror.registration(home, repo)
    repository = home.repository(repo)
    parent = current_id(repository)
    if parent is None:
        return None
    try:
        head = mirror.source_head(home, repo, timeout_s=settings.git_timeout_s)
        if manifests.load(repository.generation(parent)).commit != head:
            return None
    except (SourceUnavailable, GenerationCorrupt):
        return None
    manifest = _reusable(repository, parent, settings)
    return manifest if manifest is not None and _is_complete(manifest, settings) else None


def is_compact(manifest: Manifest) -> bool:
    """Whether compaction would change nothing: one primary, one Lucene index, one catalog."""
    counts = manifest.counts
    return (
        counts.compaction_ratio == 0
        and manifest.reuse.get("lucene_added") == counts.lucene
        and manifest.reuse.get("sparse_added", 0) == manifest.sparse.documents
        and manifest.reuse.get("catalog_overlay") == 0
    )


def resume(home: Home, settings: Settings, repo: str, run_id: str, is_finished: Callable[[str], bool]) -> Build:
    """The build that was started in this run, or that an earlier run left and this one takes over.

    Raises:
        BuildFailed: nothing is staged.
        BuildInProgress: another run works on it.
    """
    repository = home.repository(repo)
    lease.acquire(repository, run_id, is_finished)
    try:
        stored = json.loads(_plan_file(repository).read_text())
    except FileNotFoundError:
        raise BuildFailed(f"no build of '{repo}' is staged; materialise source_files first") from None
    return Build(home, settings, Plan(**{**stored, "embed": Embed(stored["embed"])}))


def finish(build: Build, run_id: str) -> None:
    """Remove what is left of the staging area and give the lease back."""
    shutil.rmtree(build.repository.staging, ignore_errors=True)
    lease.release(build.repository, run_id)


def _is_complete(manifest: Manifest, settings: Settings) -> bool:
    """Whether another build of the same commit would add nothing: all vectors, also in the vector engine, and the
    sparse index that is wanted.
    """
    if manifest.is_pending or select.lacks(settings, manifest.repo, manifest.gen_id):
        return False
    try:
        wanted = sparse_contract_for(settings)
    except CodeIntelError:
        return True  # the sparse model does not answer: there is nothing to add now
    return wanted is None or manifest.sparse.is_of(wanted)


def _plan_file(repository: RepositoryHome) -> Path:
    return repository.staging / "plan.json"


def _reusable(repository: RepositoryHome, parent: str, settings: Settings) -> Manifest | None:
    """The parent's manifest if its artefacts are intact and of the same versions and contract."""
    folder = repository.generation(parent)
    try:
        manifest = manifests.load(folder)
        manifests.verify(folder, manifest)
    except GenerationCorrupt as error:
        _log.warning("%s; building everything anew", error)
        return None
    if manifest.contract != contract_for(settings) or manifest.versions != versions(settings.secret_files):
        _log.info("versions or embedding contract changed since %s; building everything anew", parent)
        return None
    return manifest
