"""The peer of `mcp_calls`: FastMCP with one tool that answers what it was given (BARE_REPLY, a file), over HTTP."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastmcp import FastMCP
from fastmcp.tools.base import ToolResult

_REPLY: dict[str, Any] = json.loads(Path(os.environ["BARE_REPLY"]).read_text())
_mcp: FastMCP = FastMCP("bare")


@_mcp.tool
def search(query: str) -> ToolResult:  # noqa: ARG001 (read and checked, as ours is)
    """Answer what `codeintel` answered."""
    return ToolResult(content=_REPLY["text"], structured_content=_REPLY["structured"])


app = _mcp.http_app(path="/mcp", stateless_http=True)
