"""Pages that the workers of one server share: what one of them has searched, none of the others searches again.

The parent makes memory without a name, which is gone with the last of them: no file of a repository's text is left,
whatever they die of. It is a table of slots; the digest of a page's key says which is its own, and the last that came
has it. Nobody waits for anybody: who reads while another one writes finds bytes that do not fit their checksum.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import struct
import zlib

_log = logging.getLogger("codeintel.serving")
_SLOT_BYTES = 24 << 10  # a page of ten hits has 11 to 16 kB
_MOST_SLOTS = 2_048
_HEAD = struct.Struct("<32sII")  # digest of the key, length and checksum of the page
MOST_BYTES = _SLOT_BYTES - _HEAD.size


def memory(pages: int) -> int:
    """A descriptor of memory for so many pages (2,048 at most), for children to inherit; -1 when there is none.

    All of it is taken now: where there is too little, a page that is written later would be the end of its process.
    """
    if not pages:
        return -1
    try:
        descriptor = os.memfd_create("codeintel-pages")
    except (AttributeError, OSError) as error:  # not Linux, or forbidden
        _warn(error)
        return -1
    try:
        os.posix_fallocate(descriptor, 0, min(pages, _MOST_SLOTS) * _SLOT_BYTES)
    except OSError as error:
        os.close(descriptor)
        _warn(error)
        return -1
    return descriptor


def mapped(descriptor: int) -> SharedPages | None:
    """The pages in inherited memory, empty, and the descriptor closed; None when there is none."""
    if descriptor < 0:
        return None
    try:
        pages = SharedPages(descriptor)
    except OSError as error:  # no room to map it
        _warn(error)
        return None
    finally:
        os.close(descriptor)
    pages.clear()  # by the program that runs now, and whatever was purged while no worker looked
    return pages


class SharedPages:
    """The memory, as one worker maps it; safe for several threads."""

    def __init__(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        self._map = mmap.mmap(descriptor, size)
        self._slots = size // _SLOT_BYTES

    def get(self, key: bytes) -> bytes | None:
        """The page kept under this key, by this worker or another; None when it is not there."""
        digest, at = self._place(key)
        found, length, checksum = _HEAD.unpack_from(self._map, at)
        if found != digest or length > MOST_BYTES:
            return None
        page = self._map[at + _HEAD.size : at + _HEAD.size + length]
        return page if _checksum(digest, page) == checksum else None

    def keep(self, key: bytes, page: bytes) -> None:
        """Keep a page in place of whatever has its slot; one that is larger than a slot is not kept."""
        if len(page) > MOST_BYTES:
            return
        digest, at = self._place(key)
        head = _HEAD.pack(digest, len(page), _checksum(digest, page))
        self._map[at : at + _HEAD.size + len(page)] = head + page

    def clear(self) -> None:
        """Overwrite all of it, for all workers: nothing that was in it can be read again."""
        nothing = bytes(_SLOT_BYTES)
        for slot in range(self._slots):
            self._map[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] = nothing

    def _place(self, key: bytes) -> tuple[bytes, int]:
        digest = hashlib.blake2b(key, digest_size=32).digest()
        return digest, int.from_bytes(digest[:8], "little") % self._slots * _SLOT_BYTES


def _warn(error: Exception) -> None:
    _log.warning("workers do not share pages of results: %s", error)


def _checksum(digest: bytes, page: bytes) -> int:
    return zlib.crc32(page, zlib.crc32(digest))
