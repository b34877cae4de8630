"""Purge: out of every generation, cache, trace and log, kept from coming back, and proven gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from codeintel_core import identity
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.sparse.cache import SparseCache
from codeintel_core.embedding.text import embedded_text
from codeintel_core.errors import BuildInProgress, CodeIntelError, GitFailed, InvalidRequest
from codeintel_core.generations import leases, retention
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.objects.purging import BucketPurge
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository
from codeintel_core.secrets import purged
from codeintel_core.secrets.fingerprint import Fingerprint
from codeintel_core.settings import Settings
from codeintel_core.vector_engine.select import engine_for
from codeintel_pipelines import delta
from codeintel_pipelines.purge import find, needle, stores
from codeintel_pipelines.purge.find import Target

Rebuild = Callable[[str], object]


@dataclass(slots=True)
class Report:
    """What a purge found and did.

    Attributes:
        generations: repository -> ids of the generations that hold it; they are dropped.
        files: other files of the home that hold it, relative, with how often; they are scrubbed.
        rebuilt: repository -> the clean generation that serves now, or why there is none.
        vectors: cached vectors that were deleted.
        readers: processes that still have a dropped generation open, until they let go of it.
        rows: keys of handed-over rows in that bucket that hold it; they are masked.
        collected_by: another machine that makes the tables of all, and so may have such rows.
        bucket_objects: deleted from the bucket that the home is in.
        unconfirmed: folders that follow the bucket and did not say yet that they let go, with their machine.
        left: what the scan after the purge still found; empty is the proof.
        in_source: repository -> blobs of the mirror that hold it, because the source's history does.
    """

    applied: bool
    generations: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    rebuilt: dict[str, str] = field(default_factory=dict)
    vectors: int = 0
    readers: list[int] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    collected_by: str = ""
    bucket_objects: int = 0
    unconfirmed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    in_source: dict[str, int] = field(default_factory=dict)

    @property
    def is_found(self) -> bool:
        """Whether there was anything to purge."""
        return bool(self.generations or self.files or self.rows)


def target_of(home: Home, *, text: str, pattern: str, repo: str, path: str, blob: str) -> Target:
    """The target of exactly one of a text, a pattern, a path of `repo`, or a blob; raises `InvalidRequest`."""
    if sum(map(bool, (text, pattern, path, blob))) != 1:
        raise InvalidRequest("say what to purge by one of --text, --pattern, --path or --blob")
    if path and not repo:
        raise InvalidRequest("name the repository whose path it is: codeintel purge NAME --path PATH")
    if repo:
        mirror.registration(home, repo)
    if text:
        return Target(needle.of_text(text))
    if pattern:
        return Target(needle.of_pattern(pattern))
    named = Target(needle.Needle(""), repo, path, blob)
    return replace(named, needle=needle.of_lines(find.text_of(home, named)))


def purge(
    home: Home, settings: Settings, target: Target, *, text: str = "", rebuild: Rebuild, is_dry: bool = True,
    bucket: BucketPurge | None = None,
) -> Report:  # fmt: skip
    """Find the target, and unless `is_dry` remove it everywhere and scan every byte again.

    The entry that keeps it out is written first, so that no build that starts meanwhile brings it back. Where the
    served generation holds it, the repository is built anew without it; if that fails, the newest clean one serves.
    With `bucket`, which the home is in, the bucket comes before this folder, and at the end every other folder.
    A purge that was interrupted is completed by the next one of the same target.

    Raises:
        BuildInProgress: a repository is being built; nothing was dropped.
        StorageFailed: a file cannot be rewritten; run it again.
        BucketUnavailable, PublishConflict: the bucket cannot be used, or another purge was faster; run it again.
        VectorEngineUnavailable: the vector engine cannot be used, so nothing of it was dropped; run it again.
    """
    report = Report(applied=not is_dry)
    words = set[str]()
    if bucket is not None:  # what cannot be read may hold it
        report.generations = bucket.bring()
    for repository, folder in find.generations(home):
        found = report.generations.get(repository.name, [])
        shares = find.shares_files(folder, map(repository.generation, found))
        if shares or find.is_dirty(repository, folder, target):
            report.generations[repository.name] = [*found, folder.name]
    report.files = {_shown(home, p): n for p in find.other_files(home) if (n := stores.occurrences(p, target.needle))}
    if bucket is not None:
        report.rows = bucket.mask_rows(target.needle.mask, dry_run=True)
        report.collected_by = bucket.collected_by()
    if is_dry:
        report.in_source = _in_source(home, target, settings)
        return report
    _remember(home, target, text)
    if bucket is not None:
        bucket.share_list()
    for name, gen_ids in report.generations.items():
        repository = home.repository(name)
        here = [gen_id for gen_id in gen_ids if gen_id in kept(repository)]
        for gen_id in here:
            rows = list(find.dirty_chunks(repository, repository.generation(gen_id), target))
            words |= set().union(*(found for _, found in rows))
            report.vectors += _forget_vectors(home, repository.generation(gen_id), [row for row, _ in rows])
        _rebuild(repository, here, rebuild, report)
        _clear_engine(settings, repository, gen_ids)
        if bucket is not None:
            bucket.drop(name, gen_ids)
        _drop(repository, here, report)
    _scrub(home, report, target)
    _collect_mirrors(home, settings)
    for name in home.repository_names():
        _clear_engine(settings, home.repository(name), ())
    if bucket is not None:
        report.rows = sorted({*report.rows, *bucket.mask_rows(target.needle.mask)})
        report.bucket_objects = bucket.expunge()
        report.unconfirmed = bucket.reach_followers()
        report.left = bucket.left(target.needle.mask)
    report.left += _left(home, target, words)
    report.in_source = _in_source(home, target, settings)
    return report


def _remember(home: Home, target: Target, text: str) -> None:
    known = purged.load(home.purged)
    if text:
        forms = [form.encode() for form in needle.forms(text)]
        fresh = [Fingerprint.of(form) for form in forms if set(known.mask(form)[0]) != {ord("*")}]
        known = replace(known, texts=(*known.texts, *fresh))
    elif target.path:
        known = replace(known, paths=known.paths | {(target.repo, target.path)})
    elif target.blob:
        known = replace(known, blobs=known.blobs | {target.blob})
    else:
        known = replace(known, patterns=tuple(dict.fromkeys((*known.patterns, target.needle.pattern))))
    if known != purged.load(home.purged):
        purged.save(home.purged, known)


def _forget_vectors(home: Home, folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Delete the cached vectors, dense and sparse, of the chunks that held it."""
    manifest = manifests.load(folder)
    texts = [embedded_text(row["text"], row["symbol"]) for row in rows]
    if not texts:
        return 0
    dense, sparse = manifest.contract, manifest.sparse.contract
    with VectorCache(home.vectors(dense.contract_id), dense) as cache:
        count = cache.delete_many([identity.text_key(dense.contract_id, text) for text in texts])
    if sparse is not None:
        with SparseCache(home.vectors(sparse.contract_id), sparse) as impacts:
            count += impacts.delete_many(impacts.keys(texts))
    return count


