"""Embedding: chunks/s of the pipeline (keys, cache, slices, checks) beside the bare encoder on the same texts."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.rows import Row, Rows, seconds
from benchmarks.workplace import Workplace
from codeintel_core.chunking import WordPieceCounter, chunk_file
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.embed import embed_texts
from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.embedding.text import embedded_text

_TEXTS, _PARTS = 384, 4


def measure(at: Workplace) -> Rows:
    """Cold, from the cache, and one query."""
    settings = at.settings
    encoder = LocalEncoder(
        at.home.models, settings.embedding_precision, settings.embedding_threads, settings.embedding_batch_tokens
    )
    texts = _texts(at)
    encoder.encode_documents(texts[:8])
    bare_s, ours_s = [], []
    with VectorCache(at.folder / "bench-vectors", encoder.contract) as cache:
        for part in range(_PARTS):  # interleaved on different texts: neither profits from the other
            some = texts[part::_PARTS]
            if part % 2:
                ours_s.append(seconds(partial(embed_texts, encoder, cache, some)) / len(some))
                bare_s.append(seconds(partial(encoder.encode_documents, some)) / len(some))
            else:
                bare_s.append(seconds(partial(encoder.encode_documents, some)) / len(some))
                ours_s.append(seconds(partial(embed_texts, encoder, cache, some)) / len(some))
        cached_s = seconds(lambda: embed_texts(encoder, cache, texts)) / len(texts)
    bare, ours = 1 / float(np.median(bare_s)), 1 / float(np.median(ours_s))
    tokens = float(np.mean(np.minimum(encoder.count_tokens(texts), 256)))
    note = f"{len(texts)} distinct chunks, {tokens:.0f} tokens on average, {settings.embedding_precision}"
    yield Row("embedding", "pipeline, cold", ours, "chunks/s", f"bare encoder {bare:.1f}", ours / bare, note)
    yield Row("embedding", "pipeline, from the cache", 1 / cached_s, "chunks/s")
    query = LocalEncoder(at.home.models, settings.embedding_precision, threads=1)
    taken = [seconds(partial(query.encode_query, f"how is part {i} of the index published")) for i in range(60)]
    yield Row("embedding", "one query, one thread, p50", float(np.median(taken[10:])) * 1000, "ms")


def _texts(at: Workplace) -> list[str]:
    """Texts of a fixed sample of distinct chunks of the repository."""
    counter, found = WordPieceCounter(), dict[str, None]()
    for path, data in at.files():
        for chunk in chunk_file("bench", path, "", data, counter, 230, 1_000_000).chunks:
            found[embedded_text(chunk.text, chunk.symbol)] = None
    texts = sorted(found)
    random = np.random.default_rng(3)
    return [texts[i] for i in random.permutation(len(texts))[:_TEXTS]]
