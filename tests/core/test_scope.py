"""Scopes: a glob means the same to a plain matcher, Python, DuckDB and Lucene, and what cannot be meant is refused."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeintel_core.deadline import Deadline
from codeintel_core.errors import InvalidRequest
from codeintel_core.indexes import lexical
from codeintel_core.scope import MAX_GLOB_CHARS, MAX_GLOBS, MAX_LANGUAGES, Scope, glob_to_regex

# Letters that meet often, every operator of the three regular expression dialects, and text from far away.
_OPERATORS = "\"'@#&~<>()[]{}|^$.+\\-!=,;:% \t\n\x01\x7f"
_PATHS = st.text(st.sampled_from("aab/._é—😀" + _OPERATORS), min_size=1, max_size=8)
_GLOBS = st.lists(
    st.one_of(st.sampled_from(["**/", "**", "*", "?", "/", "a", "b"]), st.sampled_from(_OPERATORS + "é—😀")),
    min_size=1,
    max_size=8,
).map("".join)


def _matches(glob: str, path: str) -> bool:
    """The plain meaning of a glob, by trying every way to spend the path's characters."""
    if not glob:
        return not path
    if glob.startswith("**/"):
        starts = [0, *(i + 1 for i, char in enumerate(path) if char == "/")]
        return any(_matches(glob[3:], path[start:]) for start in starts)
    if glob.startswith("**"):
        return any(_matches(glob[2:], path[i:]) for i in range(len(path) + 1))
    if glob[0] == "*":
        reach = len(path.split("/", 1)[0])
        return any(_matches(glob[1:], path[i:]) for i in range(reach + 1))
    if not path:
        return False
    return (path[0] != "/" if glob[0] == "?" else path[0] == glob[0]) and _matches(glob[1:], path[1:])


def _plain(glob: str, path: str) -> bool:
    return _matches(glob + "**" if glob.endswith("/") else glob, path)


@pytest.mark.parametrize(
    ("glob", "inside", "outside"),
    [
        ("src/", ["src/a", "src/a/b"], ["src", "asrc/a", "lib/src/a"]),
        ("*.py", ["a.py", ".py"], ["src/a.py", "a.pyi", "aXpy"]),
        ("**/*.py", ["a.py", "src/a.py", "a/b/c.py"], ["a.pyc"]),
        ("src/**/test.py", ["src/test.py", "src/a/b/test.py"], ["src/atest.py"]),
        ("a?c", ["abc", "a😀c", "a\nc"], ["a/c", "ac"]),
        ("a_b%", ["a_b%"], ["axb", "a_b", "a_bc"]),
        ("{a,b}[cd]", ["{a,b}[cd]"], ["ac", "bd"]),
        ('"a"@#&~<1-5>\\', ['"a"@#&~<1-5>\\'], ["a", "3"]),
        ("a—b/**", ["a—b/x\ny"], ["a-b/x"]),
    ],
)
def test_meaning(glob: str, inside: list[str], outside: list[str]) -> None:
    regex = glob_to_regex(glob)
    assert [path for path in inside + outside if re.fullmatch(regex, path)] == inside
    assert [path for path in inside + outside if _plain(glob, path)] == inside


@settings(max_examples=250)
@given(_GLOBS, st.lists(_PATHS, min_size=1, max_size=4))
def test_python_and_duckdb_agree_with_the_plain_meaning(glob: str, paths: list[str]) -> None:
    paths = [*paths, glob, glob.replace("*", "a").replace("?", "b")]
    expected = [_plain(glob, path) for path in paths]
    regex = glob_to_regex(glob)
    assert [re.fullmatch(regex, path) is not None for path in paths] == expected
    query = "SELECT regexp_full_match(path, $regex) FROM (SELECT unnest($paths) AS path)"
    found = _duckdb.execute(query, {"regex": regex, "paths": paths}).fetchall()
    assert [row[0] for row in found] == expected


_duckdb = duckdb.connect()


def test_lucene_agrees_with_the_plain_meaning(tmp_path: Path) -> None:
    """One index of awkward paths, asked with globs made of the same characters (and each path as its own glob)."""
    alphabet = "aab/._é—😀" + _OPERATORS
    random = np.random.default_rng(7)
    paths = ["".join(random.choice(list(alphabet), random.integers(1, 8))) for _ in range(150)]
    paths += [
        "src/a.py",
        "src/deep/a.py",
        "a.py",
        'say "hi".py',
        "a@b#c&d~e<1-5>.py",
        "x{1,2}[a-z](b)|^$+.py",
        "back\\d",
    ]
    paths = list(dict.fromkeys(path for path in paths if "*" not in path and "?" not in path))
    docs = [lexical.LexicalDocument(i, ["t"], path, "", "source") for i, path in enumerate(paths)]
    lexical.write(tmp_path / "lucene", add=docs)
    index = lexical.LexicalIndex(tmp_path / "lucene")
    searcher = lexical.LexicalSearcher([index])
    pieces = ["**/", "**", "*", "?", "/", "a", *_OPERATORS, "é", "—", "😀"]
    globs = ["".join(random.choice(pieces, random.integers(1, 6))) for _ in range(150)]
    for glob in [*globs, *paths, "**/*.py", "src/"]:
        ids, _ = searcher.search([("t", 1.0)], len(paths), Scope(paths=(glob,)), Deadline.after(60))
        assert sorted(paths[i] for i in ids) == sorted(path for path in paths if _plain(glob, path)), glob
    index.close()


def test_several_globs_are_a_union() -> None:
    regex = Scope(paths=("src/", "*.md")).path_regex()
    found = [path for path in ("src/a", "b.md", "docs/b.md", "srcx") if re.fullmatch(regex, path)]
    assert found == ["src/a", "b.md"]
    assert Scope().path_regex() == ""


@pytest.mark.parametrize("glob", ["", "a\0b", "x" * (MAX_GLOB_CHARS + 1), "*" * 21, "a\ud800"])
def test_globs_that_are_refused(glob: str) -> None:
    with pytest.raises(InvalidRequest):
        Scope(paths=(glob,))


def test_limits_are_named() -> None:
    Scope(paths=("a",) * MAX_GLOBS, languages=("go",) * MAX_LANGUAGES)
    with pytest.raises(InvalidRequest, match=str(MAX_GLOBS)):
        Scope(paths=("a",) * (MAX_GLOBS + 1))
    with pytest.raises(InvalidRequest, match=str(MAX_LANGUAGES)):
        Scope(languages=("go",) * (MAX_LANGUAGES + 1))
    with pytest.raises(InvalidRequest, match="Unicode"):
        Scope(languages=("\ud800",))


def test_classes_that_are_left_out() -> None:
    assert not Scope(repos=("a",)).filters_chunks
    assert Scope(include_tests=False).excluded_classes == ("test",)
    assert Scope(include_generated=False).excluded_classes == ("generated", "minified", "vendored")
    assert Scope(include_tests=False).filters_chunks
