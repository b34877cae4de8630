"""`read`: lines of files, named by place or by symbol."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from codeintel_core.chunking.rows import FileRow
from codeintel_core.errors import InvalidRequest
from codeintel_core.generations.generation import Generation
from codeintel_core.injection import signs
from codeintel_core.telemetry import current_run, step
from codeintel_serving import files
from codeintel_serving.budgeting import TRIMMED_LINES, budget_of, tokens_of
from codeintel_serving.display import inline, printable
from codeintel_serving.models import MAX_READ_LINES, Detail, Envelope, FileText, PagedRequest, example
from codeintel_serving.resolving import nearest
from codeintel_serving.suspicion import lines_of, warnings_of
from codeintel_serving.tools import targets
from codeintel_serving.tools.targets import MAX_TARGET_CHARS, Target
from codeintel_serving.tools.tool import Call, Tool, in_thread

MAX_TARGETS = 20
MAX_EXPAND = 200


class ReadTargets(PagedRequest):
    """Places whose lines are wanted."""

    model_config = example(targets=["codeintel:codeintel_core/home.py:1-20", "codeintel_core/home.py#check_name"])

    targets: list[Annotated[str, Field(min_length=1, max_length=MAX_TARGET_CHARS)]] = Field(
        min_length=1,
        max_length=MAX_TARGETS,
        description="`repo:path`, `path:10-40` or `path#symbol`; ids of search results fit. "
        "A path without a repository is looked up in all of the scope.",
    )
    expand: Annotated[int, Field(strict=True, ge=0, le=MAX_EXPAND)] = Field(
        0, description=f"Lines added before and after each range, 0..{MAX_EXPAND}."
    )


class ReadFiles(Envelope):
    """The lines that were asked for."""

    files: list[FileText] = Field(description="One entry per target, in their order.")


def _read(call: Call[ReadTargets]) -> ReadFiles:
    request, at = call.request, call.resolved.cursor.at if call.resolved.cursor else [0]
    shown: list[FileText] = []
    left = request.max_tokens
    next_at: list[int] | None = None
    shortened = 0
    with step("files.read", targets=len(request.targets)) as current:
        for number, text in enumerate(request.targets):
            call.deadline.check("read")
            found = _target(call, targets.parse(text))  # all of them: a bad one is an error on every page
            if number < at[0] or next_at is not None:
                continue
            skip = at[1] if number == at[0] and len(at) > 1 else 0
            part = _without_first(found, skip) if request.detail is Detail.FULL else _brief(found, request.detail)
            shortened += request.detail is Detail.CONCISE and part.end_line < found.end_line
            fitting = _fitting(part, left, is_first=not shown)
            if fitting is not None:
                shown.append(_tagged(fitting))
                left -= _cost(fitting)
            if fitting is None or fitting.end_line < part.end_line:
                done = fitting.end_line - found.start_line + 1 if fitting else skip
                next_at = [number, done]
                shortened += fitting is not None
        current.set(files=len(shown), is_last=next_at is None)
    run = current_run()
    call.services.note_read(call.caller, run.run_id if run else "", [(file.repo, file.path) for file in shown])
    budget = budget_of(request, call.resolved, request.max_tokens - left, shortened, {}, next_at)
    call.warnings.extend(warnings_of((_place(file), file.suspicious) for file in shown))
    return call.respond(ReadFiles, budget, files=shown)


def _target(call: Call[ReadTargets], target: Target) -> FileText:
    generation, found = targets.find(target.place, call.resolved.generations)
    file, lines = files.lines_of(generation, found.path)
    start, end = target.start_line or 1, target.end_line
    if target.symbol:
        start, end = _lines_of_symbol(generation, file, target.symbol)
    if call.request.expand and end is not None:
        start = max(1, start - call.request.expand)
        end = min(end + call.request.expand, start + MAX_READ_LINES - 1)
    return files.excerpt(generation, file, lines, start, end)


def _lines_of_symbol(generation: Generation, file: FileRow, name: str) -> tuple[int, int]:
    """The lines of the definition; of several with that name the first."""
    found = generation.catalog.symbols.definitions_in(file.path)
    for symbol in found:
        if name in (symbol.symbol, symbol.name):
            return symbol.start_line, min(symbol.end_line, symbol.start_line + MAX_READ_LINES - 1)
    near = nearest(name, [symbol.symbol for symbol in found])
    raise InvalidRequest(f"that file defines no symbol {name[:100]!r}{near}")


def _without_first(found: FileText, lines: int) -> FileText:
    """What follows the lines that an earlier page showed."""
    if not lines:
        return found
    kept = found.text.split("\n")[lines:]
    if not kept:
        raise InvalidRequest("the cursor is past the end of its target; start again without it")
    return found.model_copy(update={"text": "\n".join(kept), "start_line": found.start_line + lines})


def _brief(found: FileText, detail: Detail) -> FileText:
    if detail is Detail.IDS:
        return found.model_copy(update={"text": ""})
    lines = found.text.split("\n")[:TRIMMED_LINES]
    return found.model_copy(update={"text": "\n".join(lines), "end_line": found.start_line + len(lines) - 1})


def _fitting(found: FileText, tokens: int, *, is_first: bool) -> FileText | None:
    """As many whole lines as fit; None when not even one does, unless it is the first of the page."""
    if _cost(found) <= tokens:
        return found
    lines = found.text.split("\n")
    low, high = int(is_first), len(lines) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _cost(_first_lines(found, lines[:middle])) <= tokens else (low, middle - 1)
    return _first_lines(found, lines[:low]) if low else None


def _first_lines(found: FileText, lines: list[str]) -> FileText:
    return found.model_copy(update={"text": "\n".join(lines), "end_line": found.start_line + max(len(lines), 1) - 1})


def _tagged(shown: FileText) -> FileText:
    """With the signs of the lines that are shown: never more than those of all that were asked for.

    Where no line is shown, what was asked for keeps its signs.
    """
    return shown.model_copy(update={"suspicious": list(signs(shown.text))}) if shown.text else shown


def _cost(found: FileText) -> int:
    return tokens_of(found.model_dump_json())


def _text(found: ReadFiles) -> str:
    return "\n\n".join(
        "\n".join([_heading(file), *lines_of(file.suspicious), printable(file.text)]) for file in found.files
    )


def _heading(file: FileText) -> str:
    return f"{_place(file)} of {file.total_lines} @ {file.commit[:12]}"


def _place(file: FileText) -> str:
    return f"{file.repo}:{inline(file.path)}:{file.start_line}-{file.end_line}"


TOOL = Tool(
    name="read",
    avoid="Do not use it to look for something (`search`, `grep`); files that are not indexed cannot be read.",
    request=ReadTargets,
    response=ReadFiles,
    run=in_thread("read", _read),
    text=_text,
    path="/read",
    positional=("targets",),
)
