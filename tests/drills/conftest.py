"""What the drills share: a source to change, a home, and quick builds through the real stages.

The drills are about faults of storage, processes and sources, not about vectors: builds here embed with the
deterministic `FakeEncoder`, put in at the boundary of `LocalEncoder`. Everything else is real.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import fake_encoder
from codeintel_core.home import Home
from codeintel_core.settings import Settings

CYCLES = int(os.environ.get("DRILL_CYCLES", "0"))
"""Raises the number of cycles of every drill that repeats itself (0: the small default of each)."""


def cycles(default: int) -> int:
    """Cycles of a drill: its default, or what the environment asks for."""
    return CYCLES or default


def settings_for(home: Home, **changes: object) -> Settings:
    """Settings with budgets that a loaded machine keeps, and a watcher that is quick."""
    budgets = {"retrieval_budget_ms": 20_000, "answer_budget_ms": 60_000, "watch_interval_s": 0.05}
    return Settings(home=home.root, **(budgets | changes))


def module(number: int, text: str = "") -> str:
    """Source of a small Python module with two functions that no other number has."""
    return (
        f'"""Module {number}. {text}"""\n\n\n'
        f'def compute_total_{number}(items):\n    """Add up what {number} holds."""\n'
        f"    return sum(items) + {number}\n\n\n"
        f"def render_report_{number}(rows):\n    lines = [str(row) for row in rows]\n    return '\\n'.join(lines)\n"
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    root = tmp_path / "home"
    root.mkdir()
    return Home(root)


@pytest.fixture
def _fake_encoder() -> Iterator[None]:
    with fake_encoder.used_by_builds():
        yield
