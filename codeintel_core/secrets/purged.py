"""What was purged and must not come back (`Home.purged`): fingerprints of texts, patterns, paths and blobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import re2

from codeintel_core import durable
from codeintel_core.secrets.fingerprint import Fingerprint
from codeintel_core.secrets.redaction import mask_spans
from codeintel_core.watched import Stamp, Watched

SKIP_REASON = "purged"


@dataclass(frozen=True, slots=True)
class PurgeList:
    """Entries that every build and every reader of files applies.

    Attributes:
        texts: masked wherever they stand.
        patterns: RE2; every match is masked.
        paths: (repository, path) of files that are not read.
        blobs: git object ids that are not read, under any name.
    """

    texts: tuple[Fingerprint, ...] = ()
    patterns: tuple[str, ...] = ()
    paths: frozenset[tuple[str, str]] = frozenset()
    blobs: frozenset[str] = frozenset()
    _finders: tuple[Callable[[bytes], Iterator[tuple[int, int]]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        finders = [*map(_text_finder, self.texts), *map(pattern_finder, self.patterns)]
        object.__setattr__(self, "_finders", tuple(finders))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was purged."""
        return not (self._finders or self.paths or self.blobs)

    def skips(self, repo: str, path: str, blob: str) -> bool:
        """Whether a file is not read."""
        return (repo, path) in self.paths or blob in self.blobs

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where purged texts stand, as byte offsets (start, end); they may overlap."""
        return [span for finder in self._finders for span in finder(data)]

    def mask(self, data: bytes) -> tuple[bytes, int]:
        """`data` with purged texts as `*`, line breaks kept, and how many there were.

        Not for what files hold: their secrets are masked in the same look (`redact_bytes`).
        """
        spans = self.spans(data)
        return mask_spans(data, spans), len(spans)


def load(path: Path) -> PurgeList:
    """The list in `path` (`Home.purged`); empty when there is none."""
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return PurgeList()
    return PurgeList(
        tuple(Fingerprint(**text) for text in stored["texts"]),
        tuple(stored["patterns"]),
        frozenset((repo, name) for repo, name in stored["paths"]),
        frozenset(stored["blobs"]),
    )


def state(path: Path) -> str:
    """Names what the list in `path` says now; '' when there is none."""
    try:
        return state_of(path.read_bytes())
    except FileNotFoundError:
        return ""


def state_of(document: bytes) -> str:
    """The same of its bytes."""
    return hashlib.sha256(document).hexdigest() if document else ""


class CurrentList:
    """The list in a file as it is now: read again when the file was replaced. Safe for several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = Watched(path)
        self._known: tuple[Stamp, PurgeList] | None = None
        self._looked_at: tuple[Stamp] | None = None

    def get(self) -> PurgeList:
        """The list."""
        seen = self.stamp()
        if self._known is None or self._known[0] != seen:
            self._known = seen, load(self._path)
        return self._known[1]

    def has_changed(self) -> bool:
        """Whether the file was replaced since this was last asked; not at first."""
        known, self._looked_at = self._looked_at, (self.stamp(),)
        return known is not None and known != self._looked_at

    def stamp(self) -> Stamp:
        """Tells one list from the next, None when there is none."""
        return self._file.stamp()


def save(path: Path, entries: PurgeList) -> None:
    """Replace the list, durably and readable by the owner only."""
    stored = {
        "texts": [asdict(text) for text in entries.texts],
        "patterns": list(entries.patterns),
        "paths": sorted(map(list, entries.paths)),
        "blobs": sorted(entries.blobs),
    }
    durable.replace(path, json.dumps(stored, indent=1).encode(), mode=0o600)


def pattern_finder(pattern: str) -> Callable[[bytes], Iterator[tuple[int, int]]]:
    """A function that yields the spans of an RE2 pattern in UTF-8 bytes, of whole characters; raises `re2.error`."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    compiled = re2.compile(pattern.encode(), options)

    def find(data: bytes) -> Iterator[tuple[int, int]]:
        return (_whole(data, *match.span()) for match in compiled.finditer(data) if match.end() > match.start())

    return find


def _whole(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The span with the rest of the characters that it cuts: a file with half a character is no UTF-8 any more."""
    return _character(data, start)[0], _character(data, end - 1)[1]


def _character(data: bytes, at: int) -> tuple[int, int]:
    """Where the UTF-8 character is that the byte belongs to; the byte itself where that is none."""
    for start in range(at, max(-1, at - 4), -1):
        for end in range(at + 1, start + 5):
            with suppress(UnicodeDecodeError):
                if len(data[start:end].decode()) == 1:
                    return start, end
    return at, at + 1


def _text_finder(text: Fingerprint) -> Callable[[bytes], Iterator[tuple[int, int]]]:
    def find(data: bytes) -> Iterator[tuple[int, int]]:
        return ((start, start + text.length) for start in text.find(data))

    return find
