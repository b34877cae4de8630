"""BM25 and its tokens: our Lucene index beside bm25s and tantivy, which get the same terms of the same functions.

The functions are those of the Python library and of what is installed beside it, cut at `def`. Our tokeniser makes the
terms of documents and queries for all; the overlap of the results shows that the work is the same. One thread, one
query at a time, k = 50, ids of the functions as the result.
"""

from __future__ import annotations

import importlib
import random
import re
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core import analysis
from codeintel_core.deadline import Deadline
from codeintel_core.indexes import jvm, lexical
from codeintel_core.indexes.lexical import BM25_B, BM25_K1, LexicalDocument, LexicalIndex, LexicalSearcher
from codeintel_core.scope import Scope

_FUNCTIONS, _TOP, _QUERIES, _WARM = 100_000, 50, 300, 30
_DEFINITION = re.compile(r"^[ \t]*(?:async )?def ", re.MULTILINE)
_PLAIN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WORD, _PARTS = re.compile(r"\w+"), re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
_MOST_TERM_CHARS = 64
_PLAIN_SHARE = 10  # of the functions; the slowest part of all
_stem = analysis.stem.__wrapped__
_LEAST_CHARS, _MOST_CHARS = 80, 4_000
_COMPILING = 4  # rounds until the JVM has compiled what a search calls, as it has in a server that answers for a minute
_FAR = Deadline.after(1e9)
Search = Callable[[list[str]], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Kind:
    """An index that was built, and a search in it."""

    name: str
    build_s: float
    search: Search


def measure(_: Workplace) -> Rows:
    """In a process of its own: a JVM that was started for a smaller index compiles otherwise."""
    yield from machine.apart(_measured)


def _measured() -> list[Row]:
    return list(_rows())


def _rows() -> Rows:
    functions = _functions()
    started = time.thread_time()
    documents = [analysis.terms(function) for function in functions]
    ours_s = time.thread_time() - started
    yield from _tokenising(functions, ours_s)
    queries = _questions(functions)
    with tempfile.TemporaryDirectory() as folder:
        ours = _lucene(documents, Path(folder))
        subject = f"BM25, {len(functions):,} functions"
        wanted = [ours.search(query) for query in queries]
        for _ in range(_COMPILING):
            _times(ours.search, queries)
        yield _row(subject, ours, queries, wanted, None)
        for peer in (_bm25s, _tantivy):
            try:
                built = peer(documents)
            except ImportError as error:
                yield Row(subject, peer.__name__.strip("_"), "skipped", note=f"{error.name} is not installed: .[bench]")
                continue
            yield _row(subject, built, queries, wanted, ours)


def _row(subject: str, kind: Kind, queries: list[list[str]], wanted: list[NDArray[np.int64]], ours: Kind | None) -> Row:
    """A peer's row has the time of ours in the same minute beside it."""
    found = [kind.search(query) for query in queries]
    same = np.mean([len(np.intersect1d(a, b)) / max(1, len(a)) for a, b in zip(wanted, found, strict=True)])
    p50, p95 = percentiles(_times(kind.search, queries))
    note = f"p95 {p95:.2f} ms, build {kind.build_s:.1f} s"
    if ours is None:
        return Row(subject, kind.name, p50, "ms p50", note=note)
    ours_p50, _ = percentiles(_times(ours.search, queries))
    note += f", {same:.1%} of our top {_TOP}"
    return Row(subject, kind.name, p50, "ms p50", f"ours {ours_p50:.3f}", p50 / ours_p50, note)


def _times(search: Search, queries: list[list[str]]) -> list[float]:
    seconds = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        seconds.append(time.perf_counter() - started)
    return seconds[_WARM:]


def _tokenising(functions: Sequence[str], ours_s: float) -> Rows:
    """Beside plain Python that makes the same terms, and beside one pattern that only finds their lower-case parts."""
    megabytes = sum(map(len, functions)) / 1e6
    subject, ours = "tokenising", megabytes / ours_s
    some = functions[::_PLAIN_SHARE]
    if any(_plain_terms(function) != analysis.terms(function) for function in some):
        raise AssertionError("the peer makes other terms")
    started = time.thread_time()
    for function in some:
        _plain_terms(function)
    plain_s = (time.thread_time() - started) * len(functions) / len(some)
    note = f"{megabytes:.0f} MB; the peer makes the same terms and remembers no word"
    yield Row(
        subject, "code-aware terms", ours, "MB/CPU-s", f"plain Python {megabytes / plain_s:.1f}", plain_s / ours_s, note
    )
    started = time.thread_time()
    count = sum(len([part.lower() for part in _PLAIN.findall(function)]) for function in functions)
    parts_s = time.thread_time() - started
    note = f"it only finds {count / 1e6:.0f} million lower-case parts: no whole identifiers, no stems"
    yield Row(subject, "one pattern", ours, "MB/CPU-s", f"parts only {megabytes / parts_s:.1f}", parts_s / ours_s, note)


def _plain_terms(text: str) -> list[str]:
    """`analysis.terms` as it would be written without a memory of words."""
    found: list[str] = []
    for word in _WORD.findall(text):
        whole = word.lower()[:_MOST_TERM_CHARS]
        parts = [part.lower() for part in _PARTS.findall(word)]
        if not whole.strip("_"):
            continue
        if parts and (len(parts) > 1 or parts[0] != whole):
            found += [whole, *(_stem(part[:_MOST_TERM_CHARS]) for part in parts)]
        else:
            found.append(_stem(whole))
    return found


def _functions() -> list[str]:
    found: list[str] = []
    folders = dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.py")):
            text = path.read_text("utf-8", "replace")
            starts = [match.start() for match in _DEFINITION.finditer(text)]
            for start, end in pairwise([*starts, len(text)]):
                if end - start >= _LEAST_CHARS:
                    found.append(text[start : min(end, start + _MOST_CHARS)])
            if len(found) >= _FUNCTIONS:
                return found[:_FUNCTIONS]
    return found


def _questions(functions: Sequence[str]) -> list[list[str]]:
    """Distinct terms of names and of the words in functions, three to eight of them."""
    chance = random.Random(11)
    queries: list[list[str]] = []
    while len(queries) < _QUERIES:
        function = chance.choice(functions)
        words = re.findall(r"[A-Za-z_]{3,}", function)
        text = " ".join(words[1:2] + chance.sample(words, min(len(words), chance.randrange(2, 6))))
        terms = analysis.unique(analysis.query_terms(text))
        if len(terms) >= 3:
            queries.append(terms[:8])
    return queries


def _lucene(documents: list[list[str]], folder: Path) -> Kind:
    jvm.expect(len(documents))  # as a server and a build do
    started = time.perf_counter()
    lexical.write(
        folder / "lucene",
        add=(LexicalDocument(i, terms, "a.py", "python", "source") for i, terms in enumerate(documents)),
    )
    seconds = time.perf_counter() - started
    searcher = LexicalSearcher([LexicalIndex(folder / "lucene")])

    def search(terms: list[str]) -> NDArray[np.int64]:
        return searcher.search([(term, 1.0) for term in terms], _TOP, Scope(), _FAR)[0]

    return Kind("ours (Lucene)", seconds, search)


def _bm25s(documents: list[list[str]]) -> Kind:
    bm25s = importlib.import_module("bm25s")
    importlib.import_module("numba")  # without it bm25s answers many times slower: no peer
    started = time.perf_counter()
    index: Any = bm25s.BM25(k1=BM25_K1, b=BM25_B, method="lucene", backend="numba")
    index.index(documents, show_progress=False)
    seconds = time.perf_counter() - started

    def search(terms: list[str]) -> NDArray[np.int64]:
        ids, _ = index.retrieve([terms], k=_TOP, show_progress=False, n_threads=1)
        found: NDArray[np.int64] = ids[0].astype(np.int64)
        return found

    return Kind("bm25s (numba)", seconds, search)


def _tantivy(documents: list[list[str]]) -> Kind:
    tantivy: Any = importlib.import_module("tantivy")
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("terms", tokenizer_name="whitespace", index_option="freq")
    builder.add_integer_field("id", indexed=False, fast=True)
    schema = builder.build()
    started = time.perf_counter()
    index = tantivy.Index(schema)
    writer = index.writer(64 << 20, 1)
    for number, terms in enumerate(documents):
        writer.add_document(tantivy.Document(terms=" ".join(terms), id=number))
    writer.commit()
    writer.wait_merging_threads()
    seconds = time.perf_counter() - started
    index.reload()
    searcher, should = index.searcher(), tantivy.Occur.Should

    def search(terms: list[str]) -> NDArray[np.int64]:
        each = [(should, tantivy.Query.term_query(schema, "terms", term, "freq")) for term in terms]
        hits = searcher.search(tantivy.Query.boolean_query(each), _TOP, count=False).hits
        found = searcher.fast_field_values("id", [address for _, address in hits])
        return np.array(found, np.int64)

    return Kind("tantivy", seconds, search)
