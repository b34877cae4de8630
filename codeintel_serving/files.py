"""Text of files: only the pinned commit, only what the catalog lists as text, by exact path."""

from __future__ import annotations

from codeintel_core.chunking.rows import FileRow
from codeintel_core.errors import InvalidRequest, UnknownFile
from codeintel_core.generations.generation import Generation
from codeintel_core.injection import signs
from codeintel_serving.models import MAX_READ_LINES, FileText


def lines_of(generation: Generation, path: str) -> tuple[FileRow, list[str]]:
    """A file and its lines, without line ends.

    The path is looked up in the catalog, never joined to a folder, so nothing outside the commit can be named. One
    wording covers what is missing, hidden, binary or malformed.

    Raises:
        UnknownFile: no readable text file at that path.
    """
    file = generation.file(path)
    data = None if file is None or file.skip_reason else generation.read_file(file.path)
    if file is None or data is None:
        raise UnknownFile(f"'{generation.repo}' has no readable text file at that path in the indexed commit")
    lines = data.decode(file.encoding).split("\n")
    return file, lines[:-1] if lines[-1] == "" else lines


def excerpt(generation: Generation, file: FileRow, lines: list[str], start: int, end: int | None) -> FileText:
    """Lines `start`..`end` of a file, at most 2,000 when the end is open; raises `InvalidRequest` for a bad range."""
    if end is not None and end < start:
        raise InvalidRequest(f"end_line {end} is before start_line {start}")
    if end is not None and end - start >= MAX_READ_LINES:
        raise InvalidRequest(f"a range has at most {MAX_READ_LINES} lines; ask for fewer")
    total = len(lines)
    if start > max(1, total):
        raise InvalidRequest(f"the file has {total} lines; start_line must be 1..{total}")
    last = min(end or start + MAX_READ_LINES - 1, total)
    text = "\n".join(lines[start - 1 : last])
    return FileText(
        repo=generation.repo,
        path=file.path,
        commit=generation.manifest.commit,
        blob=file.blob,
        generation=generation.manifest.gen_id,
        language=file.language,
        start_line=start,
        end_line=last,
        total_lines=total,
        suspicious=list(signs(text)),
        text=text,
    )
