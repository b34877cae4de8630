"""The coverage grid: what became of every operation a run could have; and what each retrieval channel gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codeintel_core.reports.model import OPEN, Cell, Channel, StepEntry
from codeintel_core.telemetry import Status

SERVING = {
    "embed": "embed.query",
    "dense": "retrieve.dense",
    "lexical": "retrieve.lexical",
    "symbols": "retrieve.symbols",
    "sparse": "retrieve.sparse",
    "exact": "retrieve.exact",
    "regex": "retrieve.regex",
    "gather": "retrieve.gather",
    "fuse": "fuse.scores",
    "hydrate": "hydrate.catalog",
    "cocitation": "retrieve.cocitation",
    "rerank": "rerank",
    "synthesize": "synthesize",
    "cite": "cite.verify",
}
BUILDING = {
    "plan": "build.plan",
    "chunk": "build.chunks",
    "embed": "build.embeddings",
    "dense": "build.dense",
    "lexical": "build.lexical",
    "sparse": "build.sparse",
    "catalog": "build.catalog",
    "publish": "build.publish",
}
CHANNELS = ("dense", "lexical", "symbols", "sparse", "exact", "regex", "cocitation")
_OF_ANSWERS = ("rerank", "synthesize", "cite")
_FROM_CACHE = ("embed", *CHANNELS, "gather", "fuse", "hydrate")
_BAD = {Status.FAILED.value, Status.TIMED_OUT.value, Status.CANCELLED.value, OPEN}


def grid(operation: str, steps: Sequence[StepEntry]) -> dict[str, Cell]:
    """A cell per operation; builds and requests have different ones."""
    by_kind: dict[str, list[StepEntry]] = {}
    for step in steps:
        by_kind.setdefault(step.kind, []).append(step)
    if operation == "build":
        return {name: _cell(by_kind.get(kind, [])) for name, kind in BUILDING.items()}
    cells = {name: _cell(by_kind.get(kind, [])) for name, kind in SERVING.items()}
    if "cache.results" in by_kind:
        cached = Cell(state="skipped", reason="the result was in the cache")
        cells |= {name: cached for name in _FROM_CACHE if cells[name].state == "absent"}
    if operation == "search":
        not_asked = Cell(state="skipped", reason="a search does not need it")
        cells |= {name: not_asked for name in _OF_ANSWERS if cells[name].state == "absent"}
    lost = [name for name in ("dense", "lexical") if cells[name].state == "failed"]
    if cells["gather"].state == "ran" and lost:
        cells["gather"] = Cell(state="degraded", reason=f"without {', '.join(lost)}")
    return cells


def _cell(steps: Sequence[StepEntry]) -> Cell:
    """Several steps of a kind: all well, all bad, or a fallback that worked."""
    if not steps:
        return Cell(state="absent", reason="no such step was begun")
    bad = [step for step in steps if step.status in _BAD]
    ran = [step for step in steps if step.status == Status.COMPLETED]
    skipped = [step for step in steps if step.status == Status.SKIPPED]
    if bad and ran:
        return Cell(state="degraded", reason=why(bad[-1]))
    if bad:
        return Cell(state="failed", reason=why(bad[-1]))
    if not ran:
        return Cell(state="skipped", reason=skipped[-1].reason)
    return Cell(state="ran", reason="")


def why(step: StepEntry) -> str:
    """How a step ended, in one line."""
    said = step.detail if step.detail and step.detail != step.reason else ""
    return ": ".join(filter(None, [step.status.replace("_", " "), step.reason, said]))


def stopped_because(steps: Sequence[StepEntry]) -> str:
    """The last step that failed, ran out of time or never ended, deepest first; '' when there is none."""
    died = [step for step in steps if step.status == OPEN]
    stopped = died or [step for step in steps if step.status in _BAD]
    return f"{stopped[-1].kind} {why(stopped[-1])}" if stopped else ""


def channels(steps: Sequence[StepEntry], candidates: Sequence[Mapping[str, Any]]) -> dict[str, Channel]:
    """What each channel gave; `candidates` are those of the trace row, [] when there is no row."""
    found: dict[str, Channel] = {}
    found_by = [({one["channel"] for one in candidate["channels"]}, candidate) for candidate in candidates]
    select = next((step for step in reversed(steps) if step.kind == "rank.select"), None)
    for name in CHANNELS:
        step = next((step for step in reversed(steps) if step.kind == f"retrieve.{name}"), None)
        if step is None:
            continue
        ranked = [(names, candidate) for names, candidate in found_by if name in names]
        counted = select.attributes.get(f"from_{name}") if select else None
        hits = step.attributes.get("hits")
        found[name] = Channel(
            status=step.status,
            reason=step.reason,
            candidates=hits if isinstance(hits, int) else 0,
            contributed=counted if isinstance(counted, int) else len(ranked),
            alone=sum(len(names) == 1 for names, _ in ranked),
            cited=sum(bool(candidate.get("cited")) for _, candidate in ranked),
        )
    return found