def _rebuild(repository: RepositoryHome, gen_ids: list[str], rebuild: Rebuild, report: Report) -> None:
    if current_id(repository) in gen_ids:
        try:
            rebuild(repository.name)
        except BuildInProgress:
            raise
        except CodeIntelError as error:  # it must go all the same; the report says that nothing new was built
            report.rebuilt[repository.name] = f"not rebuilt: {error}"


def _clear_engine(settings: Settings, repository: RepositoryHome, gen_ids: Collection[str]) -> None:
    """Take generations out of the vector engine, with what it has of others that are not kept here; before they are
    dropped, so that a purge that it stops finds them again.
    """
    if (engine := engine_for(settings)) is None:
        return
    with closing(engine):
        there = engine.kept(repository.name)
        gone = [gen_id for gen_id in there if gen_id in gen_ids or gen_id not in kept(repository)]
        if gone:
            engine.delete(repository.name, gone, thoroughly=True)


def _drop(repository: RepositoryHome, gen_ids: list[str], report: Report) -> None:
    pids = {pid for gen_id, readers in leases.leased(repository).items() if gen_id in gen_ids for pid in readers}
    report.readers = sorted({*report.readers, *pids})
    retention.drop(repository, gen_ids)
    serves = current_id(repository) or "nothing"
    report.rebuilt[repository.name] = "; ".join(filter(None, (serves, report.rebuilt.get(repository.name, ""))))
    if not leases.is_being_built(repository):
        shutil.rmtree(repository.staging, ignore_errors=True)


