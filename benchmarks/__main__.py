"""Run the benchmarks and print one table; the numbers also go to benchmarks/results/ as JSON.

make bench [REPO=PATH]                            all of SUBJECTS, dense and growth up to 10k
python -m benchmarks --only dense growth --full   with 100k and 1M (dense) and 100k (growth): long
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.rows import Row
from benchmarks.workplace import Workplace

SUBJECTS = (
    "chunking", "embedding", "builds", "queries", "serving", "overload", "load", "pipeline_overhead",
    "telemetry_overhead", "code_tools", "dense", "sparse", "growth", "traces",
)  # fmt: skip
_NEEDS_BUILD = {"queries", "serving", "overload", "load", "pipeline_overhead", "telemetry_overhead"}
_HOME = Path(os.environ.get("CODEINTEL_HOME", ".codeintel")).absolute()


def main() -> None:
    """Measure, print, write."""
    options = _options()
    rows: list[Row] = []
    chosen = [subject for subject in SUBJECTS if not options.only or subject in options.only]
    if _NEEDS_BUILD & set(chosen) and "builds" not in chosen:
        chosen.insert(0, "builds")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        at = Workplace(Path(folder), options.repo.absolute(), options.sizes)
        if (_HOME / "models").is_dir():  # exported once is enough
            (at.home.root / "models").symlink_to(_HOME / "models")
        for subject in chosen:
            for row in importlib.import_module(f"benchmarks.{subject}").measure(at):
                rows.append(row)
                print("  ".join(filter(None, row.cells())), flush=True)
    _show(rows, options.repo)
    document = {"machine": machine.describe(), "repo": str(options.repo), "rows": [row.as_json() for row in rows]}
    target = machine.results() / "bench.json"
    target.write_text(json.dumps(document, indent=1))
    print(f"written to {target}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, default=Path(os.environ.get("REPO") or "."), help="repository to measure")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=[], help="subjects (default: all)")
    parser.add_argument("--full", action="store_true", help="also 100k and 1M vectors, and 100k chunks")
    parser.add_argument("--sizes", type=int, nargs="+", help="sizes of dense and growth; traces: ten times as many")
    options = parser.parse_args()
    options.sizes = tuple(options.sizes or ((10_000, 100_000, 1_000_000) if options.full else (10_000,)))
    return options


def _show(rows: list[Row], repo: Path) -> None:
    about = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    table = Table(*("subject", "measure", "value", "unit", "beside", "ratio", "note"), title=f"{repo}: {about}")
    for row in rows:
        table.add_row(*row.cells())
    Console(width=None if Console().is_terminal else 220).print(table)


if __name__ == "__main__":
    main()
