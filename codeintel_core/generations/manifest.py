"""The manifest: the only source of truth about a generation. Written last, verified before anything is opened."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from cachetools import LRUCache
from pydantic import BaseModel, ConfigDict, ValidationError

from codeintel_core.embedding.contract import EmbeddingContract
from codeintel_core.embedding.sparse.contract import SparseContract
from codeintel_core.errors import GenerationCorrupt

FORMAT_VERSION = 3  # tables in parts, an overlay over the catalog, definitions by name
FILE_NAME = "manifest.json"
DIGEST_NAME = "manifest.sha256"  # of manifest.json itself: a flipped bit may still parse
_OWN = (FILE_NAME, DIGEST_NAME)
_BLOCK = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileDigest(_Frozen):
    """Size and SHA-256 of one file."""

    size_bytes: int
    sha256: str


_known: LRUCache[tuple[int, ...], FileDigest] = LRUCache(100_000)  # what this process has hashed, by inode
_known_lock = threading.Lock()


class Counts(_Frozen):
    """How much is in the generation."""

    files: int
    chunks: int
    symbols: int
    primary: int
    secondary: int
    tombstones: int
    lucene: int

    @property
    def embedded(self) -> int:
        """Chunks that have a vector; fewer than `chunks` while the dense index is pending."""
        return self.primary - self.tombstones + self.secondary

    @property
    def is_dense_pending(self) -> bool:
        """Whether vectors are still missing: published lexical first, a later generation completes it."""
        return self.embedded < self.chunks

    @property
    def compaction_ratio(self) -> float:
        """(secondary + tombstones) / primary; what the compaction threshold is compared with."""
        return (self.secondary + self.tombstones) / max(1, self.primary)


class Versions(_Frozen):
    """Versions whose change makes artefacts of a parent unusable."""

    code: str
    chunker: int
    analysis: int
    text: int
    secrets: str = ""  # rules and deny list; '' was before there were any


NOT_CONFIGURED = "not_configured"
PENDING = "pending"


class SparseFacts(_Frozen):
    """The optional sparse index: what it holds, or why there is none."""

    contract: SparseContract | None = None
    documents: int = 0
    reason: str = ""  # 'not_configured', 'pending' or what failed; '' when the index is there

    @property
    def is_there(self) -> bool:
        """Whether the generation holds a sparse index."""
        return not self.reason

    def is_of(self, contract: SparseContract) -> bool:
        """Whether it holds one of this contract."""
        return self.is_there and self.contract == contract


class EngineFacts(_Frozen):
    """The copy of the vectors in the external vector engine: the state it must have there, or why there is none."""

    count: int = 0
    digest: str = ""  # see `vector_engine.protocol.State`
    reason: str = NOT_CONFIGURED  # or why it was not published there; '' when it was

    @property
    def is_there(self) -> bool:
        """Whether the generation was published there."""
        return not self.reason


class Manifest(_Frozen):
    """Facts of one immutable generation."""

    format_version: int
    gen_id: str
    parent: str | None
    repo: str
    branch: str
    commit: str
    committed_at: datetime
    created_at: datetime
    dagster_run_id: str
    asset_keys: tuple[str, ...]
    versions: Versions
    contract: EmbeddingContract
    dense: dict[str, Any]  # kind, metric, operating point, recall curve
    counts: Counts
    coverage: dict[str, int]  # 'indexed' and every skip reason -> files
    redacted: dict[str, int] = {}  # masked 'values', and the 'files' they were in; empty when there were none
    reuse: dict[str, int]  # what was taken over instead of computed
    files: dict[str, FileDigest]
    sparse: SparseFacts = SparseFacts(reason=NOT_CONFIGURED)
    vector_engine: EngineFacts = EngineFacts()
    tuning_id: str = ""  # learned weights that counted when it was published, '' when none did

    @property
    def is_pending(self) -> bool:
        """Whether a further build of the same commit completes it: published before all its vectors were there."""
        return self.counts.is_dense_pending or self.sparse.reason == PENDING

    @property
    def contract_id(self) -> str:
        """Id of the embedding contract."""
        return self.contract.contract_id


def load(folder: Path) -> Manifest:
    """Read and validate a generation's manifest; raises `GenerationCorrupt` naming what is wrong."""
    try:
        document = (folder / FILE_NAME).read_bytes()
        expected = (folder / DIGEST_NAME).read_bytes().decode("ascii", "replace").strip()
        manifest = Manifest.model_validate_json(document)
    except FileNotFoundError as error:
        raise GenerationCorrupt(f"generation {folder.name}: {Path(error.filename).name} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise GenerationCorrupt(
            f"generation {folder.name}: {FILE_NAME} is damaged at {where}: {first['msg']}"
        ) from None
    if manifest.format_version != FORMAT_VERSION:
        raise GenerationCorrupt(
            f"generation {folder.name} has format {manifest.format_version}, not {FORMAT_VERSION}; "
            "`codeintel build` makes a new one"
        )
    if manifest.gen_id != folder.name:
        raise GenerationCorrupt(f"generation {folder.name}: its manifest belongs to {manifest.gen_id}")
    if hashlib.sha256(document).hexdigest() != expected:
        raise GenerationCorrupt(f"generation {folder.name}: {FILE_NAME} does not match {DIGEST_NAME}; it was changed")
    return manifest


