"""Token counts are those of the real tokenizer, for any span that begins and ends at a line."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

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
    offsets = counter.offsets(text)
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    for first in range(0, len(lines), 7):
        last = min(first + 20, len(lines))
        count = bisect_left(offsets, starts[last]) - bisect_left(offsets, starts[first])
        assert count == exact(tokenizer, "\n".join(lines[first:last]))


# Rare planes are left to the sample above; "[" could spell a special token such as SEP, counted as three here.
@settings(max_examples=200)
@given(text=st.text(alphabet=st.characters(max_codepoint=0x2FFF, exclude_characters="["), max_size=80))
def test_counts_of_any_text(counter: WordPieceCounter, tokenizer: Tokenizer, text: str) -> None:
    assert len(counter.offsets(text)) == exact(tokenizer, text)
