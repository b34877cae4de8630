"""The impact index and the pattern scan by size: no model is involved, so the numbers are those of the index alone.

Impacts are synthetic and seeded: up to 120 different terms a chunk and 25 a query out of 30,522, drawn by
Zipf's law. The scan reads a catalog of generated functions of about 15 lines.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core import catalog, patterns, schemas
from codeintel_core.catalog import Catalog
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.sparse.contract import Impacts
from codeintel_core.indexes import sparse
from codeintel_core.indexes.lexical import LexicalIndex
from codeintel_core.indexes.sparse import SparseDocument, SparseSearcher
from codeintel_core.scope import Scope

_VOCABULARY, _DOCUMENT_TERMS, _QUERY_TERMS = 30_522, 120, 25
_TOP, _QUERIES = 100, 200
_FAR = Deadline.after(1e9)
_PATTERNS = {
    "literal": patterns.literal("value_77 ="),
    "regex": patterns.regex(r"def handle_\w*99\("),
    "regex, ignoring case": patterns.regex(r"(?i)TODO:|fixme"),
}


def measure(at: Workplace) -> Rows:
    """Each size up to 100,000 chunks."""
    for size in at.sizes:
        if size <= 100_000:
            with tempfile.TemporaryDirectory() as folder:
                yield from _impact_index(Path(folder), size)
                yield from _scan(Path(folder), size)


def _impact_index(folder: Path, size: int) -> Rows:
    subject = f"sparse {size:,}"
    rng = np.random.default_rng(7)
    started = time.perf_counter()
    sparse.write(
        folder / "lucene",
        add=(SparseDocument(i, _impacts(rng, _DOCUMENT_TERMS), "a.py", "python", "source") for i in range(size)),
    )
    seconds = time.perf_counter() - started
    yield Row(subject, "index", size / seconds, "chunks/s", note="the impacts made on the way included")
    size_mb = sum(path.stat().st_size for path in (folder / "lucene").iterdir()) / (1 << 20)
    yield Row(subject, "size", size_mb, "MiB")
    index = LexicalIndex(folder / "lucene")
    searcher = SparseSearcher([index])
    queries = [sparse.query_terms(_impacts(rng, _QUERY_TERMS)) for _ in range(_QUERIES)]
    p50, p95 = _timed([partial(searcher.search, q, _TOP, Scope(), _FAR) for q in queries])
    yield Row(subject, "search p50", p50, "ms", note=f"top {_TOP}, {_QUERY_TERMS} terms")
    yield Row(subject, "search p95", p95, "ms")
    index.close()


def _scan(folder: Path, size: int) -> Rows:
    rows = [made_chunk(number) for number in range(size)]
    chunks = pa.Table.from_pylist(rows, schema=schemas.CHUNKS)
    path = folder / "catalog.duckdb"
    catalog.build(path, chunks=chunks, files=schemas.FILES.empty_table(), symbols=schemas.SYMBOLS.empty_table())
    opened = Catalog(path)
    for name, pattern in _PATTERNS.items():
        p50, p95 = _timed([partial(opened.matching, pattern, Scope(), 1_000, _FAR)] * 20)
        yield Row(f"scan {size:,}", f"{name} p50", p50, "ms", note=f"p95 {p95:.1f} ms")
    opened.close()


def _timed(asked: list[Callable[[], object]]) -> tuple[float, float]:
    for ask in asked[:5]:
        ask()
    seconds = []
    for ask in asked:
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    p50, p95 = percentiles(seconds)
    return p50, p95


def _impacts(rng: np.random.Generator, terms: int) -> Impacts:
    drawn = np.unique(np.minimum(rng.zipf(1.3, terms * 2), _VOCABULARY) - 1)[:terms]
    return np.stack([drawn, rng.integers(1, 300, len(drawn))], axis=1).astype(np.int32)


def made_chunk(number: int) -> dict[str, object]:
    """A row of `schemas.CHUNKS`: a function of 15 lines."""
    body = "\n".join(f"    value_{number % 97} = compute(item_{line}, limit={line})" for line in range(14))
    text = f"def handle_{number}(request):\n{body}\n"
    empty = dict.fromkeys(("signature", "docstring", "imports", "kind"), "")
    return {
        "chunk_id": number, "repo": "bench", "path": f"src/m{number // 20}.py", "blob": "0" * 40, "language": "python",
        "file_class": "source", "encoding": "utf-8", "symbol": f"handle_{number}", "name": f"handle_{number}",
        "start_line": 1, "end_line": 15, "start_byte": 0, "end_byte": len(text), "part": 0, "parts": 1, "tokens": 100,
        "text": text, **empty,
    }  # fmt: skip
