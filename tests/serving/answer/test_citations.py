"""Citations are compared with the pinned blob byte for byte; what differs is dropped and counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hits import hit
from workshop import Workshop

from codeintel_core.catalog import ChunkRow
from codeintel_core.errors import GitFailed
from codeintel_core.generations.generation import Generation
from codeintel_serving.answer.citations import choose, verify
from codeintel_serving.services import Services


class Source:
    """Stands in for a generation whose commit holds `text`."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def matching(self, chunks: Sequence[ChunkRow]) -> list[bool]:
        if self._text is None:
            raise GitFailed("gone")
        return [self._text == chunk.text for chunk in chunks]


@pytest.mark.parametrize(("text", "dropped"), [("same", 0), ("other", 1), (None, 1)])
def test_only_exact_text_is_kept(text: str | None, dropped: int) -> None:
    verified = verify([hit("same")], {"gen": cast(Generation, Source(text))})
    assert (len(verified.hits), verified.dropped) == (1 - dropped, dropped)


def test_only_hits_near_the_best_are_chosen() -> None:
    near = [hit("recover journal", rank=1, score=1.0), hit("recover", rank=2, score=0.6)]
    far = [hit("recover", rank=3, score=0.4), hit("unrelated", rank=4, score=0.9)]
    assert [h.rank for h in choose("recover journal", near + far, 5)] == [1, 2]
    assert [h.rank for h in choose("recover journal", near + far, 1)] == [1]


@pytest.mark.e2e
def test_a_tampered_span_is_dropped_by_a_real_generation(services: Services, workshop: Workshop) -> None:
    del workshop
    with services.library.pin(["shop"]) as (generation,):
        (chunk, *_) = generation.catalog.sample_definitions(1)
        fields: dict[str, Any] = {name: getattr(chunk, name) for name in ChunkRow._fields}
        text = fields.pop("text")
        true, forged = hit(text, **fields), hit(text.replace("e", "é", 1), **fields)
        assert verify([true, forged], {"gen": generation}).hits == [true]
