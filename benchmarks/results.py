"""Stored results: the newest rows of every subject, and a line of history for each row that was ever measured.

`results/SUBJECT.json` is what docs/performance.md is written from. A run replaces the rows of the tables that it
measured and leaves the others with their own date: 1,000,000 vectors need not be measured again with 10,000.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, Circumstances
from benchmarks.rows import Row

HISTORY = "history.jsonl"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one subject, measured together.

    Attributes:
        repo: name of the repository that was measured; '' when the subject makes its own data.
        note: what has to be known of numbers that were not stored by the run itself.
    """

    subject: str
    repo: str
    when: Circumstances
    rows: tuple[Row, ...]
    note: str = ""


def store(subject: str, repo: str, when: Circumstances, rows: Iterable[Row], folder: Path = RESULTS) -> None:
    """Replace the tables of these rows and append them to the history."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.subject, []).append(row)
    measured = {(name, repo): Table(name, repo, when, tuple(some)) for name, some in grouped.items()}
    before = {(table.subject, table.repo): table for table in load(subject, folder)}
    save(subject, list((before | measured).values()), folder)
    with (folder / HISTORY).open("a") as file:
        for table in measured.values():
            file.writelines(json.dumps(line) + "\n" for line in _history(subject, table))


def save(subject: str, tables: Sequence[Table], folder: Path = RESULTS) -> None:
    """Write the tables of a subject, one row per line so that a change of one is a change of one line."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for table in tables:
        head = json.dumps({"subject": table.subject, "repo": table.repo, "note": table.note} | asdict(table.when))
        rows = ",\n".join("  " + json.dumps(row.as_json(), ensure_ascii=False) for row in table.rows)
        parts.append(f'{head[:-1]}, "rows": [\n{rows}\n]}}')
    (folder / f"{subject}.json").write_text("[\n" + ",\n".join(parts) + "\n]\n")


def load(subject: str, folder: Path = RESULTS) -> list[Table]:
    """Stored tables of a subject in the order in which they were measured; none when it never was."""
    path = folder / f"{subject}.json"
    if not path.exists():
        return []
    return [_table(found) for found in json.loads(path.read_text())]


def _table(found: dict[str, Any]) -> Table:
    when = Circumstances(**{name: found[name] for name in Circumstances.__slots__})
    rows = tuple(Row(**({"subject": found["subject"]} | row)) for row in found["rows"])
    return Table(found["subject"], found["repo"], when, rows, found["note"])


def _history(file: str, table: Table) -> Iterable[dict[str, Any]]:
    for row in table.rows:
        if isinstance(row.value, float | int):
            yield {
                "file": file,
                **{name: value for name, value in row.as_json().items() if name not in ("line", "column", "note")},
                "repo": table.repo, **asdict(table.when),
            }  # fmt: skip
