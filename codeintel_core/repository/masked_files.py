"""Files of a commit as they may be shown; what was read and masked lately is kept, for all repositories together.

A path of a commit names the same bytes for ever, so only the purge list can make what is kept wrong: its stamp is part
of the key, taken before the file is masked, so that no file is found under a list that its masks do not cover.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cachetools import LRUCache

from codeintel_core.repository.masks import Masks
from codeintel_core.repository.objects import ObjectReader

_MOST_BYTES = 16 << 20
_MOST_FILE_BYTES = 1 << 20  # a larger one would push out too many
_Key = tuple[Masks, tuple[int, ...] | None, str, str]
_kept: LRUCache[_Key, bytes] = LRUCache(_MOST_BYTES, getsizeof=len)
_lock = threading.Lock()


def at(objects: ObjectReader, masks: Masks, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
    """Contents of files of the resolved commit by path, masked; what is not a file there is left out.

    Raises:
        GitFailed, asyncio.CancelledError: as `ObjectReader.files_at`, which reads what is not kept.
    """
    stamp = masks.stamp()
    keys: dict[str, _Key] = {path: (masks, stamp, commit, path) for path in paths}
    with _lock:
        found = {path: _kept[key] for path, key in keys.items() if key in _kept}
    missing = [path for path in keys if path not in found]
    if not missing:
        return found
    read = {path: masks.data(data) for path, data in objects.files_at(commit, missing).items()}
    with _lock:
        for path, data in read.items():
            if len(data) <= _MOST_FILE_BYTES:
                _kept[keys[path]] = data
    return found | read


def forget(masks: Masks) -> None:
    """Drop what is kept under these masks, because their reader is closed."""
    with _lock:
        for key in [key for key in _kept if key[0] is masks]:
            del _kept[key]
