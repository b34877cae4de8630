"""A small but real generation: a registered repository, its chunks, FAISS, Lucene and DuckDB files, published.

Chunks come from the dictionaries of a test, not from the chunker, so that these tests stand on their own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import catalog, identity, schemas
from codeintel_core.analysis import ANALYSIS_VERSION, document_terms, terms
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.embedding.sparse.contract import SparseEncoder
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Counts, Manifest, SparseFacts, Versions
from codeintel_core.generations.publish import current_id, publish
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.indexes import dense_build, lexical, sparse
from codeintel_core.repository import mirror
from tests.conftest import Repo

DIMENSION = 16
CONTRACT = EmbeddingContract(
    model="hash", revision="1", dimension=DIMENSION, precision="fp32", pooling="sum", normalized=True,
    query_prefix="", document_prefix="", max_tokens=256, text_version=1,
)  # fmt: skip

Files = Mapping[str, Mapping[str, str]]
"""path -> symbol -> text of its chunk; a file is its chunks in order."""

FILES: Files = {
    "src/ledger.py": {
        "Ledger": "class Ledger:\n    '''Append only lines.'''\n",
        "Ledger.append": "def append(self, line):\n    self.file.write(line)\n",
        "torn_lines": "def torn_lines(path):\n    return path.read_bytes()\n",
        "rotate_ledger": "def rotate_ledger(path):\n    path.rename('ledger.old')\n",
    },
    "src/queue.go": {"drainQueue": "func drainQueue(q *Queue) error {\n\treturn q.Drain()\n}\n"},
    "tests/test_ledger.py": {"test_append": "def test_append():\n    Ledger().append('line')\n"},
    "vendor/ledger.py": {"vendored_append": "def vendored_append(line):\n    write(line)\n"},
}
"""What the tests search: a source file with several chunks, another language, a test and a vendored file."""


class HashEncoder:
    """Bag of terms, each a fixed random direction: equal words make near vectors, with no model."""

    def __init__(self, contract: EmbeddingContract = CONTRACT) -> None:
        self.contract = contract

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self.encode_query(text) for text in texts])

    def encode_query(self, text: str) -> Matrix:
        vector = sum((_direction(term, self.contract.dimension) for term in terms(text)), start=_direction("", 16) / 10)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(terms(text)) for text in texts]


def _direction(term: str, dimension: int) -> Matrix:
    seed = int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).normal(size=dimension)


def sources(files: Files) -> dict[str, str]:
    """The files as they are committed."""
    return {path: "".join(chunks.values()) for path, chunks in files.items()}


def chunk_rows(repo: str, files: Files) -> list[dict[str, Any]]:
    """Rows of `schemas.CHUNKS` for the files."""
    rows: list[dict[str, Any]] = []
    for path, chunks in files.items():
        byte, line = 0, 1
        file_class = {"tests": "test", "vendor": "vendored"}.get(path.split("/", maxsplit=1)[0], "source")
        seen: Counter[str] = Counter()
        for symbol, text in chunks.items():
            size, lines = len(text.encode()), text.count("\n")
            rows.append(
                {
                    "chunk_id": identity.chunk_id(repo, path, text, seen[text]),
                    "repo": repo, "path": path, "blob": "0" * 40, "encoding": "utf-8", "file_class": file_class,
                    "language": {"py": "python", "go": "go"}.get(path.rsplit(".", 1)[-1], ""),
                    "kind": "function", "symbol": symbol, "name": symbol.rsplit(".", 1)[-1],
                    "signature": "", "docstring": "", "imports": "",
                    "start_line": line, "end_line": line + lines - 1, "start_byte": byte, "end_byte": byte + size,
                    "part": 0, "parts": 1, "tokens": len(terms(text)), "text": text,
                }
            )  # fmt: skip
            seen[text] += 1
            byte, line = byte + size, line + lines
    return rows


def tables(repo: str, files: Files) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Tables of chunks, files and (no) symbols."""
    rows = chunk_rows(repo, files)
    by_path: dict[str, list[dict[str, Any]]] = {path: [] for path in files}
    for row in rows:
        by_path[row["path"]].append(row)
    listed = [
        {
            "path": path, "blob": "0" * 40, "size_bytes": of[-1]["end_byte"], "language": of[0]["language"],
            "file_class": of[0]["file_class"], "encoding": "utf-8", "lines": of[-1]["end_line"], "chunks": len(of),
            "skip_reason": "",
        }
        for path, of in by_path.items()
    ]  # fmt: skip
    return (
        pa.Table.from_pylist(rows, schema=schemas.CHUNKS),
        pa.Table.from_pylist(listed, schema=schemas.FILES),
        schemas.SYMBOLS.empty_table(),
    )


