"""The extractive answer: what the best spans are and their most relevant lines, quoted and cited; nothing is invented.

Deterministic, and safe to show: quoted text stays inside fences that it cannot close, and what stands outside them
cannot form citations, links or tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from codeintel_core.analysis import query_terms, terms
from codeintel_core.catalog import ChunkRow
from codeintel_core.generations.generation import Generation
from codeintel_core.injection import signs
from codeintel_core.retrieval.engine import Hit
from codeintel_serving.display import inline, printable

MODEL = "extractive"
_QUOTED_LINES = 8
_QUOTED_SPANS = 3
_MAX_LINE_CHARS = 160
_MISSES = 3
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|\n\s*\n")
_COMMENT_MARKS = re.compile(r"^\s*(?://+!?|/\*+|\*/|\*|#+|--|\"{3}|'{3})\s?", re.M)


def pieces(question: str, cited: Sequence[Hit]) -> Iterator[str]:
    """The answer in pieces, one or two per span: a sentence with its citation, and for the best ones a quotation."""
    many = f"{len(cited)} places match" if len(cited) > 1 else "One place matches"
    yield f"{many} the question; quoted from the index, not generated.\n"
    for number, hit in enumerate(cited, 1):
        yield f"\n{_sentence(hit.chunk, number)}\n"
        if number <= _QUOTED_SPANS:
            yield _quotation(question, hit.chunk)


def not_found(
    generations: Sequence[Generation], channels: Sequence[str], misses: Sequence[Hit], degraded: Mapping[str, str]
) -> Iterator[str]:
    """Say that nothing was found, where it was looked for and where not, how old that is, and what came nearest."""
    yield "Not found: nothing in the index matches the question well enough to be cited.\n\nSearched:\n"
    for generation in generations:
        manifest = generation.manifest
        yield (
            f"- {manifest.repo}, generation {manifest.gen_id}, commit {manifest.commit[:12]}: "
            f"{manifest.coverage.get('indexed', 0)} of {manifest.counts.files} files, {manifest.counts.chunks} spans, "
            f"built {manifest.created_at:%Y-%m-%d %H:%M} UTC\n"
        )
        skipped = {reason: files for reason, files in sorted(manifest.coverage.items()) if reason != "indexed"}
        if skipped:
            yield f"  not indexed: {', '.join(f'{files} {reason}' for reason, files in skipped.items())}\n"
        if masked := manifest.redacted:
            yield f"  redacted: {masked['values']} values in {masked['files']} files\n"
    yield f"- channels: {', '.join(channels) or 'none completed'}\n"
    for name, reason in degraded.items():
        yield f"- not searched: {name} ({inline(reason)})\n"
    if misses:
        yield "\nNearest misses, which probably do not answer it:\n"
        for hit in misses[:_MISSES]:
            yield f"- {_place(hit.chunk)} {inline(hit.chunk.symbol)}".rstrip() + "\n"


def _sentence(chunk: ChunkRow, number: int) -> str:
    name = f"`{inline(chunk.symbol)}`, " if chunk.symbol else ""
    said = _first_sentence(chunk.docstring)
    told = " Its text speaks to a language model; it is data." if signs(chunk.text) else ""
    return f"[{number}] {name}{chunk.kind} in {_place(chunk)}" + (f": “{said}”" if said else ".") + told


def _place(chunk: ChunkRow) -> str:
    return f"{inline(chunk.path)}:{chunk.start_line}-{chunk.end_line}"


def _first_sentence(docstring: str) -> str:
    text = _COMMENT_MARKS.sub("", docstring).strip()
    return inline(_SENTENCE_END.split(text, maxsplit=1)[0])


def _quotation(question: str, chunk: ChunkRow) -> str:
    lines = printable(chunk.text).split("\n")
    first = _best_window(question, lines)
    shown = lines[first : first + _QUOTED_LINES]
    number_width = len(str(chunk.start_line + first + len(shown) - 1))
    body = "\n".join(
        f"{chunk.start_line + first + i:>{number_width}} | {line[:_MAX_LINE_CHARS]}".rstrip()
        for i, line in enumerate(shown)
    )
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}{chunk.language if chunk.language.isalnum() else ''}\n{body}\n{fence}\n"


def _best_window(question: str, lines: Sequence[str]) -> int:
    """First line of the window with the most distinct query terms; the earliest of equals, so the head if none."""
    if len(lines) <= _QUOTED_LINES:
        return 0
    asked = set(query_terms(question))
    held = [asked & set(terms(line)) for line in lines]
    starts = range(len(lines) - _QUOTED_LINES + 1)

    def worth(start: int) -> tuple[int, int]:
        window = held[start : start + _QUOTED_LINES]
        return len(set[str]().union(*window)), sum(map(len, window))

    return max(starts, key=lambda start: (*worth(start), -start))
