"""The table of tools. A tool is one line here and one module with a `TOOL`; every face is made from it.

Importing this module imports none of them, so that `codeintel --help` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeintel_serving.tools.tool import Tool

SUMMARIES = {
    "search": "Find spans of code by name, path, error text, meaning or pattern.",
    "answer": "Answer a question about the indexed code with verified citations.",
    "grep": "Find the lines that match a pattern (RE2) or a text in the indexed files.",
    "symbols": "Find where a name is defined, or where it is used.",
    "read": "Read lines of files of the pinned commit.",
    "tree": "List folders and files, and say of each file whether it is indexed or why not.",
    "overview": "Show the most important symbols of a repository, ranked, within max_tokens.",
    "history": "List the commits that changed a path, a symbol or a text.",
    "blame": "Say which commit last changed each line of a file.",
    "diff": "Show what changed between two commits or generations.",
    "status": "Say which repositories are indexed, how fresh and how complete.",
    "set_scope": "Keep a scope under a handle, for `scope_id` of later calls; say which repositories it means.",
    "get_scope": "Show the scope of a handle and the repositories it means now.",
}
"""Name of each tool -> what it does, in one line. The module is `codeintel_serving.tools.<name>`."""

SERVED_ONLY = frozenset({"set_scope", "get_scope"})
"""Tools without a command: a handle is of use in the server that gave it."""


def load(name: str) -> Tool[Any, Any]:
    """The tool of that name."""
    tool: Tool[Any, Any] = import_module(f"codeintel_serving.tools.{name}").TOOL
    return tool


def all_tools() -> list[Tool[Any, Any]]:
    """Every tool, in the order of the table."""
    return [load(name) for name in SUMMARIES]
