"""docs/performance.md: what is between `<!-- benchmark: NAME -->` and `<!-- end -->` is written from stored results.

A section is named after a subject; `goals` is the table of all goals. A subject needs nothing but the two marks in the
page to appear there. The prose around the marks is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks import goals
from benchmarks.machine import RESULTS, ROOT, Circumstances
from benchmarks.results import Table, load
from benchmarks.rows import Row, shown

PAGE = ROOT / "docs/performance.md"
_SECTION = re.compile(r"(<!-- benchmark: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_NOT_YET = "Not measured yet.\n"


def write(page: Path = PAGE, folder: Path = RESULTS) -> None:
    """Write every section of the page again."""
    text = page.read_text()
    rendered = render(text, folder)
    if rendered != text:
        page.write_text(rendered)


def render(text: str, folder: Path = RESULTS) -> str:
    """The page with what the stored results say in each of its sections."""

    def section(found: re.Match[str]) -> str:
        return f"{found[1]}{_section(found[2], folder)}{found[4]}"

    return _SECTION.sub(section, text)


def sections(text: str) -> list[str]:
    """Names of the sections of a page, in order."""
    return [name for _, name, _, _ in _SECTION.findall(text)]


def _section(name: str, folder: Path) -> str:
    if name == "goals":
        return goals.table(folder)
    tables = load(name, folder)
    if not tables:
        return _NOT_YET
    if len({table.repo for table in tables}) > 1 and not any(row.column for table in tables for row in table.rows):
        return _caption(tables) + _by_repository(tables)
    parts = []
    for some in _alike(tables):
        rows = [row for table in some for row in table.rows]
        is_mixed = len({row.subject for row in rows}) > 1
        crossed, plain = ([row for row in rows if bool(row.column) is has] for has in (True, False))
        forms = (_pivot(crossed, is_mixed) if crossed else "", _list(plain, is_mixed) if plain else "")
        parts.append(_caption(some) + "\n".join(filter(None, forms)))
    return "\n".join(parts)


def _alike(tables: Sequence[Table]) -> list[list[Table]]:
    """Tables that were measured together, which are shown as one."""
    found: dict[tuple[object, ...], list[Table]] = {}
    for table in tables:
        found.setdefault((table.repo, table.when, table.note), []).append(table)
    return list(found.values())


def _caption(tables: Sequence[Table]) -> str:
    """Repositories, date, commit, machine and load of the tables, those with the same circumstances together."""
    said: dict[tuple[Circumstances, str], list[str]] = {}
    for table in tables:
        said.setdefault((table.when, table.note), []).append(table.repo)
    return "".join(f"*{_said(*key, list(dict.fromkeys(repos)))}*  \n" for key, repos in said.items()) + "\n"


def _said(when: Circumstances, note: str, repos: Sequence[str]) -> str:
    others = "" if when.others is None else f", others {shown(when.others)}"
    load = f"load {when.load:.1f}{others}" if when.load >= 0 else "load not recorded"
    of = f"{', '.join(repos)}: " if any(repos) else ""
    return "; ".join(filter(None, (f"{of}{when.at[:10]}", when.commit, when.machine, load, note)))


def _list(rows: Sequence[Row], is_mixed: bool) -> str:
    """One line for each row; columns that nobody fills are left out."""
    lines = [
        {
            "measure": f"{row.subject}: {row.measure}" if is_mixed else row.measure.strip(),
            "value": f"{shown(row.value)} {row.unit}".strip(),
            "beside": row.peer,
            "ratio": "" if row.ratio is None else shown(row.ratio),
            "note": row.note,
        }
        for row in rows
    ]
    return markdown([name for name in lines[0] if any(line[name] for line in lines)], lines)


def _pivot(rows: Sequence[Row], is_mixed: bool) -> str:
    """One line for each `line` of the rows, a cell for each `column`; rows of one cell are joined by strokes."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        name = row.line or (f"{row.subject}: {row.measure}" if is_mixed else row.measure)
        line = lines.setdefault(name, {})
        cell = shown(row.value)
        line[row.column] = f"{line[row.column]} / {cell}" if row.column in line else cell
    columns = list(dict.fromkeys(row.column for row in rows))
    return markdown(["", *columns], [{"": name} | cells for name, cells in lines.items()])


def _by_repository(tables: Sequence[Table]) -> str:
    """A column for each repository; the notes of rows are left out."""
    lines: dict[str, dict[str, str]] = {}
    for table in tables:
        for row in table.rows:
            cell = f"{shown(row.value)} {row.unit}".strip()
            if row.ratio is not None and not row.peer.startswith("goal"):
                cell += f" ({row.peer}: {shown(row.ratio)})"
            lines.setdefault(row.line or row.measure.strip(), {})[table.repo] = cell
    repos = list(dict.fromkeys(table.repo for table in tables))
    return markdown(["", *repos], [{"": name} | cells for name, cells in lines.items()])


def markdown(columns: Sequence[str], lines: Iterable[Mapping[str, str]]) -> str:
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    cells = ([line.get(name, "").replace("|", "\\|") for name in columns] for line in lines)
    return head + "".join(f"| {' | '.join(line)} |\n" for line in cells)
