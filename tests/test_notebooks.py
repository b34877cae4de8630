"""The notebooks of the documentation run over any home, and what is committed was run and names no machine."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from codeintel_core.home import Home
from docs.notebooks import execute
from tests.serving import asked

NOTEBOOKS = sorted(execute.FOLDER.glob("*.ipynb"))


def _plots(notebook: nbformat.NotebookNode) -> list[str]:
    return [
        output.data["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_draws(path: Path, tmp_path: Path) -> None:
    asked.write(Home(tmp_path), 3)
    found = execute.executed(path, tmp_path)
    kept = nbformat.read(path, as_version=4)
    assert [cell.source for cell in found.cells] == [cell.source for cell in kept.cells]
    assert len(_plots(found)) == len(_plots(kept)) >= 4
    assert str(tmp_path) not in nbformat.writes(found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_was_run_is_small_and_names_no_machine(path: Path) -> None:
    text = path.read_text()
    assert len(text) < 300_000
    assert not any(place in text for place in ("/tmp/", "/root/", "/home/", str(Path.home())))
    cells = [cell for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells)
