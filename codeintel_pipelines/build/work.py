"""The heavy stages as work for an engine: batches in, Arrow tables out, the same bytes wherever it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from codeintel_core.chunking import (
    FileChunks,
    WordPieceCounter,
    chunk_file,
    chunks_table,
    files_table,
    skipped_file,
    symbols_table,
)
from codeintel_core.embedding.contract import EmbeddingContract, Encoder, Matrix
from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.embedding.onnx_bert import Precision
from codeintel_core.errors import ModelUnavailable
from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_pipelines.engines import Ran, engine_for

CRASHED = "crashed"
"""Skip reason of a file whose grammar takes its process down, each time."""
_BATCH_BYTES = 1_000_000
_BATCH_FILES = 256
_TEXTS_WORTH = 400_000  # characters, some ten seconds of one encoder: less is done before a pool is up


class Source(NamedTuple):
    """One file to chunk."""

    path: str
    blob: str
    data: bytes
    purged: Sequence[tuple[int, int]]
    """Spans of it that were purged (`PurgeList.spans`)."""


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """Files to rows of FILES, CHUNKS and SYMBOLS."""

    repo: str
    max_tokens: int
    max_file_bytes: int
    splits: bool = True

    def __call__(self, batch: Sequence[Source]) -> tuple[pa.Table, ...]:
        """The three tables of some files, in their order."""
        return _tables([self._chunked(source) for source in batch])

    def _chunked(self, source: Source) -> FileChunks:
        return chunk_file(
            self.repo, source.path, source.blob, source.data, _counter(), self.max_tokens, self.max_file_bytes,
            source.purged,
        )  # fmt: skip


def crashed(batch: Sequence[Source]) -> tuple[pa.Table, ...]:
    """The tables of files that were given up."""
    return _tables([skipped_file(source.path, source.blob, len(source.data), CRASHED) for source in batch])


def file_batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Consecutive files, each batch within both limits or of one file."""
    batch: list[Source] = []
    size = 0
    for source in sources:
        if batch and (len(batch) == _BATCH_FILES or size + len(source.data) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += len(source.data)
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class EncodeTexts:
    """Texts to vectors with the embedded model; a worker loads it once."""

    models: Path
    precision: Precision
    threads: int
    batch_tokens: int
    contract: EmbeddingContract
    splits: bool = False  # the last bits of a vector may depend on what it is padded to

    def __call__(self, batch: Sequence[str]) -> tuple[pa.Table]:
        """One table with one column, `vector`, a row for each text."""
        encoder = _encoder(self.models, self.precision, self.threads, self.batch_tokens)
        self.contract.require_same(encoder.contract, "an encoding worker")
        matrix = encoder.encode_documents(batch)
        return (pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])}),)


def encode_slices(encoder: Encoder, settings: Settings, ran: Ran, slices: Sequence[Sequence[str]]) -> Iterator[Matrix]:
    """The vectors of each slice of texts, in order, on the engine of the settings; `ran` says on which.

    An endpoint does its own batching: it is asked from this process.

    Raises:
        ModelUnavailable: the worker died on the same texts each time.
    """
    if not isinstance(encoder, LocalEncoder) or len(slices) < 2:
        yield from map(encoder.encode_documents, slices)
        return
    threads, size = settings.embedding_threads, sum(len(text) for some in slices for text in some)
    engine = engine_for(settings, size=size, worth=min(_TEXTS_WORTH, settings.engine_inline_bytes), cpus=threads)
    if engine.hire is None:
        yield from map(encoder.encode_documents, slices)  # this process has loaded the model already
        return
    work = EncodeTexts(
        Home(settings.home).models, settings.embedding_precision, threads, settings.embedding_batch_tokens,
        encoder.contract,
    )  # fmt: skip
    for some, tables in engine.run(work, slices, ran):
        if tables is None:
            raise ModelUnavailable(
                f"the process that encodes died on the same {len(some)} texts each time; is memory short? "
                "CODEINTEL_EMBEDDING_THREADS and CODEINTEL_EMBEDDING_BATCH_TOKENS bound it"
            )
        vectors = tables[0]["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        yield vectors.reshape(len(some), encoder.contract.dimension)


def _tables(found: list[FileChunks]) -> tuple[pa.Table, ...]:
    return (
        files_table([done.file for done in found]),
        chunks_table([row for done in found for row in done.chunks]),
        symbols_table(done.symbols for done in found),
    )


@lru_cache(maxsize=1)
def _counter() -> WordPieceCounter:
    return WordPieceCounter()


@lru_cache(maxsize=1)
def _encoder(models: Path, precision: Precision, threads: int, batch_tokens: int) -> LocalEncoder:
    return LocalEncoder(models, precision, threads, batch_tokens)
