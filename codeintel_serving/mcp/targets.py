"""Targets of the `read` tool: `repo:path:10-40`, `repo:path:10` or `repo:path`."""

from __future__ import annotations

import re

from codeintel_core.errors import InvalidRequest
from codeintel_serving.models import MAX_LINE, ReadRequest
from codeintel_serving.problems import checked

_TARGET = re.compile(r"(?P<repo>[^:]{1,300}):(?P<path>.{1,4096}?)(?::(?P<start>\d{1,9})(?:-(?P<end>\d{1,9}))?)?", re.S)


def parse(target: str, as_of: str = "") -> ReadRequest:
    """The request that a target stands for; raises `InvalidRequest` showing the form, or what `as_of` may be."""
    match = _TARGET.fullmatch(target)
    if match is None:
        raise InvalidRequest("a target is 'repo:path', 'repo:path:10' or 'repo:path:10-40'; ids of search results fit")
    start = int(match["start"] or 1)
    end = int(match["end"]) if match["end"] else start if match["start"] else None
    if not 1 <= start <= MAX_LINE or (end is not None and end > MAX_LINE):
        raise InvalidRequest(f"lines of a target must be 1..{MAX_LINE}")
    return checked(ReadRequest, repo=match["repo"], path=match["path"], start_line=start, end_line=end, as_of=as_of)
