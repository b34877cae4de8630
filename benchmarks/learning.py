"""What learning from traces finds in simulated sessions, and what it leaves alone; the table in docs/learning.md.

Usage: python -m benchmarks.learning [SEEDS]. For each world, attention and number of sessions: how many of the seeds
promote weights and pairs of files, and what that changes for the later sessions and for what people truly want (others,
whose clicks are exactly what they want). Ends with 1 when more than one in twenty promotes what a world does not have.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np

from codeintel_pipelines.learning import value
from codeintel_pipelines.learning.judge import Judged, judge
from codeintel_pipelines.learning.log import Log, links, ranks
from codeintel_pipelines.learning.simulator import People, World, simulate

SESSIONS = (150, 400, 1_000)
BIASES = (0.5, 1.0)
WORLDS = (
    (World.LEANING, False), (World.CONTENT, False), (World.BLIND, False),
    (World.PAIRING, True), (World.CONTENT, True), (World.BLIND, True),
)  # fmt: skip
COLUMNS = ("people", "attention", "sessions", "weights", "pairs", "nDCG if rank explains all", "if nothing",
           "true nDCG", "true MRR", "CPU s")  # fmt: skip


def main() -> int:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    false = 0
    for world, related in WORLDS:
        for bias in BIASES:
            for sessions in SESSIONS:
                weights, pairs = _row(People(world, sessions=sessions, bias=bias, related=related), seeds)
                false = max(false, weights) if world is not World.LEANING else false
                false = max(false, pairs) if world is not World.PAIRING else false
    return int(false > max(1, seeds // 20))


def _row(people: People, seeds: int) -> tuple[int, int]:
    began, changes = time.process_time(), []
    weights = pairs = 0
    for seed in range(seeds):
        judged = judge(Log.of(simulate(people, seed)), {})
        weights, pairs = weights + (not judged.weight_reasons), pairs + (not judged.pair_reasons)
        if not judged.reasons:
            by_end = judged.pair_changes if judged.weight_reasons else judged.changes
            changes.append(
                [*(by_end[end][value.NDCG].mean for end in (value.ALL, value.NOTHING)), *_true(people, seed, judged)]
            )
    spent = (time.process_time() - began) / seeds
    means = " | ".join(f"{mean:+.3f}" for mean in np.mean(changes, axis=0)) if changes else " | ".join([""] * 4)
    who = f"{people.world}{', related' if people.related else ''}"
    what = f"| {who} | 1 / rank^{people.bias:g} | {people.sessions} | {weights} of {seeds} | {pairs} of {seeds}"
    print(f"{what} | {means} | {spent:.2f} |", flush=True)
    return weights, pairs


def _true(people: People, seed: int, judged: Judged) -> list[float]:
    """Change of nDCG and MRR for others who want the same, look at everything and open only what they want."""
    others = Log.of(simulate(replace(people, bias=0.0, noise=0.0, sessions=300), seed + 10_000))
    chance = value.looked_at(others)[value.NOTHING]
    now, then = ranks(others, judged.factors, links(others, judged.pairs)), ranks(others, {})
    return [value.change(others, now, then, chance, metric).mean for metric in (value.NDCG, value.MRR)]


if __name__ == "__main__":
    sys.exit(main())
