"""Uses of names: once per line and name, without the names of definitions and what is too short to look for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from codeintel_core.chunking.context import decoded

if TYPE_CHECKING:
    import tree_sitter

MAX_REFERENCES_PER_FILE = 5_000
_MIN_NAME_CHARS = 3
_SELF = frozenset({"self", "this", "cls", "super"})


def references(nodes: Sequence[tree_sitter.Node], named: Iterable[int], data: bytes) -> tuple[list[str], list[int]]:
    """Names and their lines (from 0), in file order, capped.

    Args:
        nodes: every use of a name.
        named: where (in bytes) definitions have their own names.
        data: the file.
    """
    starts = np.array([node.start_byte for node in nodes], dtype=np.int64)
    ends = np.array([node.end_byte for node in nodes], dtype=np.int64)
    is_named = np.zeros(len(data) + 1, dtype=np.bool_)
    is_named[list(named)] = True
    wanted = (ends - starts >= _MIN_NAME_CHARS) & ~is_named[starts]
    order = np.lexsort((ends[wanted], starts[wanted]))
    starts, ends = starts[wanted][order], ends[wanted][order]
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    words = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    pairs = dict.fromkeys(zip(words, np.searchsorted(newlines, starts).tolist(), strict=True))
    spelt = {word: decoded(word) for word in dict.fromkeys(words)}
    names = {word: name for word, name in spelt.items() if len(name) >= _MIN_NAME_CHARS and name not in _SELF}
    kept = [pair for pair in pairs if pair[0] in names][:MAX_REFERENCES_PER_FILE]
    return [names[word] for word, _ in kept], [line for _, line in kept]
