"""Chunking: MB per CPU-second of `chunk_file` beside a bare tree-sitter parse of the same files, one thread.

CPU time, because both sides are one thread that never waits: the neighbours on a shared machine do not count.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict

from benchmarks.rows import Row, Rows
from benchmarks.workplace import Workplace
from codeintel_core.chunking import WordPieceCounter, chunk_file
from codeintel_core.chunking.languages import Language, grammar_of, language_of

_ROUNDS = 3
_MIN_BYTES = 50_000  # of a language, for a row of its own


def measure(at: Workplace) -> Rows:
    """One row for all languages together and one for each with enough text."""
    by_language: dict[str, list[tuple[Language, str, bytes]]] = defaultdict(list)
    for path, data in at.files():
        language = language_of(path, data[:8_000])
        if language.grammar and b"\0" not in data[:8_000] and data.strip() and len(data) <= 1_000_000:
            by_language[language.name].append((language, path, data))
    everything = [file for files in by_language.values() for file in files]
    yield _row("all languages", everything)
    for name, files in sorted(by_language.items(), key=lambda item: -sum(len(data) for *_, data in item[1])):
        if sum(len(data) for *_, data in files) >= _MIN_BYTES:
            yield _row(name, files)


def _row(name: str, files: list[tuple[Language, str, bytes]]) -> Row:
    from tree_sitter import Parser

    counter = WordPieceCounter()
    parsers = {language.name: Parser(grammar_of(language.grammar).language) for language, _, _ in files}
    megabytes = sum(len(data) for *_, data in files) / 1e6
    ours, bare = [], []
    for _ in range(_ROUNDS):  # interleaved, so that both meet the same neighbours
        started = time.thread_time()
        for language, _, data in files:
            parsers[language.name].parse(data)
        bare.append(time.thread_time() - started)
        started = time.thread_time()
        for _, path, data in files:
            chunk_file("bench", path, "", data, counter, 230, 1_000_000)
        ours.append(time.thread_time() - started)
    speed, limit = megabytes / statistics.median(ours), megabytes / statistics.median(bare)
    return Row(
        "chunking", name, speed, "MB/CPU-s", f"bare parse {limit:.1f}", speed / limit,
        f"{len(files)} files, {megabytes:.2f} MB; chunks, symbols and tokens included",
    )  # fmt: skip
