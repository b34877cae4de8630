"""A home of many small repositories, published by core's own functions in a fraction of a build's time each.

Contents are files of this project, each repository with names of its own; vectors are random (how long a search takes
does not depend on what they mean) under the contract of the embedded model, so that a real server serves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.fake_encoder import FakeEncoder
from benchmarks.workplace import run_git
from codeintel_core import identity
from codeintel_core.chunking import WordPieceCounter, chunk_file, chunks_table, files_table, symbols_table
from codeintel_core.embedding.contract import Matrix
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import publish
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository
from codeintel_pipelines.evaluation.throwaway import build_index, close

GROUPS = 10
_FILES_EACH = 8
_MAX_TOKENS, _MAX_BYTES = 240, 1_000_000


class RandomVectors(FakeEncoder):
    """Random unit vectors for documents."""

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of shape (len(texts), 384), float32, unit norm."""
        random = np.random.default_rng(len(texts))
        vectors = random.normal(size=(len(texts), self.contract.dimension)).astype(np.float32)
        unit: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def published(home: Home, folder: Path, count: int) -> int:
    """Publish `count` repositories `r000`, `r001` … in the groups `g0` … `g9`; returns how many chunks they have.

    Args:
        home: where they are published.
        folder: where their sources are written.
    """
    files = sorted((Path(__file__).parent.parent / "codeintel_core").rglob("*.py"))
    texts = [(file.name, file.read_text()) for file in files if file.stat().st_size > 500]
    return sum(_publish(home, folder, number, texts) for number in range(count))


def _publish(home: Home, folder: Path, number: int, texts: Sequence[tuple[str, str]]) -> int:
    name, source = f"r{number:03}", folder / f"r{number:03}"
    for at in range(_FILES_EACH):
        path, text = texts[(number * 7 + at * 13) % len(texts)]
        file = source / f"part{at}" / path
        file.parent.mkdir(parents=True)
        file.write_text(f'{text}\n\ndef only_in_{name}_{at}():\n    return "{name} {at}"\n')
    run_git(folder, "init", "--quiet", "--initial-branch=main", str(source))
    run_git(source, "add", "--all")
    run_git(source, "-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "-qm", "bench")
    mirror.add(home, str(source), name=name, group=f"g{number % GROUPS}")
    at_home, commit = home.repository(name), mirror.head(home, name)
    tree, counter = {entry.blob: entry.path for entry in GitRepository(at_home.mirror).tree(commit)}, WordPieceCounter()
    found = [
        chunk_file(name, tree[blob], blob, data, counter, _MAX_TOKENS, _MAX_BYTES)
        for blob, data in GitRepository(at_home.mirror).blobs(tree)
    ]
    at_home.staging.mkdir()
    staging, now = at_home.staging / commit, datetime.now(UTC)
    generation = build_index(
        staging,
        name,
        chunks=chunks_table([chunk for file in found for chunk in file.chunks]),
        files=files_table([file.file for file in found]),
        symbols=symbols_table(file.symbols for file in found),
        encoder=RandomVectors(),
        home=home,
    )
    close(generation)
    changed = {
        "gen_id": identity.new_gen_id(now, commit),
        "commit": commit,
        "coverage": {"indexed": len(found)},
        "files": manifests.digests(staging),
    }
    manifest = generation.manifest.model_copy(update=changed)
    publish(at_home, staging, manifest)
    return manifest.counts.chunks
