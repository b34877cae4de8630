"""Reading files: only the pinned commit, only what the catalog lists as text, by exact path."""

from __future__ import annotations

from codeintel_core.errors import InvalidRequest, UnknownFile
from codeintel_core.generations.generation import Generation
from codeintel_serving.models import MAX_READ_LINES, FileText, ReadRequest


def read(generation: Generation, request: ReadRequest) -> FileText:
    """The asked lines.

    The path is looked up in the catalog, never joined to a folder, so nothing outside the commit can be named. One
    wording covers what is missing, hidden, binary or malformed.

    Raises:
        UnknownFile: no readable text file at that path.
        InvalidRequest: a line range outside its limits.
    """
    if request.end_line is not None and request.end_line < request.start_line:
        raise InvalidRequest(f"end_line {request.end_line} is before start_line {request.start_line}")
    if request.end_line is not None and request.end_line - request.start_line >= MAX_READ_LINES:
        raise InvalidRequest(f"a range has at most {MAX_READ_LINES} lines; ask for fewer")
    file = generation.catalog.file(request.path)
    data = None if file is None or file.skip_reason else generation.read_file(file.path)
    if file is None or data is None:
        raise UnknownFile(f"'{request.repo}' has no readable text file at that path in the indexed commit")
    lines = data.decode(file.encoding).split("\n")
    total = len(lines) - (lines[-1] == "")
    if request.start_line > total:
        raise InvalidRequest(f"the file has {total} lines; start_line must be 1..{total}")
    last = min(request.end_line or request.start_line + MAX_READ_LINES - 1, total)
    return FileText(
        repo=generation.repo,
        path=file.path,
        commit=generation.manifest.commit,
        blob=file.blob,
        generation=generation.manifest.gen_id,
        language=file.language,
        start_line=request.start_line,
        end_line=last,
        total_lines=total,
        text="\n".join(lines[request.start_line - 1 : last]),
    )
