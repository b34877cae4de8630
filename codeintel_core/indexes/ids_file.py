"""Chunk ids in `.npy` files, mapped without NumPy's reader.

That one reads the header with `ast`, which counts how deep it is for the whole interpreter: CPython 3.11 fails now and
then with `SystemError: AST constructor recursion depth mismatch` when several threads read one at the same time
(https://github.com/python/cpython/issues/106905), as a server does that opens its repositories.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codeintel_core.errors import GenerationCorrupt

_HEADER = re.compile(r"\{'descr': '<i8', 'fortran_order': False, 'shape': \((\d+),\), \}\s*")
_SIZE_BYTES = {(1, 0): 2, (2, 0): 4}  # of the header's length, by version of the format


def mapped(path: Path) -> NDArray[np.int64]:
    """int64 (rows,), as `np.save` wrote it, read-only.

    Raises:
        GenerationCorrupt: it holds something else, or less than its header says.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = file.read(int.from_bytes(file.read(_SIZE_BYTES[version]), "little")).decode("latin-1")
            start = file.tell()
        if (found := _HEADER.fullmatch(header)) is None:
            raise ValueError(header)
        rows = int(found[1])
        return np.memmap(path, np.int64, "r", start, (rows,)) if rows else np.empty(0, np.int64)
    except (ValueError, KeyError):
        raise GenerationCorrupt(f"{path.name} is damaged: it does not hold the ids that its header promises") from None
