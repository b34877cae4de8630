"""Chunks are exact, disjoint, complete, bounded and stable, for any bytes and for the samples of every language."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codeintel_core.chunking import FileChunks, chunk_file, skipped_file
from codeintel_core.home import Home
from codeintel_core.repository.masks import Masks
from codeintel_core.schemas import CHUNKS, FILES, SYMBOLS
from codeintel_core.secrets import purged
from codeintel_core.secrets.purged import PurgeList
from tests.core.secrets.planted import PASSWORD

from .test_spans import SAMPLES

MAX_TOKENS = 40


class WordTokens:
    """A stand-in tokenizer: words and marks."""

    def before(self, data: bytes, encoding: str, bounds: NDArray[np.int64]) -> list[int]:
        lines = pairwise(bounds.tolist())
        return [0, *accumulate(self.count(data[start:end].decode(encoding)) for start, end in lines)]

    def count(self, text: str) -> int:
        return len(re.findall(r"\w+|[^\w\s]", text))


def chunked(path: str, data: bytes, max_tokens: int = MAX_TOKENS, max_file_bytes: int = 1_000_000) -> FileChunks:
    return chunk_file("repo", path, "blob", data, WordTokens(), max_tokens, max_file_bytes)


def check(result: FileChunks, data: bytes, max_tokens: int = MAX_TOKENS) -> None:
    covered: set[int] = set()
    end_line = end_byte = 0
    for chunk in result.chunks:
        assert data[chunk.start_byte : chunk.end_byte].decode(chunk.encoding) == chunk.text
        assert chunk.start_line == data[: chunk.start_byte].count(b"\n") + 1 > end_line
        assert chunk.end_line == data[: chunk.end_byte].count(b"\n") + 1
        assert chunk.start_byte >= end_byte
        assert chunk.tokens == WordTokens().count(chunk.text)
        assert chunk.tokens <= max_tokens or chunk.start_line == chunk.end_line
        assert 0 <= chunk.part < chunk.parts
        end_line, end_byte = chunk.end_line, chunk.end_byte
        covered.update(range(chunk.start_line, chunk.end_line + 1))
    assert len({chunk.chunk_id for chunk in result.chunks}) == len(result.chunks) == result.file.chunks
    if not result.file.skip_reason:
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert all(number in covered for number, line in enumerate(lines, 1) if line.strip())
    ids = {chunk.chunk_id for chunk in result.chunks}
    assert set(result.symbols.chunk_id) <= ids


@pytest.mark.parametrize("pattern", ["password", "(?s)LIMIT.*pass", "é+", "(?s)}.def pay.*"])
def test_what_is_purged_is_cut_as_it_is_read(pattern: str, tmp_path: Path) -> None:
    data = f'# é\nLIMITS = {{1: 2,\n3: 4}}\ndef pay():\n    password = "{PASSWORD}"\n'.encode()
    home, gone = Home(tmp_path), PurgeList(patterns=(pattern,))
    purged.save(home.purged, gone)
    shown = Masks(home.repository("shop").mirror).data(data)
    result = chunk_file("repo", "a.py", "blob", data, WordTokens(), 8, 1_000_000, gone.spans(data))
    check(result, shown, 8)
    assert len(result.chunks) > 1
    assert result.file.redactions == 2


PATHS = st.sampled_from([*SAMPLES, "Makefile", "notes.txt", "a.proto", "noname"])


MARKS = st.text(alphabet="ab(){}[]:;\"'#/*\n\r\t \f<>=\u2028\u200bé", max_size=300)


@settings(max_examples=300)
@given(
    PATHS,
    st.binary(max_size=400)
    | st.text(alphabet="ab(){}[]:;\"'#/*\n\r\t \f<>=\u2028\u200bé", max_size=300).map(str.encode),
)
def test_any_bytes(path: str, data: bytes) -> None:
    check(chunked(path, data), data)


@settings(max_examples=200)
@given(PATHS.filter(SAMPLES.__contains__), st.data(), st.integers(1, 60))
def test_damaged_samples(path: str, draw: st.DataObject, max_tokens: int) -> None:
    source = SAMPLES[path][0].encode()
    start = draw.draw(st.integers(0, len(source)))
    end = draw.draw(st.integers(start, len(source)))
    data = source[:start] + draw.draw(st.binary(max_size=20)) + source[end:] + source[start:]
    result = chunked(path, data, max_tokens)
    check(result, data, max_tokens)
    assert chunked(path, data, max_tokens) == result


@pytest.mark.parametrize("path", SAMPLES)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_line_endings(path: str, ending: bytes, final: bool) -> None:
    data = SAMPLES[path][0].encode().replace(b"\n", ending)
    check(chunked(path, data if final else data.rstrip()), data if final else data.rstrip())


CLASS = '''class Store:
    """Keeps things."""

    limit = 3

    def put(self, key, value):
        """Put one thing."""
        self.items[key] = value
        self.count = self.count + 1
        return self.items[key], self.count

    # Reads.
    @cached
    def get(self, key):
        found = self.items.get(key)
        return found if found is not None else self.default(key, self.limit)
'''


def test_small_class_is_one_chunk() -> None:
    (chunk,) = chunked("a.py", CLASS.encode(), 500).chunks
    assert (chunk.kind, chunk.symbol, chunk.docstring, chunk.parts) == ("class", "Store", "Keeps things.", 1)


def test_big_class_becomes_header_and_methods() -> None:
    chunks = chunked("a.py", CLASS.encode(), 60).chunks
    assert [(c.kind, c.symbol) for c in chunks] == [
        ("class", "Store"), ("method", "Store.put"), ("method", "Store.get"),
    ]  # fmt: skip
    get = chunks[-1]
    assert get.text.lstrip().startswith("# Reads.\n")
    assert get.signature == "def get(self, key)"
    assert get.docstring == "Reads."


def test_big_function_is_split_between_statements() -> None:
    body = "".join(f"    if x{i}:\n        call({i})\n        other({i})\n\n" for i in range(20))
    chunks = chunked("a.py", f"def f():\n{body}".encode()).chunks
    assert len(chunks) > 3
    assert [c.part for c in chunks] == list(range(len(chunks)))
    assert {(c.symbol, c.parts) for c in chunks} == {("f", len(chunks))}
    assert all(c.text.startswith("    if ") for c in chunks[1:])


def test_editing_one_function_changes_one_id() -> None:
    source = "import os\n\n" + "".join(
        f"def function_{i}(a, b):\n    total = a + b * {i}\n    return [total for _ in range(a, b)]\n\n\n"
        for i in range(8)
    )
    before = {c.chunk_id for c in chunked("a.py", source.encode(), 100).chunks}
    edited = source.replace("b * 3", "b * 33\n    # grown by a line")
    after = {c.chunk_id for c in chunked("a.py", edited.encode(), 100).chunks}
    assert len(before - after) == len(after - before) == 1


def test_equal_texts_have_different_ids() -> None:
    block = "def f(x):\n    return call(x, 1) + call(x, 2) + call(x, 3)\n\n"
    chunks = chunked("a.py", (block * 3).encode(), 30).chunks
    assert len({c.text for c in chunks}) == 1
    assert len({c.chunk_id for c in chunks}) == 3


def test_encodings() -> None:
    latin = chunked("a.py", "# caf\xe9\nname = 'caf\xe9'\n".encode("latin-1"))
    assert (latin.file.encoding, latin.chunks[0].text) == ("latin-1", "# café\nname = 'café'")
    bom = chunked("a.py", b"\xef\xbb\xbfx = 1\n")
    assert (bom.file.encoding, bom.chunks[0].text, bom.chunks[0].start_byte) == ("utf-8", "x = 1", 3)


def test_lines_end_at_newline_only() -> None:
    data = "a = '\u2028 \u200b'\n\fb = 2\rc = 3\nd = 4".encode()
    result = chunked("a.py", data)
    check(result, data)
    assert result.file.lines == 3


def test_a_bare_heading_joins_its_first_section() -> None:
    text = "# A\n\n## B\n\n" + "word " * 15 + "\n\n## C\n\n" + "word " * 30 + "\n"
    assert [(c.symbol, c.start_line) for c in chunked("a.md", text.encode()).chunks] == [("A > B", 1), ("A > C", 7)]


def test_sections_and_keys() -> None:
    text = "# A\n\n" + "word " * 30 + "\n\n## B\n\n" + "word " * 30 + "\n"
    assert [c.symbol for c in chunked("a.md", text.encode()).chunks] == ["A", "A > B"]
    keys = "".join(f"# about {k}\n{k}:\n" + "  - item\n" * 8 for k in ("jobs", "steps"))
    assert [(c.symbol, c.docstring) for c in chunked("a.yml", keys.encode(), 25).chunks] == [
        ("jobs", "about jobs"), ("steps", "about steps"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "data", "reason"),
    [
        ("a.bin", b"ab\0cd", "binary"),
        ("a.txt", b"x" * 1_001, "too_large"),
        ("a.py", b" \n\t\r\n", "empty"),
        ("a.py", b"", "empty"),
        ("a.psd", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git_lfs_pointer"),
    ],
)
def test_skips(path: str, data: bytes, reason: str) -> None:
    result = chunked(path, data, max_file_bytes=1_000)
    assert (result.file.skip_reason, result.file.size_bytes) == (reason, len(data))
    assert (result.chunks, len(result.symbols)) == ([], 0)


def test_minified_is_indexed_only_when_small() -> None:
    small, large = b"f(1);" * 2_000, b"f(1);" * 50_000
    assert (chunked("a.js", small).file.file_class, chunked("a.js", small).file.chunks) == ("minified", 1)
    assert chunked("a.js", large).file.skip_reason == "minified"


def test_skipped_by_the_caller() -> None:
    row = skipped_file("lib/link.py", "b", 12, "symlink").file
    assert (row.language, row.skip_reason, row.size_bytes, row.chunks) == ("python", "symlink", 12, 0)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("a.py", b"(" * 100_000),
        ("a.json", b"[" * 100_000),
        ("a.json", b"[" * 20_000 + b"]" * 20_000),
        ("a.yml", b"- " * 5_000),
        ("a.yml", b"".join(b" " * i + b"a:\n" for i in range(1_500))),
        ("a.md", b"> " * 5_000),
        ("a.java", b"class A {\n" * 2_000 + b"}\n" * 2_000),
    ],
)
def test_deep_nesting(path: str, data: bytes) -> None:
    check(chunked(path, data), data)


def test_tables_follow_the_schemas() -> None:
    from codeintel_core.chunking import chunks_table, files_table, symbols_table

    result = chunked("a.py", CLASS.encode())
    assert files_table([result.file]).schema.equals(FILES)
    assert chunks_table(result.chunks).schema.equals(CHUNKS)
    assert symbols_table([result.symbols]).schema.equals(SYMBOLS)
    assert symbols_table([]).num_rows == 0
    assert chunks_table(result.chunks).column("text").to_pylist() == [c.text for c in result.chunks]
