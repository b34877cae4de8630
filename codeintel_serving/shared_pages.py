"""Pages that the workers of one server share: what one of them has searched, none of the others searches again.

The parent makes memory without a name, which is gone with the last of them: nothing of a repository is left on a disk,
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
_SLOT_BYTES = 32 << 10  # a page of ten hits has 15 kB; memory is taken as it is written
_HEAD = struct.Struct("<32sII")  # digest of the key, length and checksum of the page
MOST_BYTES = _SLOT_BYTES - _HEAD.size


def memory(pages: int) -> int:
    """A descriptor of memory for so many pages, for children to inherit; -1 when none is wanted, or to be had."""
    if not pages:
        return -1
    try:
        descriptor = os.memfd_create("codeintel-pages")
        os.ftruncate(descriptor, pages * _SLOT_BYTES)
    except (AttributeError, OSError) as error:  # not Linux, or forbidden
        _log.warning("workers do not share pages of results: %s", error)
        return -1
    return descriptor


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

    def keep(self, key: bytes, page: bytes) -> bool:
        """Keep a page in place of whatever has its slot; False when it is larger than a slot."""
        if len(page) > MOST_BYTES:
            return False
        digest, at = self._place(key)
        head = _HEAD.pack(digest, len(page), _checksum(digest, page))
        self._map[at : at + _HEAD.size + len(page)] = head + page
        return True

    def clear(self) -> None:
        """Give the memory back to the system, for all workers: nothing that was in it can be read again."""
        self._map.madvise(mmap.MADV_REMOVE)

    def _place(self, key: bytes) -> tuple[bytes, int]:
        digest = hashlib.blake2b(key, digest_size=32).digest()
        return digest, int.from_bytes(digest[:8], "little") % self._slots * _SLOT_BYTES


def _checksum(digest: bytes, page: bytes) -> int:
    return zlib.crc32(page, zlib.crc32(digest))
