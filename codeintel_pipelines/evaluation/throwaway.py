"""A throwaway index over an evaluation set: real chunks, Lucene, FAISS and catalog, in a folder that is deleted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from codeintel_core import catalog
from codeintel_core.chunking import (
    Chunk,
    FileChunks,
    Symbols,
    TokenCounter,
    WordPieceCounter,
    chunk_file,
    chunks_table,
    files_table,
    symbols_table,
)
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.contract import Encoder
from codeintel_core.embedding.embed import embed_texts
from codeintel_core.embedding.text import embedded_text
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Counts, Manifest
from codeintel_core.home import Home
from codeintel_core.indexes import dense_build, lexical
from codeintel_core.settings import Settings
from codeintel_pipelines.build.index import lexical_documents
from codeintel_pipelines.build.ingest import HEADER_TOKENS
from codeintel_pipelines.build.plan import versions
from codeintel_pipelines.evaluation.passages import passage
from codeintel_pipelines.evaluation.sets import Document

_BLOB = "0" * 40
_GEN_PREFIX = "eval-"


@dataclass(frozen=True, slots=True)
class Index:
    """Open generations by repository, and the document of every chunk."""

    generations: dict[str, Generation]
    document_of: dict[int, str]
    folder: Path
    """Where the generations lie, each in a folder of its own."""


@contextmanager
def indexed(documents: Sequence[Document], encoder: Encoder, settings: Settings) -> Iterator[Index]:
    """Index the documents, one generation per repository; vectors come from the home's cache where it has them."""
    home = Home(settings.home)
    by_repo: dict[str, list[Document]] = {}
    for document in documents:
        by_repo.setdefault(document.repo, []).append(document)
    with tempfile.TemporaryDirectory(prefix="codeintel-eval-") as folder, ExitStack() as stack:
        index = Index({}, {}, Path(folder))
        for number, (repo, some) in enumerate(by_repo.items()):
            rows = _chunked(repo, some, encoder.contract.max_tokens - HEADER_TOKENS, settings, index.document_of)
            generation = build_index(
                Path(folder) / str(number),
                repo,
                chunks=chunks_table([chunk for file in rows for chunk in file.chunks]),
                files=files_table([file.file for file in rows]),
                symbols=symbols_table(file.symbols for file in rows),
                encoder=encoder,
                home=home,
            )
            stack.callback(close, generation)
            index.generations[repo] = generation
        yield index


@contextmanager
def with_trained_primary(index: Index, min_recall: float) -> Iterator[tuple[Index, dict[str, str]]]:
    """The same index with an approximate primary, however few its vectors are; and what each repository got.

    Catalog and Lucene files are linked. A repository with fewer vectors than an approximate index needs stays exact,
    as does one whose measured recall is below `min_recall`: the description says so.
    """
    with ExitStack() as stack:
        trained, kinds = Index({}, index.document_of, index.folder), {}
        for repo, exact in index.generations.items():
            source = index.folder / exact.manifest.gen_id.removeprefix(_GEN_PREFIX)
            folder = source.with_name(f"{source.name}-trained")
            folder.mkdir()
            for path in (*source.glob("catalog*"), *(source / "lucene").iterdir()):
                target = folder / path.relative_to(source)
                target.parent.mkdir(exist_ok=True)
                os.link(path, target)
            vectors, ids = exact.dense.primary.vectors(), np.array(exact.dense.primary.ids)
            choice = dense_build.build_primary(vectors, ids, folder / "dense", flat_max=1, min_recall=min_recall)
            nothing = np.empty(0, np.int64)
            dense_build.write_secondary(vectors[:0], nothing, nothing, folder / "dense")
            generation = Generation(
                folder, exact.manifest.model_copy(update={"dense": choice.as_parameters()}), index.folder
            )
            generation.acquire()
            stack.callback(close, generation)
            trained.generations[repo] = generation
            at = choice.operating
            probes = f", nprobe {at.nprobe}, k_factor {at.k_factor}" if at.nprobe else ""
            kinds[repo] = f"{len(ids)} vectors, {choice.kind}{probes}"
        yield trained, kinds


def _chunked(
    repo: str, documents: Sequence[Document], max_tokens: int, settings: Settings, document_of: dict[int, str]
) -> list[FileChunks]:
    tokens = WordPieceCounter()
    files: list[FileChunks] = []
    for number, document in enumerate(documents):
        if document.path:
            data = document.text.encode("utf-8", "replace")
            found = chunk_file(repo, document.path, _BLOB, data, tokens, max_tokens, settings.max_file_bytes)
            files.append(found)
            document_of.update({chunk.chunk_id: document.doc_id for chunk in found.chunks})
        elif one := passage(repo, number, document.text, tokens, max_tokens, settings.max_file_bytes):
            files.append(_as_file(one, tokens))
            document_of[one.chunk_id] = document.doc_id
    return files


def _as_file(chunk: Chunk, tokens: TokenCounter) -> FileChunks:
    found = chunk_file(chunk.repo, chunk.path, _BLOB, b"x\n", tokens, 64, 1_000)
    return replace(found, chunks=[chunk], symbols=Symbols(chunk.repo, chunk.path, _BLOB, ""))


def build_index(
    folder: Path, repo: str, *, chunks: pa.Table, files: pa.Table, symbols: pa.Table, encoder: Encoder, home: Home
) -> Generation:
    """Catalog, FAISS (exact) and Lucene of these rows in `folder`, opened and acquired; close it with `close`."""
    folder.mkdir()
    texts = [embedded_text(t, s) for t, s in zip(chunks["text"].to_pylist(), chunks["symbol"].to_pylist(), strict=True)]
    with VectorCache(home.vectors(encoder.contract.contract_id), encoder.contract) as cache:
        vectors = embed_texts(encoder, cache, texts).matrix
    catalog.build(folder / "catalog.duckdb", chunks=chunks, files=files, symbols=symbols)
    ids, nothing = chunks["chunk_id"].to_numpy(), np.empty(0, np.int64)
    dense = dense_build.build_primary(vectors, ids, folder / "dense", flat_max=1 << 30, min_recall=1.0)
    dense_build.write_secondary(vectors[:0], nothing, nothing, folder / "dense")
    lucene = lexical.write(folder / "lucene", add=lexical_documents(chunks))
    now = datetime.now(UTC)
    manifest = Manifest(
        format_version=manifests.FORMAT_VERSION, gen_id=f"{_GEN_PREFIX}{folder.name}", parent=None, repo=repo,
        branch="", commit=_BLOB, committed_at=now, created_at=now, dagster_run_id="", asset_keys=(),
        versions=versions(),
        contract=encoder.contract, dense=dense.as_parameters(),
        counts=Counts(files=files.num_rows, chunks=len(ids), symbols=symbols.num_rows, primary=len(ids), secondary=0,
                      tombstones=0, lucene=lucene),
        coverage={}, reuse={}, files={},
    )  # fmt: skip
    generation = Generation(folder, manifest, home.root)
    generation.acquire()
    return generation


def close(generation: Generation) -> None:
    """Close a generation that only its builder uses."""
    generation.retire()
    generation.release()
