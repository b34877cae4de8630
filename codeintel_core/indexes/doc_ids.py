"""Which chunk each document of a Lucene index is: an array beside the index, so that a search brings no field along.

Lucene numbers documents anew when it merges segments, and can be asked for a field of a document only one by one or by
sorting with it, which costs a search a third of its time. So whoever writes an index asks once, for all documents, and
the array bears the name of the commit that it is of: beside another one, which numbers differently, it does not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from codeintel_core.errors import LexicalUnavailable
from codeintel_core.indexes.jvm import as_json, lucene, searcher_of

PREFIX = "chunk_ids."
NO_CHUNK = -1
_PAGE = 50_000  # documents of one call: 10 MB on the heap of the JVM
# pyjnius needs to be told which of several methods or constructors is meant.
_SORT = "([Lorg/apache/lucene/search/SortField;)V"
_FIRST = "(Lorg/apache/lucene/search/Query;ILorg/apache/lucene/search/Sort;)Lorg/apache/lucene/search/TopFieldDocs;"
_NEXT = _FIRST.replace("(", "(Lorg/apache/lucene/search/ScoreDoc;", 1)
_LAST = "(IF[Ljava/lang/Object;)V"


def write(folder: Path, reader: Any) -> None:
    """Write the array of the index in `folder`, which `reader` has open and no writer; the caller holds the JVM."""
    for old in folder.glob(f"{PREFIX}*"):
        old.unlink()
    np.save(_path(folder, reader), _asked(reader), allow_pickle=False)


def load(folder: Path, reader: Any) -> NDArray[np.int64]:
    """int64 (documents,), `NO_CHUNK` where one was deleted; asked of Lucene where an older version wrote the index.

    Raises:
        LexicalUnavailable: the array is not that of the index.
    """
    path = _path(folder, reader)
    if not path.exists():
        return _asked(reader)
    found: NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(found) != int(reader.maxDoc()):
        raise LexicalUnavailable(f"{path.name} has {len(found)} documents, the Lucene index {reader.maxDoc()}")
    return found


def _path(folder: Path, reader: Any) -> Path:
    return folder / f"{PREFIX}{reader.getIndexCommit().getSegmentsFileName()}.npy"


def _asked(reader: Any) -> NDArray[np.int64]:
    found = np.full(int(reader.maxDoc()), NO_CHUNK, np.int64)
    field_class = lucene("SortField")
    order = lucene("Sort")(field_class.FIELD_DOC, field_class("id", lucene("SortFieldType").LONG), signature=_SORT)
    searcher, everything = searcher_of(reader), lucene("MatchAllDocsQuery")()
    top = searcher.search(everything, _PAGE, order, signature=_FIRST)
    while rows := [hit["fields"] for hit in orjson.loads(as_json(top))["scoreDocs"]]:
        docs, ids = zip(*rows, strict=True)
        found[list(docs)] = ids
        if len(rows) < _PAGE:
            break
        last = [lucene("Integer")(docs[-1]), lucene("Long")(ids[-1])]
        after = lucene("FieldDoc")(docs[-1], 0.0, last, signature=_LAST)
        top = searcher.searchAfter(after, everything, _PAGE, order, signature=_NEXT)
    return found
