"""Calling a tool of the table as the faces do."""

from __future__ import annotations

import asyncio
from typing import Any

from codeintel_serving.problems import checked
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools.registry import load


def call(services: Services, name: str, /, caller: Caller | None = None, **arguments: Any) -> Any:
    """The response of the tool; raises what it raises."""
    tool = load(name)
    return asyncio.run(tool.run(services, checked(tool.request, **arguments), caller or Caller("cli"), None))
