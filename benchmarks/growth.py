"""Growth: what an incremental build of 20 changed chunks costs in repositories of 1k, 10k (and 100k) chunks.

The cost should grow with the change and not with the repository. Vectors come from the fake encoder (embedding 20
chunks costs the same everywhere, and a first build of 100k chunks would take hours); every other stage is real.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import fake_encoder, plain_build
from benchmarks.rows import Row, Rows
from benchmarks.workplace import Workplace, run_git
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings

_CHANGED = 20
_PER_FILE = 10
_ROUNDS = 3


def measure(at: Workplace) -> Rows:
    """Two rows for each size: wall time with the stages of its middle round, and CPU time, beside the smallest size."""
    smallest: plain_build.Cost | None = None
    for size in (1_000, *at.sizes):
        if size > 100_000:
            continue
        cost, counts = _at_size(at.folder / f"growth-{size}", size)
        smallest = smallest or cost
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in cost.seconds.items())
        measure = f"{counts:,} chunks, {_CHANGED} of them changed"
        for kind, seconds, least in (("", cost.total_s, smallest.total_s), (", CPU", cost.cpu_s, smallest.cpu_s)):
            note = "" if kind else f"fake encoder; {stages}"
            yield Row("growth", measure + kind, seconds, "s", f"smallest: {least:.2f}", least / seconds, note)


def _at_size(folder: Path, size: int) -> tuple[plain_build.Cost, int]:
    source, home = folder / "source", Home(folder / "home")
    home.root.mkdir(parents=True)
    for number in range(size // _PER_FILE):
        _write(source, number, 0)
    run_git(folder, "init", "--quiet", "--initial-branch=main", str(source))
    run_git(source, "config", "user.name", "bench")
    run_git(source, "config", "user.email", "bench@example.org")
    _commit(source)
    mirror.add(home, str(source), name="growth")
    settings = Settings(home=home.root, lexical_first_texts=10**9)  # all vectors at once: nothing is pending
    costs = []
    with fake_encoder.used_by_builds():
        manifest = plain_build.build(home, settings, "growth")
        for turn in range(1, _ROUNDS + 1):
            for number in range(_CHANGED):
                _write(source, number * 7 % (size // _PER_FILE), turn)
            _commit(source)
            cost = plain_build.Cost()
            manifest = plain_build.build(home, settings, "growth", cost=cost)
            costs.append(cost)
    return sorted(costs, key=lambda cost: cost.total_s)[_ROUNDS // 2], manifest.counts.chunks


def _write(source: Path, number: int, turn: int) -> None:
    """A file of ten functions, of which the first depends on the turn."""
    functions = [
        f"def handle_{number}_{place}(request, limit={turn if place == 0 else 0}):\n"
        f'    """Handle request kind {place} of part {number} and return its rows."""\n'
        + "".join(f"    value_{line} = request.field_{(number + line) % 97} + {place * line}\n" for line in range(12))
        + "    return [value_0, value_1, value_2]\n"
        for place in range(_PER_FILE)
    ]
    path = source / f"part{number // 100}" / f"m{number}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(functions))


def _commit(source: Path) -> None:
    run_git(source, "add", "--all")
    run_git(source, "commit", "--quiet", "--message=bench")
