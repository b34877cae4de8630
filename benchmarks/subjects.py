"""What can be measured: one module each, with a function `measure(at: Workplace) -> Rows`.

A new subject is its module, a line here and, to be on docs/performance.md, two marks with its name in that page.
"""

from __future__ import annotations

import importlib
from enum import Enum

from benchmarks.rows import Rows
from benchmarks.workplace import Workplace


class Needs(Enum):
    """What a subject measures."""

    NOTHING = "data of its own"
    REPOSITORY = "the files of a repository"
    BUILD = "the home that `builds` leaves"


SUBJECTS = {
    "chunking": Needs.REPOSITORY,
    "embedding": Needs.REPOSITORY,
    "builds": Needs.REPOSITORY,
    "startup": Needs.BUILD,
    "queries": Needs.BUILD,
    "serving": Needs.BUILD,
    "overload": Needs.BUILD,
    "load": Needs.BUILD,
    "mcp_calls": Needs.BUILD,
    "pipeline_overhead": Needs.BUILD,
    "telemetry_overhead": Needs.BUILD,
    "publishing": Needs.BUILD,
    "code_tools": Needs.NOTHING,
    "primitives": Needs.NOTHING,
    "lexical": Needs.NOTHING,
    "dense": Needs.NOTHING,
    "filtered": Needs.NOTHING,
    "vector_engine": Needs.NOTHING,
    "sparse": Needs.NOTHING,
    "growth": Needs.NOTHING,
    "traces": Needs.NOTHING,
    "many_repositories": Needs.NOTHING,
}


def in_order(only: list[str]) -> list[str]:
    """The subjects to measure, `builds` before what needs one."""
    chosen = [subject for subject in SUBJECTS if not only or subject in only]
    if "builds" not in chosen and any(SUBJECTS[subject] is Needs.BUILD for subject in chosen):
        chosen.insert(0, "builds")
    return chosen


def measure(subject: str, at: Workplace) -> Rows:
    """Measure one."""
    rows: Rows = importlib.import_module(f"benchmarks.{subject}").measure(at)
    return rows
