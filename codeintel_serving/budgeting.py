"""`max_tokens`: results are shortened step by step, the last ones first, never in the middle of a line.

The ladder: full span, trimmed span, signature, path:lines, counts per file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from codeintel_serving.cursors import Cursor, question_of
from codeintel_serving.models import MAX_TOKENS, Budget, Detail, Model, PagedRequest, ToolRequest
from codeintel_serving.resolving import Resolved

_BYTES_PER_TOKEN = 4  # of code under the tokenizers of today's chat models: 3 to 4.5
_MOST_FILES = 50
_T = TypeVar("_T", bound=Model)


class Rung(IntEnum):
    """How much of one result is shown."""

    FULL = 0
    TRIMMED = 1
    SIGNATURE = 2
    PLACE = 3


_START = {Detail.FULL: Rung.FULL, Detail.CONCISE: Rung.TRIMMED, Detail.IDS: Rung.PLACE}
TRIMMED_LINES = 12


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """The results of one page, and what became of the others."""

    items: list[_T]
    budget: Budget


def tokens_of(text: str) -> int:
    """Estimated tokens of a text: its UTF-8 bytes by four, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def trimmed(text: str, lines: int = TRIMMED_LINES) -> str:
    """The first lines of a text, whole."""
    return "\n".join(text.split("\n", lines)[:lines])


def page(
    found: Sequence[_T],
    request: ToolRequest,
    resolved: Resolved,
    shorten: Callable[[_T, Rung], _T],
    file_of: Callable[[_T], str],
    limit: int | None = None,
    spent: int = 0,
) -> Page[_T]:
    """What fits `max_tokens` of the results that follow the request's cursor.

    While it is too much, results go down the ladder one rung at a time, the last result first; what then still does
    not fit is left for the next page, counted per file. The first result is always there.

    Args:
        found: all results, best first, in a deterministic order.
        shorten: the result at a rung; it may be the same at several.
        file_of: `repo:path` of a result.
        limit: most results of a page, whatever fits.
        spent: tokens that other parts of the response take of `max_tokens`.
    """
    start = resolved.cursor.at[0] if resolved.cursor else 0
    rest = found[start:]
    first = _START[request.detail]
    shown = [shorten(item, first) for item in rest[: min(limit or MAX_TOKENS, _most(request.max_tokens))]]
    costs = [_cost(item) for item in shown]
    total = spent + sum(costs)
    shortened = set[int]()
    for rung in range(first + 1, Rung.PLACE + 1):
        for i in range(len(shown) - 1, -1, -1):
            if total <= request.max_tokens:
                break
            shorter = shorten(rest[i], Rung(rung))
            if shorter != shown[i]:
                total -= costs[i]
                shown[i], costs[i] = shorter, _cost(shorter)
                total += costs[i]
                shortened.add(i)
    while total > request.max_tokens and len(shown) > 1:
        total -= costs[len(shown) - 1]
        shown.pop()
    shortened = {i for i in shortened if i < len(shown)}
    left = rest[len(shown) :]
    at = start + len(shown) if left else None
    return Page(
        shown, budget_of(request, resolved, total, len(shortened), Counter(map(file_of, left)), [at] if at else None)
    )


def budget_of(
    request: ToolRequest,
    resolved: Resolved,
    tokens: int,
    shortened: int,
    omitted: Mapping[str, int],
    next_at: list[int] | None,
) -> Budget:
    """The envelope's budget; `next_at` is where the next page begins, None when this is the last."""
    cursor = ""
    if next_at and isinstance(request, PagedRequest):
        pinned = {generation.repo: generation.manifest.gen_id for generation in resolved.generations}
        cursor = Cursor(question=question_of(request), generations=pinned, at=next_at).encode()
    hints = []
    if shortened:
        hints.append(f"{shortened} results are shortened: `read` them, or raise max_tokens")
    if omitted or cursor:
        hints.append("more was found: send `cursor`, raise max_tokens, or narrow with scope.paths or scope.languages")
    return Budget(
        tokens=tokens,
        truncated=bool(shortened or omitted or cursor),
        shortened=shortened,
        omitted=sum(omitted.values()),
        omitted_files=dict(sorted(omitted.items(), key=lambda kv: (-kv[1], kv[0]))[:_MOST_FILES]),
        next_cursor=cursor,
        how_to_narrow="; ".join(hints),
    )


def _cost(item: Model) -> int:
    return tokens_of(item.model_dump_json())


def _most(max_tokens: int) -> int:
    """More results than this cannot fit: the shortest has some ten tokens."""
    return max(1, max_tokens // 10)
