"""Rolling back serves the generation before, and holds automatic builds until there is something newer."""

from __future__ import annotations

from pathlib import Path

import pytest

from codeintel_core.errors import UnknownGeneration
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.rollback import hold_of, resume, roll_back
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from tests.conftest import Repo
from tests.core import specimen

_MORE = {**specimen.FILES, "b.py": {"b": "def b():\n    pass\n"}}


def test_the_previous_one_serves_and_the_head_is_held(home: Home, source: Repo, published: Path) -> None:
    specimen.publish_files(home, source, _MORE)
    head = mirror.head(home, "demo")
    manifest = roll_back(home, "demo")
    assert manifest.gen_id == published.name == current_id(home.repository("demo"))
    hold = hold_of(home, "demo")
    assert hold is not None
    assert (hold.commit, hold.head) == (manifest.commit, head)
    with pytest.raises(UnknownGeneration, match="keeps no generation before"):
        roll_back(home, "demo")


def test_previous_means_the_parent_not_a_generation_that_was_rolled_back_from(
    home: Home, source: Repo, published: Path
) -> None:
    bad = specimen.publish_files(home, source, _MORE)
    roll_back(home, "demo")
    fixed = specimen.publish_files(home, source, {**_MORE, "c.py": {"c": "def c():\n    pass\n"}})
    assert bad.name < fixed.name
    assert roll_back(home, "demo").gen_id == published.name


def test_publishing_or_resuming_ends_the_hold(home: Home, source: Repo, published: Path) -> None:
    newer = specimen.publish_files(home, source, _MORE)
    roll_back(home, "demo")
    assert resume(home, "demo")
    assert hold_of(home, "demo") is None
    assert not resume(home, "demo")
    roll_back(home, "demo", newer.name)
    assert hold_of(home, "demo") is None  # forward again: the head serves
    roll_back(home, "demo", published.name)
    specimen.publish_files(home, source, {**_MORE, "c.py": {"c": "def c():\n    pass\n"}})
    assert hold_of(home, "demo") is None


def test_what_is_not_kept_changes_nothing(home: Home, published: Path) -> None:
    with pytest.raises(UnknownGeneration):
        roll_back(home, "demo", "nope")
    assert current_id(home.repository("demo")) == published.name
    assert hold_of(home, "demo") is None