def _scrub(home: Home, report: Report, target: Target) -> None:
    # A file that is purged by its name may have no line that tells it from others: its tables go unread.
    named = [home.delta_chunks(target.repo)] if target.path else [home.delta / "chunks"] if target.blob else []
    for table in filter(Path.is_dir, named):
        report.files.setdefault(_shown(home, table), 0)
        delta.drop(home, table)
    for path in find.other_files(home):
        if not stores.occurrences(path, target.needle):
            continue
        report.files.setdefault(_shown(home, path), 0)
        if path == home.analytics:
            path.unlink()  # made from the trace tables; `codeintel analytics` makes it again
        elif path.is_relative_to(home.delta):
            delta.drop(home, path)  # with its older versions; the next export makes it again
        else:
            stores.scrub(path, target.needle)


def _collect_mirrors(home: Home, settings: Settings) -> None:
    """Let git forget what no branch, tag or kept generation names any more."""
    for name in home.repository_names():
        git = GitRepository(home.repository(name).mirror, settings.git_timeout_s)
        git.git("gc", "--quiet", "--prune=now")


def _left(home: Home, target: Target, words: set[str]) -> list[str]:
    left = [_shown(home, path) for path in find.other_files(home) if stores.occurrences(path, target.needle)]
    for repository, folder in find.generations(home):
        if find.is_dirty(repository, folder, target):
            left.append(_shown(home, folder))
        left += [f"{_shown(home, folder)}/lucene: {term}" for term in find.leaking_terms(folder, words)]
    return left


def _in_source(home: Home, target: Target, settings: Settings) -> dict[str, int]:
    counts = {}
    for name in home.repository_names():
        try:
            counts[name] = find.in_mirror(home.repository(name), target, settings.git_timeout_s)
        except GitFailed:
            counts[name] = -1
    return {name: count for name, count in counts.items() if count}


def _shown(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()


def lines(report: Report) -> Iterable[str]:
    """The report in words."""
    verb = "removed from" if report.applied else "would be removed from"
    for name, gen_ids in report.generations.items():
        yield f"{name}: {verb} {len(gen_ids)} generations: {', '.join(gen_ids)}"
        if name in report.rebuilt:
            yield f"  serves {report.rebuilt[name]}"
    for path, count in report.files.items():
        yield f"{path}: {verb} {count} places" if count else f"{path}: {verb} it"
    if report.rows:
        yield f"bucket: {verb} {len(report.rows)} segments of handed-over rows"
    if report.collected_by:
        yield f"{report.collected_by} makes the tables of all machines' rows: run this there too"
    if not report.is_found:
        yield "nothing in the home holds it" + ("; it is kept from coming in" if report.applied else "")
    if report.vectors:
        yield f"{report.vectors} cached vectors deleted"
    for name, count in report.in_source.items():
        what = f"{count} git objects" if count > 0 else "objects that could not be read"
        yield f"{name}: the mirror keeps {what} with it, as the source does; rewrite its history, then run this again"
    if report.readers:
        yield f"still open in processes {', '.join(map(str, report.readers))} until their next look or restart"
    if report.bucket_objects:
        yield f"{report.bucket_objects} objects deleted from the bucket"
    for machine, where in report.unconfirmed.items():
        yield f"NOT YET CONFIRMED by {machine} ({where}): run this again once it is up, or with --gone {machine}"
    if report.applied:
        left = "; ".join(f"STILL IN {place}" for place in report.left)
        yield f"proof: {left or 'a scan of all bytes found nothing'}"
    elif report.is_found:
        yield "nothing was changed; add --yes to purge"
