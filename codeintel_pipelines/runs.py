"""Runs from the command line: the same Dagster jobs, in this process, on the instance that the UI shows."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from codeintel_core.errors import (
    BuildFailed,
    BuildInProgress,
    CodeIntelError,
    InvalidRequest,
    PublishConflict,
    StorageFailed,
)
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.repository import mirror
from codeintel_pipelines import delta, watch
from codeintel_pipelines.build.plan import Embed
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.stages import SKIPPED_AS_TAG, SKIPPED_TAG, plan_config

_log = logging.getLogger("codeintel.runs")
_SKIPPED_AS: dict[str, type[CodeIntelError]] = {kind.slug: kind for kind in (BuildInProgress, PublishConflict)}
_DISK_FULL = os.strerror(errno.ENOSPC)
_LATER = (Embed.DEFINITIONS, Embed.ALL)  # what follows a generation that was published lexical first
_OF_REPOSITORIES = ("build_repository", "compact_repository", "export_chunks")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance in the home folder, with this project's dagster.yaml."""
    home.dagster.mkdir(parents=True, exist_ok=True)
    shipped = Path(__file__).parent.parent / "dagster.yaml"
    mine = home.dagster / "dagster.yaml"
    if shipped.exists() and not mine.exists():
        shutil.copyfile(shipped, mine)
    with dg.DagsterInstance.from_config(str(home.dagster)) as opened:
        yield opened


def register_partitions(home: Home, names: Sequence[str]) -> None:
    """Make the repositories partitions of the Dagster instance."""
    with instance(home) as opened:
        opened.add_dynamic_partitions(str(repositories.name), names)


def build(home: Home, name: str, *, force: bool = False) -> Manifest:
    """Run the job `build_repository` for one repository and return the manifest it published.

    When vectors take long, a first run publishes the lexical index, a second adds the definitions of source files and
    a third the rest: search does not wait for them.

    Raises:
        UnknownRepository: not registered.
        BuildFailed: the run failed; the message says at which asset and why.
        CodeIntelError: the expected error that stopped it.
    """
    mirror.registration(home, name)
    _build_once(home, name, plan_config(force=force))
    for embed in _LATER:
        if not _served(home, name).is_pending:
            break
        _build_once(home, name, plan_config(embed=embed.name))
    return _served(home, name)


def _build_once(home: Home, name: str, config: dict[str, Any]) -> None:
    tags = _execute(home, "build_repository", {**_QUIET, **config}, partition=name)
    if SKIPPED_TAG in tags:
        raise _SKIPPED_AS[tags[SKIPPED_AS_TAG]](tags[SKIPPED_TAG])


def compact(home: Home, name: str) -> tuple[Manifest, str]:
    """Run the job `compact_repository`; returns the served manifest, and why the run was skipped ('' when it was not).

    Raises:
        UnknownRepository: not registered.
        BuildFailed, CodeIntelError: why it failed.
    """
    mirror.registration(home, name)
    tags = _execute(home, "compact_repository", {**_QUIET, **plan_config(compact=True)}, partition=name)
    return _served(home, name), tags.get(SKIPPED_TAG, "")


def _served(home: Home, name: str) -> Manifest:
    repository = home.repository(name)
    served = current_id(repository)
    if served is None:
        raise BuildFailed(f"the run ended but '{name}' has no generation")
    return manifests.load(repository.generation(served))


def refresh_analytics(home: Home) -> list[str]:
    """Compact the days with new rows, also of other machines, then rewrite codeintel.duckdb; returns the days."""
    stale = _compact_new(home)
    _execute(home, "refresh_analytics", _QUIET)
    return stale


def learn(home: Home) -> None:
    """Compact new traces, then run the job `learn_from_traces`."""
    _compact_new(home)
    _execute(home, "learn_from_traces", _QUIET)


def _compact_new(home: Home) -> list[str]:
    """Compact the days whose journals are newer than their table, or of which the bucket still has rows."""
    from codeintel_pipelines.resources import HomeResource

    gathering, days = shared.gathering(HomeResource(root=str(home.root)).settings), set[str]()
    if gathering is not None:
        brought = gathering.bring()
        days = {segment.day for segment in brought.segments}
        for problem in brought.problems:
            _log.warning("not all that other machines handed over was brought in: %s", problem)
    stale = sorted({*days, *watch.days_to_compact(home)})
    for day in stale:
        _execute(home, "compact_traces", _QUIET, partition=day)
    return stale


