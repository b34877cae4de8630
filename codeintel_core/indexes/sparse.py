"""The impact index: learned sparse vectors in Lucene, an impact where a term's frequency would be.

Everything else is the lexical index: hard-linked segments, deletions, scopes, and many repositories at once. A score
is the dot product of the query's and the chunk's impacts: a sum of integers without statistics of the collection, so
an incremental index, a rebuilt one and one among others give the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codeintel_core.embedding.sparse.contract import Impacts
from codeintel_core.indexes import lexical
from codeintel_core.indexes.jvm import lucene
from codeintel_core.indexes.lexical import LexicalDocument, LexicalSearcher

# pyjnius needs to be told which overload takes a Java map.
_STAGE = "(Ljava/lang/String;Ljava/util/Map;)Lorg/apache/lucene/analysis/custom/CustomAnalyzer$Builder;"


@dataclass(frozen=True, slots=True)
class SparseDocument:
    """What the impact index knows of a chunk."""

    chunk_id: int
    impacts: Impacts
    path: str
    language: str
    file_class: str


def write(folder: Path, *, add: Iterable[SparseDocument], delete: Iterable[int] = ()) -> int:
    """Delete and add documents in the index at `folder` (created when empty), commit; returns its document count."""
    documents = (
        LexicalDocument(
            one.chunk_id,
            [f"{term}|{impact}" for term, impact in one.impacts.tolist()],
            one.path,
            one.language,
            one.file_class,
        )
        for one in add
    )
    return lexical.write(folder, add=documents, delete=delete, analyzer=_analyzer)


def query_terms(impacts: Impacts) -> list[tuple[str, float]]:
    """A query's impacts as weighted terms of `SparseSearcher`, strongest first."""
    return [(str(term), float(impact)) for term, impact in sorted(impacts.tolist(), key=lambda one: -one[1])]


class SparseSearcher(LexicalSearcher):
    """Dot products over one or many impact indexes."""

    stage = "sparse search"

    @staticmethod
    def _similarity() -> Any:
        return lucene("ImpactSimilarity")()


def _analyzer() -> Any:
    """Splits at blanks and reads `term|impact`: the impact becomes the term's frequency in the document."""
    builder = lucene("CustomAnalyzer").builder()
    builder = builder.withTokenizer("whitespace", lucene("HashMap")(), signature=_STAGE)
    builder = builder.addTokenFilter("delimitedTermFrequency", lucene("HashMap")(), signature=_STAGE)
    return builder.build()
