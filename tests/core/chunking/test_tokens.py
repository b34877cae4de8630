"""Token counts are those of the real tokenizer, for any span that begins and ends at a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from codeintel_core.chunking.tokens import WordPieceCounter, default_tokenizer


@pytest.fixture(scope="module")
def counter() -> WordPieceCounter:
    return WordPieceCounter()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(default_tokenizer()))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def exact(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def test_counts_of_spans(counter: WordPieceCounter, tokenizer: Tokenizer) -> None:
    text = Path(__file__).read_text() + "\nnaïve = 'Ünïcode' # 漢字かな 🎉 \x0c\u200b\u2028 e\u0301\n"
    lines = text.split("\n")
    bounds = np.cumsum([0, *(len(line.encode()) + 1 for line in lines)])
    before = counter.before(text.encode(), "utf-8", bounds)
    for first in range(0, len(lines), 7):
        last = min(first + 20, len(lines))
        assert before[last] - before[first] == exact(tokenizer, "\n".join(lines[first:last]))


def test_the_same_bytes_in_another_encoding(counter: WordPieceCounter, tokenizer: Tokenizer) -> None:
    data = "naïveté漢字".encode()  # one run; two readings that split differently
    ends = np.array([0, len(data)])
    for encoding in ("utf-8", "latin-1", "utf-8"):
        assert counter.before(data, encoding, ends)[1] == exact(tokenizer, data.decode(encoding))


# Rare planes are left to the sample above; "[" could spell a special token such as SEP, counted as three here.
@settings(max_examples=200)
@given(text=st.text(alphabet=st.characters(max_codepoint=0x2FFF, exclude_characters="["), max_size=80))
def test_counts_of_any_text(counter: WordPieceCounter, tokenizer: Tokenizer, text: str) -> None:
    data = text.encode()
    assert counter.before(data, "utf-8", np.array([len(data)])) == [exact(tokenizer, text)]
