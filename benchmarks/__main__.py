"""Run the benchmarks: one table, JSON of it, a line of history for each number, and docs/performance.md anew.

make bench [REPO=PATH]                            all subjects, dense and growth up to 10k
python -m benchmarks --repo click=PATH gson=PATH --only builds    one column of docs/performance.md for each repository
python -m benchmarks --only dense growth --full   also with 100k and 1M: hours
python -m benchmarks --history [SUBJECT]          the trend of every ratio; ends with 1 when one got worse
python -m benchmarks --write-docs                 write docs/performance.md from what is stored; measure nothing
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import history, machine, page, results
from benchmarks.rows import COLUMNS, Row
from benchmarks.subjects import SUBJECTS, Needs, in_order, measure
from benchmarks.workplace import Workplace

_HOME = Path(os.environ.get("CODEINTEL_HOME", ".codeintel")).absolute()


def main() -> int:
    """Measure, print, store; 1 when a subject failed or the history shows a regression."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # where it is set, every process compiles all of its source again
    options = _options()
    if options.history is not None:
        return history.show(options.history)
    failed: list[str] = []
    if not options.write_docs:
        rows: list[Row] = []
        subjects = in_order(options.only)
        for number, (name, repo) in enumerate(options.repo):
            wanted = [subject for subject in subjects if number == 0 or SUBJECTS[subject] is not Needs.NOTHING]
            failed += _measure(wanted, name, repo, options, rows)
        _show(rows, [name for name, _ in options.repo])
    if not options.no_store:
        page.write()
        print(f"stored in {machine.RESULTS}, written to {page.PAGE}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _measure(subjects: list[str], name: str, repo: Path, options: argparse.Namespace, rows: list[Row]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        at = Workplace(Path(folder), repo, name, options.sizes)
        if (_HOME / "models").is_dir():  # exported once is enough
            (at.home.root / "models").symlink_to(_HOME / "models")
        return measure_all(subjects, at, rows, None if options.no_store else machine.RESULTS)


def measure_all(subjects: list[str], at: Workplace, rows: list[Row], results_folder: Path | None) -> list[str]:
    """Measure subjects one after the other, adding to `rows` and storing each when it is finished.

    Returns those that failed: hours of measuring are not lost to one of them.
    """
    failed = []
    for subject in subjects:
        name = "" if SUBJECTS[subject] is Needs.NOTHING else at.name
        some: list[Row] = []
        with machine.Clock() as clock:
            try:
                for row in measure(subject, at):
                    some.append(row)
                    print("  ".join(filter(None, row.cells())), flush=True)
            except (Exception, SystemExit) as error:
                print(f"{subject}: {type(error).__name__}: {error}", file=sys.stderr)
                failed.append(f"{subject} {name}".strip())
            else:
                if results_folder is not None:
                    results.store(subject, name, clock.circumstances(), some, results_folder)
        rows.extend(some)
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = (os.environ.get("REPO") or ".").split()
    parser.add_argument("--repo", nargs="+", default=given, metavar="[NAME=]PATH", help="repositories (or REPO)")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=[], help="subjects (default: all)")
    parser.add_argument("--full", action="store_true", help="also 100k and 1M vectors and chunks")
    parser.add_argument("--sizes", type=int, nargs="+", help="sizes of dense and growth; traces: ten times as many")
    parser.add_argument(
        "--history",
        nargs="?",
        const="",
        choices=["", *SUBJECTS],
        metavar="SUBJECT",
        help="show trends, measure nothing",
    )
    parser.add_argument("--write-docs", action="store_true", help="write the page, measure nothing")
    parser.add_argument("--no-store", action="store_true", help="print only: nothing is stored, no page is written")
    options = parser.parse_args()
    options.repo = [_named(text) for text in options.repo]
    options.sizes = tuple(options.sizes or ((10_000, 100_000, 1_000_000) if options.full else (10_000,)))
    return options


def _named(text: str) -> tuple[str, Path]:
    """Name and path of a repository; without a name it is called like its folder."""
    name, _, path = text.rpartition("=")
    found = Path(path).absolute()
    return name or ("codeintel" if found == machine.ROOT else found.name), found


def _show(rows: list[Row], repos: list[str]) -> None:
    table = Table(*COLUMNS, title=f"{', '.join(repos)}: {machine.describe()}")
    for row in rows:
        table.add_row(*row.cells())
    Console(width=None if Console().is_terminal else 220).print(table)
    target = machine.RESULTS / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([row.as_json() for row in rows], indent=1))
    print(f"JSON: {target}")


if __name__ == "__main__":
    sys.exit(main())
