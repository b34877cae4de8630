"""Retrieval quality: tables per channel, fused, and every ablation, over the evaluation sets on disk.

Usage: python -m benchmarks.quality [FOLDER] (default $CODEINTEL_EVAL_DATA or ../shared/data; clones of pinned
repositories from $CODEINTEL_EVAL_CLONES or ../.mirror), and over hand-written questions about this project.
A set that is not on disk is skipped, and said so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from codeintel_core.errors import InvalidRequest
from codeintel_core.settings import get_settings
from codeintel_pipelines.evaluation import report, sets
from codeintel_pipelines.evaluation.run import run
from codeintel_pipelines.evaluation.sets import EvaluationSet

_ROOT = Path(__file__).parent.parent
_BARS = {
    "cosqa-retrieval-dev": {"recall@10": 0.84, "ndcg@10": 0.61},
    "ctx-codebase-chunks": {"recall@10": 0.87, "ndcg@10": 0.74},
    "repo-queries": {"ndcg@10": 0.89},
}
_OWN = Path(__file__).parent / "own_questions"  # written by hand about this project, over its own work tree
_MAX_BELOW_BEST_CHANNEL = 0.01


def on_disk(arguments: Sequence[str]) -> Iterator[EvaluationSet]:
    """Every set that can be read; the others are named as skipped."""
    for folder in _folders(arguments):
        try:
            yield sets.load(folder, corpus=_ROOT if folder == _OWN else None, clones=_clones())
        except InvalidRequest as error:
            print(f"skipped: {error}")


def _folders(arguments: Sequence[str]) -> list[Path]:
    data = Path(arguments[0] if arguments else os.environ.get("CODEINTEL_EVAL_DATA", _ROOT / "../shared/data"))
    return [*(data / name for name in _BARS), _OWN]


def _clones() -> Path:
    return Path(os.environ.get("CODEINTEL_EVAL_CLONES", _ROOT / "../.mirror"))


def main() -> int:
    """Print every table; 1 when a bar does not hold."""
    missed = 0
    for folder in _folders(sys.argv[1:]):
        print(f"\n## {folder.name}\n")
        if not (folder / "queries.jsonl").is_file():
            print(f"skipped: {folder} is not on disk")
            continue
        corpus = _ROOT if folder == _OWN else None
        try:
            found = run(folder, get_settings(), corpus=corpus, clones=_clones(), ablations=True)
        except InvalidRequest as error:
            print(f"skipped: {error}")
            continue
        results = found.results
        print(f"{report.table(results)}\n\n{report.differences(results)}\n")
        print("\n".join(f"trained primary of {repo}: {what}" for repo, what in found.primaries.items()) + "\n")
        verdicts = [
            *report.verdicts(results, _BARS.get(folder.name, {}), _MAX_BELOW_BEST_CHANNEL),
            report.approximation(results),
        ]
        missed += sum(not holds for _, holds in verdicts)
        print("\n".join(f"{'holds ' if holds else 'MISSED'}  {what}" for what, holds in verdicts))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
