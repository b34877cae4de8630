"""What git says, as it may be shown: secrets and what was purged masked, byte for byte, line breaks left in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from codeintel_core.deadline import Deadline
from codeintel_core.errors import GitFailed
from codeintel_core.home import Home
from codeintel_core.repository.bounded import bounded_git
from codeintel_core.secrets import purged, redact_bytes
from codeintel_core.secrets.purged import PurgeList
from codeintel_core.watched import Stamp

_MOST_BLOB_BYTES = 4_000_000
_INDEX = re.compile(rb"(?m)^index ([0-9a-f]{40,64})\.\.([0-9a-f]{40,64})")
_HUNK = re.compile(rb"(?m)^(@@ -[0-9,]+ \+[0-9,]+ @@).*$")
_SHORT = 10


class Masks:
    """The masks of what a mirror holds; what is purged meanwhile counts from then on."""

    def __init__(self, mirror: Path) -> None:
        self._mirror = mirror
        self._purged = purged.CurrentList(Home(mirror.parent.parent.parent).purged)

    def data(self, data: bytes) -> bytes:
        """The whole content of a file."""
        return redact_bytes(data, self._purged.get().spans(data))[0]

    def hides(self, path: str, blob: str) -> bool:
        """Whether a file was purged as a whole."""
        return self._purged.get().skips(self._mirror.parent.name, path, blob)

    def hidden_now(self) -> Callable[[str, str], bool] | None:
        """`hides` by the list as it is now: one look at it for many files. None: it hides no file."""
        now = self._purged.get()
        return partial(now.skips, self._mirror.parent.name) if now.paths or now.blobs else None

    def purged_now(self) -> PurgeList | None:
        """The list as it is now; None: nothing was purged."""
        now = self._purged.get()
        return None if now.is_empty else now

    def stamp(self) -> Stamp:
        """Tells the list that counts now from the next."""
        return self._purged.stamp()

    def text(self, text: str) -> str:
        """A message or a name."""
        return self.data(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def patch(self, patch: bytes, deadline: Deadline) -> bytes:
        """A patch that git wrote with `--full-index`; its object ids are shortened.

        It shows parts of files, and a part of a secret has no mark that tells it (the middle of a key). So its lines
        are masked as the whole files have them, and then as they stand, without the column of signs.

        Raises:
            DeadlineExceeded: the files could not be read in time.
        """
        of_files = dict(self._masked_lines(patch, deadline))
        patch = _INDEX.sub(lambda m: b"index %s..%s" % (m[1][:_SHORT], m[2][:_SHORT]), patch)
        if of_files:
            patch = _HUNK.sub(rb"\1", patch)  # what follows is the beginning of a line above
        signs, bodies = [], []
        for line in patch.split(b"\n"):
            signs.append(line[:1])
            bodies.append(of_files.get(line[1:], line[1:]))
        masked = self.data(b"\n".join(bodies)).split(b"\n")
        return b"\n".join(sign + body for sign, body in zip(signs, masked, strict=True))

    def _masked_lines(self, patch: bytes, deadline: Deadline) -> Iterator[tuple[bytes, bytes]]:
        """Lines of the files that the patch is about that are masked there, and what they become."""
        for oid in dict.fromkeys(oid.decode() for pair in _INDEX.findall(patch) for oid in pair if oid.strip(b"0")):
            try:
                whole = bounded_git(
                    self._mirror, ["cat-file", "blob", oid], deadline=deadline, max_bytes=_MOST_BLOB_BYTES
                ).data
            except GitFailed:  # the commit of a submodule
                continue
            masked = self.data(whole)
            if masked != whole:
                yield from (
                    (line, shown)
                    for line, shown in zip(whole.split(b"\n"), masked.split(b"\n"), strict=True)
                    if line != shown
                )
