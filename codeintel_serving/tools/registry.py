"""The table of tools. A tool is one line here and one module with a `TOOL`; every face is made from it.

Importing this module imports none of them, so that `codeintel --help` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeintel_serving.tools.tool import Tool

SUMMARIES = {
    "search": "Find spans of code by name, path, error text or meaning.",
    "answer": "Answer a question about the indexed code with verified citations.",
    "read": "Read lines of files of the pinned commit.",
    "status": "Say which repositories are indexed, how fresh and how complete.",
}
"""Name of each tool -> what it does, in one line. The module is `codeintel_serving.tools.<name>`."""


def load(name: str) -> Tool[Any, Any]:
    """The tool of that name."""
    tool: Tool[Any, Any] = import_module(f"codeintel_serving.tools.{name}").TOOL
    return tool


def all_tools() -> list[Tool[Any, Any]]:
    """Every tool, in the order of the table."""
    return [load(name) for name in SUMMARIES]