def save(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its digest into a staging folder."""
    document = manifest.model_dump_json(indent=1).encode() + b"\n"
    (folder / FILE_NAME).write_bytes(document)
    (folder / DIGEST_NAME).write_text(hashlib.sha256(document).hexdigest() + "\n")


def digest(path: Path) -> FileDigest:
    """Size and SHA-256 of a file."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return FileDigest(size_bytes=path.stat().st_size, sha256=hasher.hexdigest())


def digests(
    folder: Path, parent: Path | None = None, known: Mapping[str, FileDigest] | None = None
) -> dict[str, FileDigest]:
    """Digest of every file below `folder` except the manifest, by relative path.

    A file that is hard-linked from `parent` keeps the digest `known` from the parent's manifest.
    """
    found: dict[str, FileDigest] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in _OWN):
        name = path.relative_to(folder).as_posix()
        inherited = (known or {}).get(name)
        if inherited and parent and (parent / name).exists() and os.path.samefile(path, parent / name):
            found[name] = inherited
        else:
            found[name] = digest(path)
    return found


def verify(folder: Path, manifest: Manifest, *, only: str = "") -> None:
    """Compare every file with its digest, or those of one table with `only`.

    FAISS and Parquet load damaged files without complaint, so this runs before anything is opened. What this process
    has read once and nobody has written since (the parts that generations share) is not read again.

    Raises:
        GenerationCorrupt: naming the file and both digests.
    """
    wanted = {name: expected for name, expected in manifest.files.items() if _is_within(name, only)}
    for name in wanted:
        if not (folder / name).is_file():
            raise GenerationCorrupt(f"generation {manifest.gen_id}: {name} is missing")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets other threads run
        found = dict(zip(wanted, pool.map(lambda name: known_digest(folder / name), wanted), strict=True))
    for name, expected in wanted.items():
        actual = found[name]
        if actual.size_bytes != expected.size_bytes:
            raise GenerationCorrupt(
                f"generation {manifest.gen_id}: {name} has {actual.size_bytes} bytes, expected {expected.size_bytes}"
            )
        if actual.sha256 != expected.sha256:
            raise GenerationCorrupt(
                f"generation {manifest.gen_id}: {name} has SHA-256 {actual.sha256[:16]}…, "
                f"expected {expected.sha256[:16]}…; it was changed after it was published"
            )
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {*_OWN}
    extra = {name for name in there if _is_within(name, only)} - wanted.keys()
    if extra:
        raise GenerationCorrupt(f"generation {manifest.gen_id}: {min(extra)} is not in the manifest")


def _is_within(name: str, only: str) -> bool:
    return not only or name == only or name.startswith(f"{only}/")


def known_digest(path: Path) -> FileDigest:
    """The digest of a file, kept while its inode, size and time of change say that it is the same."""
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    with _known_lock:
        known = _known.get(key)
    if known is not None:
        return known
    found = digest(path)
    if path.stat().st_mtime_ns == status.st_mtime_ns:
        with _known_lock:
            _known[key] = found
    return found
