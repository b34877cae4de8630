"""The goals, each with the number that was measured last: the first table of docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Table, load
from benchmarks.rows import Row, shown


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of one row.

    Attributes:
        stage, wanted: what and how much, in words.
        file: the subject that measures it; `subject` and `measure` name the row, the first that begins so.
        least_ratio: the ratio of the row is at least this.
        least, most: or else its value is at least, at most this.
        repo: the repository that it was measured on; '' for whichever was last.
    """

    stage: str
    wanted: str
    file: str
    subject: str
    measure: str
    least_ratio: float | None = None
    least: float | None = None
    most: float | None = None
    repo: str = ""

    def is_met(self, row: Row) -> bool:
        """Whether the row reaches it."""
        if self.least_ratio is not None:
            return row.ratio is not None and row.ratio >= self.least_ratio
        value = float(row.value)
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def newest(self, folder: Path) -> tuple[Table, Row] | None:
        """The row that was measured last; None when there is none with a number."""
        found = [
            (table, row)
            for table in load(self.file, folder)
            if table.subject == self.subject and self.repo in ("", table.repo)
            for row in table.rows
            if row.measure.strip().startswith(self.measure) and not isinstance(row.value, str)
        ]
        return max(found, key=lambda at: at[0].when.at, default=None)


_LARGE, _SMALL = "sqlalchemy", "codeintel"  # 26 and 4 MB of source
GOALS = (
    Goal("Vectors, 100,000 at recall@10 >= .99", "half of hnswlib's time", "dense", "dense 100,000", "hnswlib", 2.0),
    Goal("the same", "2/3 of FAISS HNSW SQ8's time", "dense", "dense 100,000", "FAISS HNSW32,SQ8", 1.5),
    Goal("the same, build", "1/5 of hnswlib's time", "dense", "dense 100,000", "build of ours, beside hnswlib", 5.0),
    Goal(
        "Vectors within 1 % of 100,000, 200 wanted",
        "the better of gather and selector",
        "filtered",
        "scope, 100,000 vectors",
        "1% of them, 200",
        0.9,
    ),
    Goal(
        "the same, 10 %",
        "the better of gather and selector",
        "filtered",
        "scope, 100,000 vectors",
        "10% of them, 200",
        0.9,
    ),
    Goal("Vectors, 1,000,000", "ahead of hnswlib", "dense", "dense 1,000,000", "hnswlib", 1.0),
    Goal("the same", "ahead of usearch", "dense", "dense 1,000,000", "usearch", 1.0),
    Goal(
        "BM25, 100,000 functions, k = 50",
        "1.2 times tantivy's time",
        "lexical",
        "BM25, 100,000 functions",
        "tantivy",
        0.83,
    ),
    Goal("Code-aware tokenising", "twice plain Python", "lexical", "tokenising", "code-aware", 2.0),
    Goal("Chunking", "85 % of a bare parse", "chunking", "chunking", "all languages", 0.85),
    Goal("Reading blobs from git", "90 % of bare `cat-file`", "primitives", "primitives", "blobs of", 0.9),
    Goal("Embedding chunks", "95 % of the bare encoder", "embedding", "embedding", "pipeline, cold", 0.95),
    Goal("Hydrating 50 chunks", "no slower than sqlite by key", "primitives", "primitives", "50 of", 1.0),
    Goal("Fusion of 3 x 200 and JSON of 10 hits", "150 us", "primitives", "primitives", "fusion", most=150),
    Goal("Hybrid query in process, p50", "10 ms", "queries", "query in process", "hybrid, warm, p50", most=10),
    Goal("the same, p95", "20 ms", "queries", "query in process", "hybrid, warm, p95", most=20),
    Goal("the same, 8 threads", "200 per second", "queries", "query in process", "hybrid, warm, 8 threads", least=200),
    Goal(
        "HTTP search, cached, CPU",
        "150 us beyond a bare endpoint",
        "serving",
        "serving",
        "cached search beyond",
        most=150,
    ),
    Goal("A realistic mix, two workers", "1,000 requests/s", "load", "load", "sustained, caches on", least=1000),
    Goal("Burst of five times as much", "nothing lost", "load", "load", "burst of", most=0),
    Goal("MCP call, CPU", "1.2 times bare FastMCP", "mcp_calls", "MCP", "search, cached, CPU", 0.83),
    Goal("Publishing", "150 ms beyond the files", "publishing", "publishing", "a generation, beyond", most=150),
    Goal("Storing 1,000 traces", "1/3 of one Delta commit of all", "primitives", "primitives", "1,000 traces", 3.0),
    Goal(
        "First build: searchable",
        "1 MB of source per second",
        "builds",
        "build",
        "source searchable",
        least=1,
        repo=_LARGE,
    ),
    Goal("the same, a small repository", "likewise", "builds", "build", "source searchable", least=1, repo=_SMALL),
    Goal(
        "First build: its embeddings", "0.91 of the whole", "builds", "build", "share of its", least=0.91, repo=_LARGE
    ),
    Goal("the same, a small repository", "likewise", "builds", "build", "share of its", least=0.91, repo=_SMALL),
    Goal("Build of an unchanged repository", "5 s", "builds", "build", "nothing changed", most=5),
    Goal("1,000 changed chunks, commit to served", "60 s", "changes", "changes", "1,000 chunks, cold", most=60),
    Goal("the same, vectors cached", "15 s", "changes", "changes", "1,000 chunks, vectors cached", most=15),
    Goal("`codeintel serve`, ready", "5 s", "startup", "startup", "codeintel serve", most=5),
    Goal("the same, memory", "800 MB", "startup", "startup", "memory", most=800),
    Goal("`codeintel --help`, CPU", "0.3 s", "startup", "startup", "codeintel --help", most=0.3),
    Goal("Answer without its models, p50", "10 ms", "pipeline_overhead", "answer pipeline", "extractive, p50", most=10),
    Goal("the same, p95", "25 ms", "pipeline_overhead", "answer pipeline", "extractive, p95", most=25),
    Goal("the same, first event", "50 ms", "pipeline_overhead", "answer pipeline", "extractive, first", most=50),
    Goal("Telemetry", "3 % of a query", "telemetry_overhead", "telemetry", "share of", most=3),
    Goal("Exporter that hangs, p95", "5 ms more", "telemetry_overhead", "telemetry", "exporter", most=5),
    Goal("Overload: refused, p95", "50 ms", "overload", "overload", "refused", most=50),
    Goal("Overload: admitted, p95", "1.5 times a full server's", "overload", "overload", "admitted", 0.66),
)


def table(folder: Path) -> str:
    """All goals as Markdown; one that was never measured says so."""
    lines = ["| stage | goal, in the same run | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        found = goal.newest(folder)
        if found is None:
            lines.append(f"| {goal.stage} | {goal.wanted} | not measured yet | |")
            continue
        stored, row = found
        beside = f", {row.peer}" if row.peer and not row.peer.startswith("goal") else ""
        ratio = f": {shown(row.ratio)}" if goal.least_ratio is not None and row.ratio is not None else ""
        load = f"load {stored.when.load:.0f}" if stored.when.load >= 0 else ""
        of = f" ({', '.join(filter(None, (stored.repo, load)))})"
        verdict = "met" if goal.is_met(row) else "**not met**"
        value = f"{shown(row.value)} {row.unit}".strip()
        lines.append(f"| {goal.stage} | {goal.wanted} | {value}{beside}{ratio}{of} | {verdict} |")
    return "\n".join(lines) + "\n"
