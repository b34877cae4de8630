"""The event parser gives the same events however the bytes are cut, and only CR and LF end a line."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.models.sse import MAX_EVENT_BYTES, SseParser
from tests.fake_endpoint import stream_bytes

RECORDED = ["chat-stream", "chat-stream-usage", "chat-stream-engine-killed", "chat-stream-unicode"]


def events(*chunks: bytes) -> list[str]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_streams_cut_at_every_byte(name: str) -> None:
    data = stream_bytes(name)
    whole = events(data)
    assert whole == [block.removeprefix("data: ") for block in data.decode().split("\n\n") if block]
    assert whole[-1] == "[DONE]"
    assert events(*(data[at : at + 1] for at in range(len(data)))) == whole


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), min_size=1), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 200), max_size=5),
)
def test_any_text_comes_back_whole(texts: list[str], end: str, cuts: list[int]) -> None:
    data = "".join(f"data: {json.dumps(text, ensure_ascii=False)}{end}{end}" for text in texts).encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert [json.loads(event) for event in events(*chunks)] == texts


def test_line_separators_of_unicode_end_nothing() -> None:
    assert events("data: a\u2028b\u0085c\u000bd\n\n".encode()) == ["a\u2028b\u0085c\u000bd"]


def test_comments_other_fields_and_unfinished_events() -> None:
    assert events(b": keep-alive\n\nevent: x\nid: 1\ndata: a\ndata:b\n\n:\ndata\n\ndata: never ended\n") == ["a\nb", ""]
    assert events(b"\xef\xbb\xbfdata: after a byte order mark\n\n") == ["after a byte order mark"]


def test_a_carriage_return_ends_at_once_and_eats_the_line_feed_after_it() -> None:
    assert events(b"data: a\r\r") == ["a"]
    assert events(b"data: a\r", b"\n\r", b"\ndata: b\n\n") == ["a", "b"]


def test_an_endless_event_is_refused() -> None:
    parser = SseParser()
    half = b"data: " + b"x" * (MAX_EVENT_BYTES // 2) + b"\n"
    parser.feed(half)
    with pytest.raises(ValueError, match="larger"):
        parser.feed(half)
