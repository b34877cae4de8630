"""Which chunk each document of a Lucene index is: an array beside the index, so that a search brings no field along.

Lucene numbers documents anew when it merges segments, and can be asked for a field of a document only one by one (1 us
each, in order) or by sorting with it, which costs a search a third of its time. So whoever writes an index asks once,
and the array bears the name of the commit that it is of: beside another one, which numbers differently, it does not
count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeintel_core.errors import LexicalUnavailable
from codeintel_core.indexes import ids_file

PREFIX = "chunk_ids."
_NO_MORE_DOCS = 2**31 - 1  # DocIdSetIterator.NO_MORE_DOCS


def write(folder: Path, reader: Any) -> None:
    """Write the array of the index in `folder`, which `reader` has open and no writer; the caller holds the JVM."""
    for old in folder.glob(f"{PREFIX}*"):
        old.unlink()
    np.save(_path(folder, reader), _asked(reader), allow_pickle=False)


def load(folder: Path, reader: Any) -> NDArray[np.int64]:
    """int64 (documents,); of a deleted one its chunk or -1. Lucene is asked where an older version wrote the index.

    Raises:
        LexicalUnavailable: the array is not that of the index.
    """
    path = _path(folder, reader)
    if not path.exists():
        return _asked(reader)
    found = ids_file.mapped(path)
    if len(found) != int(reader.maxDoc()):
        raise LexicalUnavailable(f"{path.name} has {len(found)} documents, the Lucene index {reader.maxDoc()}")
    return found


def count(folder: Path) -> int:
    """Documents of the index in `folder`, about, from the size of the array: nothing is opened."""
    return sum(path.stat().st_size // np.int64().itemsize for path in folder.glob(f"{PREFIX}*"))


def _path(folder: Path, reader: Any) -> Path:
    return folder / f"{PREFIX}{reader.getIndexCommit().getSegmentsFileName()}.npy"


def _asked(reader: Any) -> NDArray[np.int64]:
    found = np.full(int(reader.maxDoc()), -1, np.int64)
    leaves = reader.leaves()
    for at in range(leaves.size()):
        leaf = leaves.get(at)
        values, first = leaf.reader().getNumericDocValues("id"), leaf.docBase
        following, value = values.nextDoc, values.longValue  # looked up once: half the time of a call
        while (doc := following()) != _NO_MORE_DOCS:
            found[first + doc] = value()
    return found
