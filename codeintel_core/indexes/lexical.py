"""The lexical index: Lucene BM25 over our own terms, written and read with plain Lucene classes.

Documents hold pre-tokenised terms in one field, so no query parser and no analyzer of Lucene's is involved:
nothing a user types can be syntax. Segments are write-once, so the files of a parent generation are hard-linked
and a new generation only adds deletions and new segments.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from codeintel_core.deadline import Deadline
from codeintel_core.errors import InvalidRequest, LexicalUnavailable
from codeintel_core.indexes import doc_ids
from codeintel_core.indexes.jvm import as_json, first_line, java, lucene, searcher_of
from codeintel_core.scope import Scope, glob_to_regex

BM25_K1 = 1.2
BM25_B = 0.75
_MAX_QUERY_TERMS = 256
# pyjnius needs to be told which of several methods or constructors is meant.
_ID = "(Ljava/lang/String;J)V"
_BEST = "(Lorg/apache/lucene/search/Query;I)Lorg/apache/lucene/search/TopDocs;"
_FILTERS = ("path", "language", "file_class")
_FIELD = "(Ljava/lang/String;Ljava/lang/CharSequence;Lorg/apache/lucene/index/IndexableFieldType;)V"


@dataclass(frozen=True, slots=True)
class LexicalDocument:
    """What Lucene knows of a chunk."""

    chunk_id: int
    terms: Sequence[str]
    path: str
    language: str
    file_class: str


def write(
    folder: Path,
    *,
    add: Iterable[LexicalDocument],
    delete: Iterable[int] = (),
    analyzer: Callable[[], Any] | None = None,
) -> int:
    """Delete and add documents in the index at `folder` (created when empty), commit; returns its document count.

    `analyzer` makes the Lucene analyzer of the terms; without one they are split at blanks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with java():
        count = _write(folder, add, delete, analyzer() if analyzer else lucene("WhitespaceAnalyzer")())
    (folder / "write.lock").unlink(missing_ok=True)
    return count


def _write(folder: Path, add: Iterable[LexicalDocument], delete: Iterable[int], analyzer: Any) -> int:
    config = lucene("IndexWriterConfig")(analyzer)
    config.setUseCompoundFile(True)
    config.setMergeScheduler(lucene("SerialMergeScheduler")())
    config.setRAMBufferSizeMB(64.0)
    directory = lucene("FSDirectory").open(lucene("Paths").get(str(folder)))
    writer = lucene("IndexWriter")(directory, config)
    try:
        nothing = lucene("ArrayList")()
        for chunk_id in delete:
            # deleteDocuments cannot be called through pyjnius; replacing by nothing is the same.
            _replace(writer, lucene("Term")("id", str(chunk_id)), nothing)
        terms_type, key_type, filter_type = _field_types()
        field_class = lucene("Field")
        key = field_class("id", "", key_type, signature=_FIELD)  # to delete it by
        number = lucene("NumericDocValuesField")("id", 0, signature=_ID)  # to find it by
        terms = field_class("terms", "", terms_type, signature=_FIELD)
        filters = {name: field_class(name, "", filter_type, signature=_FIELD) for name in _FILTERS}
        doc = lucene("Document")()  # one for all, filled anew for each: half of the calls of making them
        for field in (key, number, terms, *filters.values()):
            doc.add(field)
        for document in add:
            key.setStringValue(str(document.chunk_id))
            number.setLongValue(document.chunk_id)
            terms.setStringValue(" ".join(document.terms))
            for name, field in filters.items():
                field.setStringValue(getattr(document, name))
            writer.addDocument(doc)
        writer.commit()
        writer.close()  # which commits what it merged after the commit, with other document numbers
        with closing(lucene("DirectoryReader").open(directory)) as reader:
            doc_ids.write(folder, reader)
            return int(reader.numDocs())
    finally:
        writer.close()
        directory.close()


def link_segments(parent: Path, folder: Path) -> None:
    """Hard-link the segments of a published index into a new folder, to be changed by `write`."""
    folder.mkdir(parents=True)
    for file in parent.iterdir():
        if not file.name.startswith(doc_ids.PREFIX):  # `write` makes it anew
            os.link(file, folder / file.name)


