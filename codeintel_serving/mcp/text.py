"""The short text twins of structured MCP results."""

from __future__ import annotations

from collections.abc import Sequence

from codeintel_serving.display import inline, printable
from codeintel_serving.explanation import explanation_lines
from codeintel_serving.models import AnswerResponse, FileText, ScopeResponse, SearchResponse, StatusResponse


def of_search(found: SearchResponse) -> str:
    """One line per result, then the warnings."""
    lines = []
    for hit in found.results:
        lines.append(f"{hit.id} {inline(hit.symbol)} ({hit.kind}, {hit.score:.3f})")
        lines += [f"  {line}" for line in explanation_lines(hit)]
    return "\n".join([*(lines or ["no results"]), *found.warnings])


def of_scope(found: ScopeResponse) -> str:
    """The handle, then one line per repository."""
    lines = [f"{r.repo}: {r.spans} spans in scope, generation {r.generation}" for r in found.repositories]
    return "\n".join([f"{found.scope_id} (expires in {found.expires_in_s:.0f} s)", *lines, *found.warnings])


def of_answer(found: AnswerResponse) -> str:
    """The answer and what it cites."""
    cited = [
        f"[{c.id}] {c.repo}:{inline(c.path)}:{c.start_line}-{c.end_line} @ {c.commit[:12]}" for c in found.citations
    ]
    return "\n".join([found.answer, *cited, *found.warnings])


def of_files(files: Sequence[FileText]) -> str:
    """The lines of each file below its name."""
    return "\n\n".join(f"{_heading(file)}\n{printable(file.text)}" for file in files)


def _heading(file: FileText) -> str:
    lines = f"{file.start_line}-{file.end_line} of {file.total_lines}"
    return f"{file.repo}:{inline(file.path)}:{lines} @ {file.commit[:12]}"


def of_status(found: StatusResponse) -> str:
    """One line per repository."""
    lines = []
    for state in found.repositories:
        index = state.index
        what = f"{index.generation} {index.status}, {state.chunks} spans" if index else "nothing serves"
        lines.append(f"{state.repo}: {what}" + (f"; {state.problem}" if state.problem else ""))
    return "\n".join(lines) or "no repository is registered"
