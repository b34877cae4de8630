"""Tables of evaluation results, as Markdown and for a terminal alike."""

from __future__ import annotations

from collections.abc import Mapping

from codeintel_core.retrieval.channels import DENSE, LEXICAL
from codeintel_pipelines.evaluation.harness import HYBRID, TRAINED_PRIMARY
from codeintel_pipelines.evaluation.metrics import METRICS, Values, interval, paired

Results = Mapping[str, Mapping[str, Values]]
"""Variant -> metric -> one value per query."""


def table(results: Results) -> str:
    """Mean and 95 % interval of every metric, one row per variant."""
    rows = [["ranking", *METRICS]]
    for name, values in results.items():
        found = [interval(values[metric]) for metric in METRICS]
        rows.append([name, *(f"{i.mean:.3f} [{i.low:.3f}, {i.high:.3f}]" for i in found)])
    return _markdown(rows)


def differences(results: Results, metric: str = "ndcg@10", base: str = HYBRID) -> str:
    """What each variant changes against `base`, with a paired bootstrap over the same queries."""
    rows = [["ranking", metric, f"minus {base}", "95 % interval", "p"]]
    for name, values in results.items():
        if name == base:
            continue
        found = paired(values[metric], results[base][metric])
        change = f"[{found.low:+.3f}, {found.high:+.3f}]"
        rows.append([name, f"{values[metric].mean():.3f}", f"{found.mean:+.3f}", change, f"{found.p:.3f}"])
    return _markdown(rows)


def verdicts(results: Results, bars: Mapping[str, float], max_below: float) -> list[tuple[str, bool]]:
    """Each bar in words and whether it holds, and that fusing costs nothing against the better single channel."""
    found = []
    for metric, bar in bars.items():
        value = results[HYBRID][metric].mean()
        found.append((f"{HYBRID} {metric} {value:.3f} >= {bar}", bool(value >= bar)))
    best = max(results[channel]["ndcg@10"].mean() for channel in (LEXICAL, DENSE))
    value = results[HYBRID]["ndcg@10"].mean()
    found.append(
        (f"{HYBRID} ndcg@10 {value:.3f} >= better channel {best:.3f} - {max_below}", bool(value >= best - max_below))
    )
    return found


def approximation(results: Results, max_lost: float = 0.01) -> tuple[str, bool]:
    """What recall@10 of the dense channel a trained primary loses against exact search, and whether that is little."""
    approximate, exact = (results[name]["recall@10"].mean() for name in (DENSE + TRAINED_PRIMARY, DENSE))
    return f"dense recall@10 {approximate:.3f} >= exact {exact:.3f} - {max_lost}", bool(approximate >= exact - max_lost)


def as_json(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """Means and intervals as plain numbers."""
    return {
        name: {
            metric: {"mean": i.mean, "low": i.low, "high": i.high}
            for metric, i in ((metric, interval(values[metric])) for metric in METRICS)
        }
        for name, values in results.items()
    }


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
