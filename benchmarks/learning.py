"""What learning from traces finds in simulated sessions, and what it leaves alone; the table in docs/learning.md.

Usage: python -m benchmarks.learning [SEEDS]. For each world, attention and number of sessions: how many of the seeds
promote something, and what that changes for the later sessions and for what people truly want (others, whose clicks
are exactly what they want). Ends with 1 when a world without signal promotes more than one in twenty.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np

from codeintel_pipelines.learning import value
from codeintel_pipelines.learning.judge import judge
from codeintel_pipelines.learning.log import Log, ranks
from codeintel_pipelines.learning.simulator import People, World, simulate

SESSIONS = (150, 400, 1_000)
BIASES = (0.5, 1.0)
COLUMNS = ("people", "attention", "sessions", "promoted", "nDCG if rank explains all", "if nothing", "true nDCG",
           "true MRR", "CPU s")  # fmt: skip


def main() -> int:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    false = 0
    for world in World:
        for bias in BIASES:
            for sessions in SESSIONS:
                promoted = _row(People(world, sessions=sessions, bias=bias), seeds)
                false = max(false, promoted) if world is not World.LEANING else false
    return int(false > max(1, seeds // 20))


def _row(people: People, seeds: int) -> int:
    began, changes = time.process_time(), []
    for seed in range(seeds):
        judged = judge(Log.of(simulate(people, seed)), {})
        if not judged.reasons:
            ends = [judged.changes[end][value.NDCG].mean for end in (value.ALL, value.NOTHING)]
            changes.append([*ends, *_true(people, seed, judged.factors)])
    spent = (time.process_time() - began) / seeds
    means = " | ".join(f"{mean:+.3f}" for mean in np.mean(changes, axis=0)) if changes else " | ".join([""] * 4)
    what = f"| {people.world} | 1 / rank^{people.bias:g} | {people.sessions} | {len(changes)} of {seeds}"
    print(f"{what} | {means} | {spent:.2f} |", flush=True)
    return len(changes)


def _true(people: People, seed: int, factors: dict[str, dict[str, float]]) -> list[float]:
    """Change of nDCG and MRR for others who want the same, look at everything and open only what they want."""
    others = Log.of(simulate(replace(people, bias=0.0, noise=0.0, sessions=300), seed + 10_000))
    chance = value.looked_at(others)[value.NOTHING]
    now, then = ranks(others, factors), ranks(others, {})
    return [value.change(others, now, then, chance, metric).mean for metric in (value.NDCG, value.MRR)]


if __name__ == "__main__":
    sys.exit(main())