class LexicalIndex:
    """A published Lucene index, open for reading; safe from several threads, one at a time.

    Attributes:
        reader: the Java reader.
        chunk_ids: which chunk each of its documents is, int64 (documents,); no search finds those that were deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._when_closed: set[Callable[[LexicalIndex], None]] = set()
        try:
            with java():
                path = lucene("Paths").get(str(folder))
                self._directory = lucene("FSDirectory").open(path, lucene("NoLockFactory").INSTANCE)
                self.reader = lucene("DirectoryReader").open(self._directory)
                try:
                    self.chunk_ids = doc_ids.load(folder, self.reader)
                except BaseException:
                    self.close()
                    raise
        except LexicalUnavailable:
            raise
        except Exception as error:  # pyjnius raises JavaException, which cannot be imported before the JVM starts
            raise LexicalUnavailable(f"the Lucene index cannot be opened: {first_line(error)}") from error

    @property
    def count(self) -> int:
        """Number of live documents."""
        with java():
            return int(self.reader.numDocs())

    def when_closed(self, callback: Callable[[LexicalIndex], None]) -> None:
        """Call back when the index is closed, so that nobody keeps a searcher of closed files."""
        self._when_closed.add(callback)

    def close(self) -> None:
        """Release the reader's files."""
        for callback in self._when_closed:
            callback(self)
        self._when_closed.clear()
        with java():
            self.reader.close()
            self._directory.close()


