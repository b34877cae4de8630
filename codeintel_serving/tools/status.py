"""`status`: what is indexed, how fresh and how complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError
from codeintel_core.generations import reader, rollback
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Manifest
from codeintel_core.repository import mirror
from codeintel_core.telemetry import current_run, step
from codeintel_serving import freshness
from codeintel_serving.display import without_server_paths
from codeintel_serving.models import FileStatus, RepositoryStatus, StatusRequest, StatusResponse
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools import targets
from codeintel_serving.tools.tool import Tool, in_thread_unpinned

_MOST_OPENED = 32  # repositories that are opened to be described; of more, those that are not open are not
_NOT_OPEN = "not open: verified and opened when it is first searched"


def _status(services: Services, request: StatusRequest, caller: Caller, deadline: Deadline) -> StatusResponse:
    scope = request.scope
    with step("scope.resolve"):
        asked = scope.model_copy(update={"repos": request.repos, "groups": []}) if request.repos else scope
        names = services.resolver.repositories(asked, caller)
    ready = readiness(services)
    states, entries, pinned, files = [], [], list[Generation](), list[FileStatus]()
    try:
        for name in names:
            deadline.check("status")
            try:
                as_of = request.generation or scope.as_of
                if not as_of and not services.library.is_open(name) and len(names) > _MOST_OPENED:
                    states.append(_not_open(services, name))
                    continue
                generation = _acquire(services, name, as_of)
            except CodeIntelError as error:
                states.append(_unserved(services, name, error))
                continue
            pinned.append(generation)
            entries.append(services.freshness.entry(generation))
            states.append(_state(services, generation))
        files = [status for place in request.paths for status in _files(place, pinned)]
        searched = freshness.coverage(pinned, {})
    finally:
        for generation in pinned:
            generation.release()
    run = current_run()
    return StatusResponse(
        repositories=states,
        files=files,
        readiness=ready if caller.principal.watches_all else ready.without_reasons(),
        index=entries,
        coverage=searched,
        run_id=run.run_id if run else "",
        trace_id=run.trace_id if run else "",
        warnings=[*request.scope_warnings, *freshness.warnings(entries, searched)],
    )


def _acquire(services: Services, name: str, as_of: str) -> Generation:
    found = services.library.reader(name)
    return found.acquire_as_of(as_of) if as_of else found.acquire()


def _files(place: str, generations: Sequence[Generation]) -> list[FileStatus]:
    """The state of a path in each repository that may hold it."""
    repo, path = targets.split(place, generations)
    found = []
    for generation in generations:
        if repo not in ("", generation.repo):
            continue
        file = generation.file(path)
        reason = "missing" if file is None else file.skip_reason
        chunks = file.chunks if file else 0
        found.append(FileStatus(repo=generation.repo, path=path, indexed=not reason, reason=reason, chunks=chunks))
    return found


def _unserved(services: Services, name: str, error: CodeIntelError) -> RepositoryStatus:
    group, held = _registered(services, name)
    return RepositoryStatus(
        repo=name,
        index=None,
        files=0,
        chunks=0,
        coverage={},
        redacted={},
        secondary_ratio=0.0,
        group=group,
        held=held,
        generations=_kept(services, name),
        sparse="",
        dense_device="",
        problem=without_server_paths(str(error)),
    )


def _state(services: Services, generation: Generation) -> RepositoryStatus:
    return _described(
        services,
        generation.manifest,
        index=services.freshness.entry(generation),
        sparse=freshness.sparse_state(generation, is_configured=services.settings.has_sparse),
        dense_device=generation.dense.primary.device.text,
        vector_engine=_elsewhere(services, generation.manifest),
        problem=services.freshness.problem(generation),
    )


def _elsewhere(services: Services, manifest: Manifest) -> str:
    engine = services.vector_engine
    if engine is None:
        return ""
    why = services.vector_engine_problem(manifest)
    verified = "" if services.is_warm else " (a server counts them before it asks)"
    return without_server_paths(why) or f"{manifest.vector_engine.count} vectors in {engine.system}{verified}"


def _not_open(services: Services, name: str) -> RepositoryStatus:
    """What the manifest says; the files are not looked at."""
    manifest = services.library.reader(name).published()
    return _described(services, manifest, index=None, sparse="", dense_device="", problem=_NOT_OPEN)


def _described(services: Services, manifest: Manifest, **state: Any) -> RepositoryStatus:
    group, held = _registered(services, manifest.repo)
    return RepositoryStatus(
        repo=manifest.repo,
        files=manifest.counts.files,
        chunks=manifest.counts.chunks,
        coverage=manifest.coverage,
        redacted=manifest.redacted,
        secondary_ratio=round(manifest.counts.compaction_ratio, 4),
        group=group,
        held=held,
        generations=_kept(services, manifest.repo),
        **state,
    )


def _registered(services: Services, name: str) -> tuple[str, str]:
    """The group of a repository, and why its automatic builds wait."""
    hold = rollback.hold_of(services.home, name)
    held = f"rolled back from {hold.head[:10]}; waits for a newer commit or `rollback --resume`" if hold else ""
    return mirror.registration(services.home, name).group, held


def _kept(services: Services, name: str) -> list[str]:
    return reader.kept(services.home.repository(name))[::-1]


def _text(found: StatusResponse) -> str:
    lines = []
    for state in found.repositories:
        index = state.index
        what = f"{index.generation} {index.status}, {state.chunks} spans" if index else "nothing serves"
        lines.append(f"{state.repo}: {what}" + (f"; {state.problem}" if state.problem else ""))
    lines += [f"{file.repo}:{file.path}: {file.reason or 'indexed'}" for file in found.files]
    return "\n".join(lines) or "no repository is registered"


TOOL = Tool(
    name="status",
    avoid="Do not call it before every search: each result names the generation that answered.",
    request=StatusRequest,
    response=StatusResponse,
    run=in_thread_unpinned("status", _status),
    text=_text,
    path="/status",
)
