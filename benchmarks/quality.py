"""Retrieval quality: tables per channel, fused, and every ablation, over the evaluation sets on disk.

Usage: python -m benchmarks.quality [FOLDER] (default $CODEINTEL_EVAL_DATA or ../shared/data; clones of pinned
repositories from $CODEINTEL_EVAL_CLONES or ../.mirror), and over hand-written questions about this project.
A set that is not on disk is skipped, and said so.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from codeintel_core.errors import InvalidRequest
from codeintel_core.settings import get_settings
from codeintel_pipelines.evaluation import report
from codeintel_pipelines.evaluation.run import run

_ROOT = Path(__file__).parent.parent
_BARS = {
    "cosqa-retrieval-dev": {"recall@10": 0.84, "ndcg@10": 0.61},
    "ctx-codebase-chunks": {"recall@10": 0.87, "ndcg@10": 0.74},
    "repo-queries": {"ndcg@10": 0.89},
}
_OWN = Path(__file__).parent / "own_questions"  # written by hand about this project, over its own work tree
_MAX_BELOW_BEST_CHANNEL = 0.01


def main() -> int:
    """Print every table; 1 when a bar does not hold."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CODEINTEL_EVAL_DATA", _ROOT / "../shared/data"))
    clones = Path(os.environ.get("CODEINTEL_EVAL_CLONES", _ROOT / "../.mirror"))
    missed = 0
    sets = {data / name: bars for name, bars in _BARS.items()} | {_OWN: {}}
    for folder, bars in sets.items():
        print(f"\n## {folder.name}\n")
        if not (folder / "queries.jsonl").is_file():
            print(f"skipped: {folder} is not on disk")
            continue
        corpus = _ROOT if folder == _OWN else None
        try:
            results = run(folder, get_settings(), corpus=corpus, clones=clones, ablations=True)
        except InvalidRequest as error:
            print(f"skipped: {error}")
            continue
        print(f"{report.table(results)}\n\n{report.differences(results)}\n")
        verdicts = report.verdicts(results, bars, _MAX_BELOW_BEST_CHANNEL)
        missed += sum(not holds for _, holds in verdicts)
        print("\n".join(f"{'holds ' if holds else 'MISSED'}  {what}" for what, holds in verdicts))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
