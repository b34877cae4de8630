"""Views of a report for people: Markdown for a terminal or an issue, HTML as one file without scripts or links."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from codeintel_core.reports.model import RunReport, Scalar, StepEntry
from codeintel_core.telemetry.redaction import one_line

_CELL_CHARS = 300
_INERT = str.maketrans({"|": "\\|", "`": "'", "<": "&lt;", ">": "&gt;", "[": "(", "]": ")", "*": "\\*", "_": "\\_"})
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d8dee4;vertical-align:top;overflow-wrap:anywhere}
.ran,.completed,.ok{color:#1a7f37}.failed,.open,.died,.error{color:#cf222e;font-weight:600}
.degraded,.timed_out,.cancelled{color:#9a6700}.skipped,.absent,.empty{color:#59636e}
.bar{background:#0969da;height:.55rem;border-radius:2px;min-width:2px}
pre{background:#f6f8fa;padding:.8rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}pre{background:#161b22}}
"""


def markdown(report: RunReport) -> str:
    """The report as Markdown; what it quotes can form neither links, tags nor table cells."""
    parts = [f"# Run {report.run_id}", "", *_bullets(_head(report))]
    for title, columns, rows in _tables(report):
        parts += ["", f"## {title}", "", _row(columns), _row(["---"] * len(columns))]
        parts += [_row([_plain(cell) for cell in row]) for row in rows]
    for warning in report.warnings:
        parts += ["", f"> {_plain(warning)}"]
    return "\n".join(parts) + "\n"


def html(report: RunReport) -> str:
    """The report as one self-contained page: everything escaped, nothing active, nothing loaded."""
    return page(f"Run {report.run_id}", _body(report))


def with_parts(report: RunReport, parts: Mapping[str, object]) -> str:
    """The page of a report, followed by other parts as they are."""
    more = "".join(f"<h2>{escape(name)}</h2><pre>{escape(_text(part))}</pre>" for name, part in parts.items() if part)
    return page(f"Runpack {report.run_id}", _body(report) + more)


def _text(part: object) -> str:
    return part if isinstance(part, str) else json.dumps(part, indent=1, ensure_ascii=False)


def _body(report: RunReport) -> str:
    head = "".join(f"<tr><th>{escape(name)}</th><td>{_shown(value)}</td></tr>" for name, value in _head(report))
    parts = [f"<h1>Run {escape(report.run_id)}</h1><table>{head}</table>"]
    for title, columns, rows in _tables(report):
        header = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join(f"<tr>{''.join(f'<td>{_shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
        parts.append(f"<h2>{escape(title)}</h2><table><tr>{header}</tr>{body}</table>")
        if title == "Steps":
            parts.append(_waterfall(report.steps))
    parts += [f"<p>{escape(warning)}</p>" for warning in report.warnings]
    return "".join(parts)


def page(title: str, body: str) -> str:
    """An HTML document around an escaped body."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _head(report: RunReport) -> list[tuple[str, Scalar]]:
    duration = "unknown: it never ended" if report.duration_ms is None else f"{report.duration_ms:.1f} ms"
    found: list[tuple[str, Scalar]] = [
        ("operation", report.operation),
        ("status", report.status),
        ("stopped because", report.stopped_because or "nothing stopped it"),
        ("started", report.started_at),
        ("duration", duration),
        ("trace", report.trace_id),
    ]
    if report.session_id:
        found.append(("session", report.session_id))
    return found


def _tables(report: RunReport) -> Iterable[tuple[str, list[str], list[list[Scalar]]]]:
    """Title, columns and rows; empty tables are left out."""
    facts = {**report.asked, **report.budgets, **report.gating, **report.outcome}
    tables: list[tuple[str, list[str], list[list[Scalar]]]] = [
        (
            "Findings",
            ["kind", "what", "evidence", "do"],
            [[f.kind, f.message, _pairs(f.evidence), f.hint] for f in report.findings],
        ),
        ("Coverage", ["operation", "state", "reason"], [[n, c.state, c.reason] for n, c in report.coverage.items()]),
        (
            "Channels",
            ["channel", "status", "candidates", "in the hits", "alone", "cited", "reason"],
            [
                [name, c.status, c.candidates, c.contributed, c.alone, c.cited, c.reason]
                for name, c in report.channels.items()
            ],
        ),
        (
            "Generations",
            ["repository", "generation", "commit", "built by"],
            [[g.get(k, "") for k in ("repo", "gen_id", "commit", "dagster_run_id")] for g in report.generations],
        ),
        (
            "Steps",
            ["#", "step", "status", "start ms", "ms", "why", "facts"],
            [
                [s.number, "· " * s.depth + s.kind, s.status, f"{s.start_ms:.1f}", _ms(s.duration_ms),
                 " ".join(filter(None, [s.reason, s.detail])), _pairs(s.attributes)]
                for s in report.steps
            ],
        ),
        ("Facts", ["name", "value"], [[name, value] for name, value in facts.items()]),
        ("Failure", ["name", "value"], [[str(name), str(value)] for name, value in report.failure.items()]),
    ]  # fmt: skip
    return (table for table in tables if table[2])


def _waterfall(steps: Sequence[StepEntry]) -> str:
    end = max((step.start_ms + (step.duration_ms or 0.0) for step in steps), default=0.0) or 1.0
    rows = "".join(
        f'<tr><td>{escape(step.kind)}</td><td style="width:70%"><div class="bar" style="margin-left:'
        f'{100 * step.start_ms / end:.2f}%;width:{100 * (step.duration_ms or 0.0) / end:.2f}%"></div></td></tr>'
        for step in steps
    )
    return f"<h2>Waterfall</h2><table>{rows}</table>"


def _pairs(values: dict[str, Scalar]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items() if value not in (None, ""))


def _ms(value: float | None) -> str:
    return "never ended" if value is None else f"{value:.1f}"


def _bullets(rows: Iterable[tuple[str, Scalar]]) -> list[str]:
    return [f"- **{name}**: {_plain(value)}" for name, value in rows]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(value: Scalar) -> str:
    return one_line(str("" if value is None else value), _CELL_CHARS).translate(_INERT)


def _shown(value: Scalar) -> str:
    text = one_line(str("" if value is None else value), _CELL_CHARS)
    name = f' class="{text}"' if text.isascii() and text.replace("_", "").isalpha() and len(text) < 12 else ""
    return f"<span{name}>{escape(text)}</span>"