def documents(repo: str, files: Files) -> list[lexical.LexicalDocument]:
    """What Lucene is given for the files."""
    return [
        lexical.LexicalDocument(
            row["chunk_id"],
            document_terms(symbol=row["symbol"], path=row["path"], text=row["text"]),
            row["path"],
            row["language"],
            row["file_class"],
        )
        for row in chunk_rows(repo, files)
    ]


def _stage_sparse(folder: Path, chunks: pa.Table, encoder: SparseEncoder) -> SparseFacts:
    rows = chunks.select(["chunk_id", "path", "language", "file_class"]).to_pylist()
    impacts = encoder.encode_documents(chunks["text"].to_pylist())
    add = [
        sparse.SparseDocument(row["chunk_id"], one, row["path"], row["language"], row["file_class"])
        for row, one in zip(rows, impacts, strict=True)
    ]
    return SparseFacts(contract=encoder.contract, documents=sparse.write(folder / "sparse" / "lucene", add=add))


def stage(
    home: RepositoryHome, files: Files, *, commit: str, contract: EmbeddingContract = CONTRACT,
    sparse_encoder: SparseEncoder | None = None,
) -> Manifest:  # fmt: skip
    """Write all files of a generation but the manifest to `home.staging`; returns its manifest."""
    created_at = datetime.now(UTC)
    gen_id = identity.new_gen_id(created_at, commit)
    folder = home.staging / gen_id
    folder.mkdir(parents=True)
    chunks, listed, symbols = tables(home.name, files)
    pq.write_table(chunks, folder / "chunks.parquet")
    catalog.build(folder / "catalog.duckdb", chunks=chunks, files=listed, symbols=symbols)
    ids = chunks["chunk_id"].to_numpy()
    vectors = HashEncoder(contract).encode_documents(chunks["text"].to_pylist())
    choice = dense_build.build_primary(vectors, ids, folder / "dense", flat_max=10_000, min_recall=0.9)
    nothing = np.empty(0, np.int64)
    dense_build.write_secondary(np.empty((0, DIMENSION), np.float32), nothing, nothing, folder / "dense")
    count = lexical.write(folder / "lucene", add=documents(home.name, files))
    facts = _stage_sparse(folder, chunks, sparse_encoder) if sparse_encoder else SparseFacts(reason="not_configured")
    return Manifest(
        format_version=manifests.FORMAT_VERSION, gen_id=gen_id, parent=current_id(home), repo=home.name, branch="main",
        commit=commit, committed_at=created_at, created_at=created_at, dagster_run_id="run", asset_keys=(),
        versions=Versions(code="test", chunker=1, analysis=ANALYSIS_VERSION, text=1), contract=contract,
        dense=choice.as_parameters(),
        counts=Counts(
            files=len(files), chunks=len(ids), symbols=0, primary=len(ids), secondary=0, tombstones=0, lucene=count
        ),
        coverage={"indexed": len(files)}, reuse={}, files=manifests.digests(folder), sparse=facts,
    )  # fmt: skip


def publish_files(
    home: Home, repo: Repo, files: Files = FILES, *, name: str = "demo", contract: EmbeddingContract = CONTRACT,
    sparse_encoder: SparseEncoder | None = None,
) -> Path:  # fmt: skip
    """Commit the files to the source, mirror it and publish a generation of them; returns its folder."""
    commit = repo.commit(sources(files))
    mirror.add(home, str(repo.path), name=name)
    at = home.repository(name)
    manifest = stage(at, files, commit=commit, contract=contract, sparse_encoder=sparse_encoder)
    return publish(at, at.staging / manifest.gen_id, manifest)