class LexicalSearcher:
    """BM25 over one or many indexes with common statistics (Lucene MultiReader).

    Attributes:
        count: live documents of all of them.
    """

    stage = "lexical search"

    def __init__(self, indexes: Sequence[LexicalIndex]) -> None:
        readers = [index.reader for index in indexes]
        with java():
            reader = readers[0] if len(readers) == 1 else lucene("MultiReader")(readers, False)
            self._searcher = searcher_of(reader)
            self._searcher.setSimilarity(self._similarity())
            self.count = int(reader.numDocs())
            self._reader = reader
            self._terms = lucene("QueryBuilder")(lucene("WhitespaceAnalyzer")())
        self._chunk_ids = [index.chunk_ids for index in indexes]
        self._last_docs = np.cumsum([len(ids) for ids in self._chunk_ids])

    @staticmethod
    def _similarity() -> Any:
        """The Lucene similarity that scores a term."""
        return lucene("BM25Similarity")(BM25_K1, BM25_B)

    def frequencies(self, terms: Sequence[str], deadline: Deadline) -> list[int]:
        """In how many chunks each term occurs, those that were deleted since the last merge included.

        Raises:
            DeadlineExceeded: the deadline passed while other threads searched.
        """
        with java(deadline):
            term_class = lucene("Term")
            return [int(self._reader.docFreq(term_class("terms", term))) for term in terms]

    def search(
        self, terms: Sequence[tuple[str, float]], k: int, scope: Scope, deadline: Deadline
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """`search_owned` without the owners."""
        ids, scores, _ = self.search_owned(terms, k, scope, deadline)
        return ids, scores

    def search_owned(
        self, terms: Sequence[tuple[str, float]], k: int, scope: Scope, deadline: Deadline
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The best `k` chunks for weighted terms, best first: ids, scores, and which of the indexes holds each.

        Raises:
            DeadlineExceeded: the deadline passed, perhaps while other threads searched.
            InvalidRequest: a glob of the scope needs too large an automaton.
        """
        if not terms:
            return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
        with java(deadline):
            query = self._query(terms[:_MAX_QUERY_TERMS], scope)
            top = self._searcher.search(query, k, signature=_BEST)
            deadline.check(self.stage)
            text = as_json(top)
        hits = orjson.loads(text)["scoreDocs"]
        docs = np.array([hit["doc"] for hit in hits], np.int64)
        scores = np.array([hit["score"] for hit in hits], np.float32)  # written so that it reads back equal
        owners = np.searchsorted(self._last_docs, docs, side="right")
        return self._ids(docs, owners), scores, owners

    def _ids(self, docs: NDArray[np.int64], owners: NDArray[np.int64]) -> NDArray[np.int64]:
        """A MultiReader numbers the documents of its readers one after the other."""
        if len(self._chunk_ids) == 1:
            return self._chunk_ids[0][docs]
        ids = np.empty_like(docs)
        for owner in np.unique(owners).tolist():
            mine, first = owners == owner, self._last_docs[owner] - len(self._chunk_ids[owner])
            ids[mine] = self._chunk_ids[owner][docs[mine] - first]
        return ids

    def _query(self, terms: Sequence[tuple[str, float]], scope: Scope) -> Any:
        """Runs of terms that count once take one call, not four for each; Lucene makes one disjunction of all."""
        runs = [(is_plain, [*run]) for is_plain, run in groupby(terms, lambda one: one[1] == 1.0)]
        clauses = [clause for is_plain, run in runs for clause in ([self._plain(run)] if is_plain else _boosted(run))]
        query = clauses[0] if len(clauses) == 1 else _any_of(clauses)
        return _inside(query, scope) if scope.filters_chunks else query

    def _plain(self, terms: Sequence[tuple[str, float]]) -> Any:
        return self._terms.createBooleanQuery("terms", " ".join(term for term, _ in terms))


def _boosted(terms: Sequence[tuple[str, float]]) -> list[Any]:
    term_class, term_query, boost = lucene("Term"), lucene("TermQuery"), lucene("BoostQuery")
    return [boost(term_query(term_class("terms", term)), weight) for term, weight in terms]


def _any_of(clauses: Sequence[Any]) -> Any:
    should, builder = lucene("Occur").SHOULD, lucene("BooleanQueryBuilder")()
    for clause in clauses:
        builder.add(clause, should)
    return builder.build()


def _inside(query: Any, scope: Scope) -> Any:
    term_class, term_query, occur = lucene("Term"), lucene("TermQuery"), lucene("Occur")
    outer = lucene("BooleanQueryBuilder")()
    outer.add(query, occur.MUST)
    if scope.paths:
        paths = _paths(scope.paths)
        outer.add(paths, occur.FILTER)
    if scope.languages:
        languages = lucene("BooleanQueryBuilder")()
        for language in scope.languages:
            languages.add(term_query(term_class("language", language)), occur.SHOULD)
        outer.add(languages.build(), occur.FILTER)
    for file_class in scope.excluded_classes:
        outer.add(term_query(term_class("file_class", file_class)), occur.MUST_NOT)
    return outer.build()


def _paths(globs: Sequence[str]) -> Any:
    """Any of the globs; one small automaton each, since the union of many is slow to determinise."""
    paths = lucene("BooleanQueryBuilder")()
    for glob in globs:
        try:
            query = lucene("RegexpQuery")(lucene("Term")("path", glob_to_regex(glob)))
        except Exception as error:  # pyjnius raises JavaException, which cannot be imported before the JVM starts
            if "TooComplexToDeterminize" not in str(error):
                raise
            raise InvalidRequest(f"the path glob '{glob}' is too complex for lexical search; use fewer '?'") from None
        paths.add(query, lucene("Occur").SHOULD)
    return paths.build()


def _replace(writer: Any, term: Any, documents: Any) -> None:
    writer.updateDocuments(term, documents, signature="(Lorg/apache/lucene/index/Term;Ljava/lang/Iterable;)J")


def _field_types() -> tuple[Any, Any, Any]:
    options = lucene("IndexOptions")
    terms = lucene("FieldType")()
    terms.setIndexOptions(options.DOCS_AND_FREQS)
    terms.setTokenized(True)
    terms.freeze()
    key = lucene("FieldType")()
    key.setIndexOptions(options.DOCS)
    key.setTokenized(False)
    key.setOmitNorms(True)
    key.freeze()
    return terms, key, lucene("StringField").TYPE_NOT_STORED
