"""`tree`: folders and files of the pinned commit, indexed or why not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import re2
from pydantic import Field

from codeintel_core.chunking.rows import FileRow
from codeintel_core.scope import MAX_GLOB_CHARS, glob_to_regex
from codeintel_core.telemetry import step
from codeintel_serving.budgeting import Rung
from codeintel_serving.display import inline
from codeintel_serving.models import Envelope, Model, PagedRequest, example
from codeintel_serving.tools import targets
from codeintel_serving.tools.tool import Call, Tool, in_thread

MAX_DEPTH = 50


class TreeRequest(PagedRequest):
    """A folder whose content is wanted."""

    model_config = example(path="codeintel:codeintel_core", depth=2, pattern="**/*.py")

    path: str = Field("", max_length=4_096, description="A folder, as `repo:path` or `path`; '' is the root of each.")
    depth: Annotated[int, Field(strict=True, ge=1, le=MAX_DEPTH)] = Field(
        2, description=f"Levels below the folder, 1..{MAX_DEPTH}; deeper files are counted with their folder."
    )
    pattern: str = Field("", max_length=MAX_GLOB_CHARS, description="Only files whose path matches this glob.")


class Entry(Model):
    """A folder or a file."""

    repo: str = Field(description="Repository.")
    path: str = Field(description="Path in the pinned commit; a folder ends in `/`.")
    kind: Literal["folder", "file"] = Field(description="folder or file.")
    indexed: int = Field(description="Indexed files in it; of a file 1 or 0.")
    skipped: dict[str, int] = Field(description="Files in it that are not indexed, by reason.")
    language: str = Field(description="Language of a file, '' when unknown.")
    file_class: str = Field(description="source, test, example, generated, vendored, minified, docs or config.")
    lines: int = Field(description="Lines of its indexed files.")
    size_bytes: int = Field(description="Size of its files.")


class TreeResponse(Envelope):
    """What the folder holds."""

    entries: list[Entry] = Field(description="Folders and files by path.")


def _tree(call: Call[TreeRequest]) -> TreeResponse:
    request, generations = call.request, call.resolved.generations
    repo, path = targets.split(request.path, generations)
    folder = path.strip("/")
    scope = call.resolved.scope
    wanted = re2.compile(glob_to_regex(request.pattern)) if request.pattern else None
    with step("files.list", repositories=len(generations)) as current:
        entries: list[Entry] = []
        for generation in generations:
            if repo in ("", generation.repo):
                files = _inside(generation.files(scope, deadline=call.deadline), folder)
                chosen = [file for file in files if wanted is None or wanted.fullmatch(file.path)]
                entries += _entries(generation.repo, folder, request.depth, chosen)
        if folder and not entries and not request.pattern:
            raise targets.unknown_file([g.repo for g in generations if repo in ("", g.repo)])
        current.set(entries=len(entries))
    found = call.page(entries, _shorter, lambda entry: f"{entry.repo}:{entry.path}")
    return call.respond(TreeResponse, found.budget, entries=found.items)


def _inside(files: Iterable[FileRow], folder: str) -> list[FileRow]:
    return [file for file in files if not folder or file.path == folder or file.path.startswith(folder + "/")]


def _entries(repo: str, folder: str, depth: int, files: Iterable[FileRow]) -> list[Entry]:
    """An entry per file down to `depth` levels below the folder, and one per folder, which counts all below it."""
    base = folder.count("/") + 1 if folder else 0
    found: dict[str, Entry] = {}
    for file in files:
        parts = file.path.split("/")
        for level in range(base + 1, min(len(parts) - 1, base + depth) + 1):
            name = "/".join(parts[:level]) + "/"
            found[name] = _with(found.get(name) or _folder(repo, name), file)
        if len(parts) <= base + depth or file.path == folder:
            found[file.path] = _with(_file(repo, file), file)
    return sorted(found.values(), key=lambda entry: entry.path)


def _folder(repo: str, path: str) -> Entry:
    return Entry(
        repo=repo, path=path, kind="folder", indexed=0, skipped={}, language="", file_class="", lines=0, size_bytes=0
    )


def _file(repo: str, file: FileRow) -> Entry:
    return _folder(repo, file.path).model_copy(
        update={"kind": "file", "language": file.language, "file_class": file.file_class}
    )


def _with(entry: Entry, file: FileRow) -> Entry:
    skipped = entry.skipped
    if file.skip_reason:
        skipped = {**skipped, file.skip_reason: skipped.get(file.skip_reason, 0) + 1}
    return entry.model_copy(
        update={
            "indexed": entry.indexed + (not file.skip_reason),
            "skipped": skipped,
            "lines": entry.lines + file.lines,
            "size_bytes": entry.size_bytes + file.size_bytes,
        }
    )


def _shorter(entry: Entry, rung: Rung) -> Entry:
    return entry.model_copy(update={"file_class": "", "language": ""}) if rung >= Rung.SIGNATURE else entry


def _text(found: TreeResponse) -> str:
    several = len({entry.repo for entry in found.entries}) > 1
    return "\n".join(_line(entry, several) for entry in found.entries) or "no files"


def _line(entry: Entry, several: bool) -> str:
    place = f"{entry.repo}:{inline(entry.path)}" if several else inline(entry.path)
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(entry.skipped.items()))
    if entry.kind == "file":
        return f"{place}  {'not indexed: ' + next(iter(entry.skipped)) if entry.skipped else f'{entry.lines} lines'}"
    return f"{place}  {entry.indexed} files" + (f", not indexed: {reasons}" if reasons else "")


TOOL = Tool(
    name="tree",
    avoid="Do not use it to look for a file by what it does (`search`) or for a name in its text (`grep`).",
    request=TreeRequest,
    response=TreeResponse,
    run=in_thread("tree", _tree, is_kept=True),
    text=_text,
    path="/tree",
    positional=("path",),
)
