"""Run the notebooks of this folder against a home and keep their outputs, without paths or times of the machine.

make notebooks CODEINTEL_HOME=PATH
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
_LIMIT_S = 300


def executed(notebook: Path, home: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run over `home`.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; the message has its traceback.
    """
    found = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory(prefix="notebook-") as own:  # Jupyter and IPython keep files of their own
        places = {
            "CODEINTEL_HOME": str(home.absolute()),
            "IPYTHONDIR": own,
            "JUPYTER_RUNTIME_DIR": own,
            "MPLCONFIGDIR": own,
        }
        with patch.dict(os.environ, places):
            NotebookClient(found, timeout=_LIMIT_S, kernel_name="python3", record_timing=False).execute(cwd=str(FOLDER))
    return _stripped(found, home)


def _stripped(notebook: nbformat.NotebookNode, home: Path) -> nbformat.NotebookNode:
    """Machine paths become the name of the setting; what differs from run to run without meaning goes."""
    text = nbformat.writes(notebook)
    for path, name in ((home.absolute(), "$CODEINTEL_HOME"), (FOLDER.parents[1], "."), (Path.home(), "~")):
        text = re.sub(re.escape(str(path)) + r"(?=[/\"'\s\\])", name, text)
    found = nbformat.reads(text, as_version=4)
    found.metadata = {"kernelspec": found.metadata["kernelspec"], "language_info": {"name": "python"}}
    for number, cell in enumerate(found.cells):
        cell["id"], cell.metadata = f"cell-{number}", {}
    return found


def main() -> None:
    """Execute every notebook over the home of the environment, in place."""
    home = Path(os.environ.get("CODEINTEL_HOME", ".codeintel"))
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(executed(notebook, home), notebook)
        print(f"{notebook.name}: {notebook.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
