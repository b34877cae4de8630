"""An opened generation: verified, with its catalog, dense and lexical indexes ready; closed when nobody uses it."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from codeintel_core.catalog import Catalog, ChunkRow
from codeintel_core.chunking.rows import FileRow
from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError, GenerationCorrupt, GitFailed
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.kept import Kept
from codeintel_core.generations.leases import ReaderLease
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import RepositoryHome
from codeintel_core.indexes.dense import DenseIndex, Operating
from codeintel_core.indexes.gpu import Wanted
from codeintel_core.indexes.lexical import LexicalIndex
from codeintel_core.repository.git import GitRepository
from codeintel_core.repository.masks import Masks
from codeintel_core.repository.objects import ObjectReader
from codeintel_core.repository.sketches import Sketches
from codeintel_core.repository.texts import KeptTexts
from codeintel_core.scope import Scope
from codeintel_core.secrets.purged import PurgeList
from codeintel_core.telemetry import step
from codeintel_core.watched import Stamp

_SAID = ("symbol", "name", "signature", "docstring", "text")
_QUOTED = ("signature", "docstring")
_MOST_FILES = 1_024
_MANY_FILES = 5_000
_MOST_ROWS = 100_000  # some 60 MB
_texts = KeptTexts()
_read_lately = KeptTexts(16 << 20)
_lists = Kept[Sequence[FileRow]](_MOST_ROWS)
_by_path = Kept[Mapping[str, FileRow]](_MOST_ROWS)
_blob_of = attrgetter("blob")


class Generation:
    """One published (or staged) generation, pinned by reference count.

    Attributes:
        manifest: its facts.
        catalog: hydration and scopes.
        dense: the dual dense index.
        lexical: the Lucene index, or None when it cannot be used (`lexical_error` says why).
        sparse: the impact index, or None when there is none or it cannot be used (`sparse_error` says why).
    """

    def __init__(self, folder: Path, manifest: Manifest, mirror: Path, device: Wanted = "cpu") -> None:
        self.manifest = manifest
        self._git = GitRepository(mirror)
        self._objects = ObjectReader(mirror)
        self._masks = Masks(mirror)
        self._sketches = Sketches()
        self._users = 0
        self._retired = False
        self._closed = False
        self._lock = threading.Lock()
        self._lease: ReaderLease | None = None
        self.dense = _open_dense(folder, manifest, device)
        self.catalog = Catalog(folder / "catalog.duckdb")
        self._has_many = manifest.counts.files > _MANY_FILES
        self._file = lru_cache(_MOST_FILES)(self.catalog.file)
        self._owner = object()  # of its lists, which must not hold it
        self.lexical, self.lexical_error = _open_lucene(folder / "lucene")
        self.sparse, self.sparse_error = None, manifest.sparse.reason
        if manifest.sparse.is_there:
            self.sparse, self.sparse_error = _open_lucene(folder / "sparse" / "lucene")

    @classmethod
    def open(cls, folder: Path, mirror: Path, *, verify: bool = True, device: Wanted = "cpu") -> Generation:
        """Lease a published generation, verify its digests and open it; raises `GenerationCorrupt`."""
        with step("generation.open", gen_id=folder.name) as current:
            lease = ReaderLease.take(RepositoryHome(folder.parent.parent), folder.name)
            current.set(leased=lease is not None)
            try:
                manifest = manifests.load(folder)
                if verify:
                    manifests.verify(folder, manifest)
                opened = cls(folder, manifest, mirror, device)
            except BaseException:
                if lease is not None:
                    lease.give_back()
                raise
            opened._lease = lease
            return opened

    @property
    def repo(self) -> str:
        """Name of its repository."""
        return self.manifest.repo

    def hydrate(self, chunk_ids: Sequence[int], scope: Scope) -> dict[int, ChunkRow]:
        """As `catalog.hydrate`, as it may be shown now.

        What was purged since the generation was built is masked, and chunks of files that were purged are left out.
        """
        rows, purged = self.catalog.hydrate(chunk_ids, scope), self._masks.purged_now()
        return rows if purged is None or not rows else self._purged(rows, purged, is_recorded=True)

    def changed_by_purges(self, chunk_ids: Sequence[int], scope: Scope) -> dict[int, ChunkRow | None]:
        """Of `hydrate` the chunks that are shown otherwise than they were indexed; None where it leaves one out.

        It makes no step: that there was one would tell who guesses at a purged text that something matched.
        """
        if (purged := self._masks.purged_now()) is None or not chunk_ids:
            return {}
        rows = self.catalog.hydrate(chunk_ids, scope)
        shown = self._purged(rows, purged, is_recorded=False)
        return {at: shown.get(at) for at, row in rows.items() if shown.get(at) != row}

    def _purged(self, rows: Mapping[int, ChunkRow], purged: PurgeList, *, is_recorded: bool) -> dict[int, ChunkRow]:
        """The rows masked by the list: their files as a whole, then each thing that a row says by itself.

        A purged text may begin in another chunk, or reach over a secret that is masked in the row. By whole files the
        text is what is read there, and a signature or docstring that does not stand there any more is left out.
        """
        rows = {at: row for at, row in rows.items() if not purged.skips(self.repo, row.path, row.blob)}
        if not purged.texts and not purged.patterns:
            return rows
        files: dict[str, bytes] = {}
        with suppress(GitFailed), step("hydrate.purged", chunks=len(rows)) if is_recorded else nullcontext():
            files = self._masked(row.path for row in rows.values())
        rows = {at: _as_in(files.get(row.path), row, purged) for at, row in rows.items()}
        if not purged.patterns:  # which may ask for the beginning or end of a text
            texts = "\n".join([getattr(row, name) for row in rows.values() for name in _SAID])
            if not purged.spans(texts.encode("utf-8", "replace")):  # nearly always: one look at all takes a fraction
                return rows
        return {at: _without(row, purged) for at, row in rows.items()}

    def read_file(self, path: str) -> bytes | None:
        """Content of a file in the pinned commit, secrets masked, or None when there is none or it was purged."""
        file = self.file(path)
        if file is not None and self._masks.hides(path, file.blob):
            return None
        if file is not None and not file.skip_reason and "\n" not in path:
            return self._masked([path]).get(path)
        # A link is not followed; and an open process takes names by the line.
        data = self._git.blob_at(self.manifest.commit, path)
        return None if data is None else self.cleaned(data)

    def file(self, path: str) -> FileRow | None:
        """As `catalog.file`, without a query but for the first one; of many files the last that were asked for."""
        if self._has_many:
            return self._file(path)
        found = _by_path.get(self._owner, "")
        if found is None:
            found = {file.path: file for file in self.files(Scope())}
            _by_path.keep(self._owner, "", found)
        return found.get(path)

    def files(self, scope: Scope, *, readable: bool = False, deadline: Deadline | None = None) -> Sequence[FileRow]:
        """As `catalog.files`; unless they are many, the last that were asked for are known without a query."""
        if self._has_many:
            return self.catalog.files(scope, readable=readable, deadline=deadline)
        key = replace(scope, repos=()), readable
        found = _lists.get(self._owner, key)
        if found is None:
            found = self.catalog.files(scope, deadline=deadline) if not readable else [
                file for file in self.files(scope, deadline=deadline) if not file.skip_reason
            ]  # fmt: skip
            _lists.keep(self._owner, key, found)
        return found

    def cleaned(self, data: bytes) -> bytes:
        """The whole content of a file as it may be shown: secrets and what was purged masked, byte for byte."""
        return self._masks.data(data)

    @property
    def git(self) -> GitRepository:
        """Its mirror: history that its commit is part of."""
        return self._git

    def texts(self, files: Sequence[FileRow], part: bytes = b"") -> Iterator[tuple[FileRow, bytes]]:
        """Files of the pinned commit and their text as UTF-8, masked, in the order given.

        They come from memory where they were read before, else through one git process. What was purged since the
        generation was built is left out; with `part`, so are most files whose text does not hold it.

        Raises:
            GitFailed: a blob is missing from the mirror.
        """
        stamp, is_hidden = self._masks.stamp(), self._masks.hidden_now()
        if is_hidden is not None:
            files = [file for file in files if not is_hidden(file.path, file.blob)]
        if not part:
            yield from self._whole_texts(files, stamp)
            return
        with closing(self._whole_texts(self._sketches.that_may_hold(files, _blob_of, part, stamp), stamp)) as texts:
            for file, text in texts:
                self._sketches.keep(file.blob, text, stamp)
                yield file, text

    def _whole_texts(self, files: Sequence[FileRow], stamp: Stamp) -> Generator[tuple[FileRow, bytes]]:
        if sum([file.size_bytes for file in files]) > _texts.most_bytes // 2:  # they would only displace each other
            yield from self._read(files)
            return
        mirror = os.fspath(self._git.path)
        names = [(mirror, file.blob, file.encoding) for file in files]
        known = _texts.known(mirror, stamp, names)
        unknown = [file for file, text in zip(files, known, strict=True) if text is None]
        with closing(self._read(unknown)) as others:
            for file, name, text in zip(files, names, known, strict=True):
                if text is not None:
                    yield file, text
                    continue
                yield (read := next(others))
                _texts.keep(mirror, stamp, name, read[1])

    def _read(self, files: Sequence[FileRow]) -> Generator[tuple[FileRow, bytes]]:
        if not files:
            return
        for file, (_, data) in zip(files, self._git.blobs(file.blob for file in files), strict=True):
            shown = self.cleaned(data)
            yield file, shown if file.encoding == "utf-8" else shown.decode(file.encoding).encode()

    def matches_source(self, chunk: ChunkRow) -> bool:
        """Whether the chunk's text equals the bytes of its span in the pinned commit, secrets masked in both."""
        return _is_span(chunk, self.read_file(chunk.path))

    def matching(self, chunks: Sequence[ChunkRow]) -> list[bool]:
        """`matches_source` of several chunks, through a git process that stays open; raises `GitFailed`."""
        masked = self._masked(chunk.path for chunk in chunks)
        return [
            not self._masks.hides(chunk.path, chunk.blob) and _is_span(chunk, masked.get(chunk.path))
            for chunk in chunks
        ]

    def _masked(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Contents of files of the pinned commit by path, masked; what is not there is left out.

        Files that were read lately are not read again: what a commit names never changes, and a purge is noticed.
        """
        stamp, commit, mirror = self._masks.stamp(), self.manifest.commit, os.fspath(self._git.path)
        names = [(mirror, commit, path) for path in dict.fromkeys(paths)]
        known = zip(names, _read_lately.known(mirror, stamp, names), strict=True)
        masked = {path: text for (*_, path), text in known if text is not None}
        missing = [path for *_, path in names if path not in masked]
        for path, data in self._objects.files_at(commit, missing).items() if missing else ():
            masked[path] = self.cleaned(data)
            _read_lately.keep(mirror, stamp, (mirror, commit, path), masked[path])
        return masked

    def acquire(self) -> bool:
        """Take a reference; False when it is already closed."""
        with self._lock:
            if self._closed:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Give a reference back; the last one closes a retired generation."""
        with self._lock:
            self._users -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """Close it as soon as nobody uses it."""
        with self._lock:
            self._retired = True
            self._close_if_unused()

    def retire_unused(self) -> bool:
        """Close it now if nobody uses it; False when somebody does."""
        with self._lock:
            if self._users:
                return False
            self._retired = True
            self._close_if_unused()
            return True

    def _close_if_unused(self) -> None:
        if self._retired and not self._users and not self._closed:
            self._closed = True
            self.catalog.close()
            self._objects.close()
            self._sketches.close()
            _lists.forget(self._owner)
            _by_path.forget(self._owner)
            for index in (self.lexical, self.sparse):
                if index is not None:
                    index.close()
            if self._lease is not None:
                self._lease.give_back()


def _as_in(data: bytes | None, row: ChunkRow, purged: PurgeList) -> ChunkRow:
    """The row as the whole file has it; as it is where that was not read."""
    if data is None or len(data) < row.end_byte:
        return row
    file = data.decode(row.encoding, "replace")
    said = [name for name in _QUOTED if not _stands_in(_masked(getattr(row, name), purged), file)]
    text = data[row.start_byte : row.end_byte].decode(row.encoding, "replace")
    gone: dict[str, Any] = dict.fromkeys(said, "")
    return row if text == row.text and not gone else row._replace(text=text, **gone)


def _stands_in(quoted: str, file: str) -> bool:
    """Whether each line of a signature or docstring is in its file: both are quoted with other blanks."""
    if quoted in file:
        return True
    blanked = " ".join(file.split())
    return all(" ".join(line.split()) in blanked for line in quoted.splitlines())


def _without(row: ChunkRow, purged: PurgeList) -> ChunkRow:
    shown: dict[str, Any] = {name: _masked(getattr(row, name), purged) for name in _SAID}
    return row._replace(**shown)


def _masked(text: str, purged: PurgeList) -> str:
    return purged.mask(text.encode("utf-8", "replace"))[0].decode("utf-8", "replace")


def _is_span(chunk: ChunkRow, data: bytes | None) -> bool:
    try:
        return data is not None and data[chunk.start_byte : chunk.end_byte] == chunk.text.encode(chunk.encoding)
    except UnicodeEncodeError:  # not a text of that file
        return False


def _open_lucene(folder: Path) -> tuple[LexicalIndex | None, str]:
    """The index, or None and why it cannot be used."""
    try:
        return LexicalIndex(folder), ""
    except CodeIntelError as error:
        return None, str(error)


def _open_dense(folder: Path, manifest: Manifest, device: Wanted) -> DenseIndex:
    operating = manifest.dense.get("operating", {})
    dense = DenseIndex.open(folder / "dense", Operating(**operating), device)
    if dense.primary.dimension != manifest.contract.dimension:
        raise GenerationCorrupt(
            f"generation {manifest.gen_id}: the dense index has dimension {dense.primary.dimension}, "
            f"its contract {manifest.contract.dimension}"
        )
    return dense
