"""The id of a folder: one, and never none, since nobody looks for rows under that."""

from __future__ import annotations

from pathlib import Path

import pytest

from codeintel_core.errors import InvalidRequest
from codeintel_core.home import Home
from codeintel_core.objects import standing


@pytest.mark.parametrize("content", [b"", b"web-1", b"\xff" * 12])
def test_a_folder_has_one_id_or_says_why_it_has_none(tmp_path: Path, content: bytes) -> None:
    home = Home(tmp_path / "home")
    known = standing.machine(home)
    assert standing.machine(home) == known
    (home.root / "machine").write_bytes(content)
    with pytest.raises(InvalidRequest, match="delete it to have a new one"):
        standing.machine(home)
    (home.root / "machine").unlink()
    assert standing.machine(home) not in ("", known)