def export(home: Home, name: str = "") -> list[Path]:
    """Run `export_chunks` for one repository, or for all that have a generation and then `export_traces`.

    Returns the folders of the Delta tables.

    Raises:
        UnknownRepository: not registered.
        BuildFailed, CodeIntelError: why it failed; without the extra, how to install it.
    """
    if not delta.is_there():
        raise InvalidRequest(f"Delta tables need the extra: {delta.HOW}")
    if name:
        mirror.registration(home, name)
    every = [one for one in home.repository_names() if current_id(home.repository(one))]
    names = [name] if name else every
    for one in names:
        _execute(home, "export_chunks", _QUIET, partition=one)
    tables = [home.delta_chunks(one) for one in names]
    if name:
        return tables
    _execute(home, "export_traces", _QUIET)
    return [*tables, home.delta_traces]


def _execute(home: Home, job: str, config: dict[str, Any], partition: str | None = None) -> Mapping[str, str]:
    """Run a job in this process; returns the tags of its run."""
    from codeintel_pipelines.definitions import defs
    from codeintel_pipelines.resources import HomeResource

    for logger in ("dagster", "dagster._core"):  # Dagster resets the first while it loads an instance
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    run_id = str(uuid.uuid4())
    with instance(home) as opened, _databases_kept_open(opened, run_id):
        if job in _OF_REPOSITORIES and partition:
            opened.add_dynamic_partitions(str(repositories.name), [partition])
        try:
            result = defs.resolve_job_def(job).execute_in_process(
                run_config=config,
                partition_key=partition,
                run_id=run_id,
                instance=opened,
                resources={"home": HomeResource(root=str(home.root))},
                raise_on_error=True,
                tags={"codeintel/started": datetime.now(UTC).isoformat()},
            )
        except dg.DagsterExecutionInterruptedError:
            raise BuildFailed("interrupted; nothing half-done was published, run it again and it goes on") from None
        except Exception as error:  # whatever an asset raised: the user gets one line, the run has the rest
            raise _reason(error) from error
        if not result.success:
            raise BuildFailed(f"{job} failed; see run {result.run_id} in the Dagster UI")
        run = opened.get_run_by_id(result.run_id)
        return run.tags if run else {}


@contextmanager
def _databases_kept_open(opened: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold a connection to the SQLite files that the events of a run go to; nothing on another storage.

    Dagster connects anew for each of some 100 events, and whoever closes the last connection to a database brings it
    to the disk and removes its log: two thirds of the 900 waits for the disk in a run.
    """
    path_of = getattr(opened.event_log_storage, "path_for_shard", None)
    with ExitStack() as held:
        with suppress(sqlite3.Error):  # of a full disk, say: Dagster meets it too, and the run says so
            for path in map(path_of, ("index", run_id)) if path_of else ():
                connection = held.enter_context(closing(sqlite3.connect(path)))
                connection.execute("PRAGMA journal_mode=WAL")  # what Dagster sets too, but after it made its tables
                connection.execute("SELECT * FROM sqlite_master").fetchall()  # only now is its log open
        yield


def _reason(error: BaseException) -> CodeIntelError:
    """The expected error inside a Dagster error, or one that names it."""
    cause: BaseException | None = error
    seen: set[int] = set()  # chains of causes and contexts may close in a circle
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, CodeIntelError):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    message = " ".join(str(error).split())[:500]
    if _DISK_FULL in str(error):  # the same words from Python, Arrow, DuckDB and Java
        return StorageFailed(f"the disk of the home folder is full; free space and build again ({message})")
    return BuildFailed(f"{type(error).__name__}: {message} (see the run in the Dagster UI: make dagster)")


class ProgressBars(logging.Handler):
    """Shows log records that carry `progress = (stage, done, total)` as progress bars."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, transient=True)
        self._tasks: dict[str, TaskID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Advance the bar of the record's stage."""
        found = getattr(record, "progress", None)
        if found is None:
            return
        stage, done, total = found
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bars while the block runs."""
        logger = logging.getLogger("codeintel")
        before = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        try:
            with self._bars:
                yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(before)
