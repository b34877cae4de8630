"""max_tokens, detail and cursors: pages hold whole lines, add up to everything, and keep to one generation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from calling import call
from hypothesis import given, settings
from hypothesis import strategies as st
from workshop import Workshop, commit

from codeintel_core.errors import DeadlineExceeded, InvalidRequest, StaleCursor
from codeintel_core.scope import Scope
from codeintel_serving.budgeting import Rung, page, tokens_of, trimmed
from codeintel_serving.models import MIN_TOKENS, Detail, Model, PagedRequest
from codeintel_serving.resolving import Resolved
from codeintel_serving.services import Services

NOTHING = Resolved(Scope(), [])


class Item(Model):
    """A result of a test."""

    path: str
    text: str


def shorter(item: Item, rung: Rung) -> Item:
    lines = {Rung.FULL: item.text, Rung.TRIMMED: trimmed(item.text), Rung.SIGNATURE: trimmed(item.text, 1)}
    return item.model_copy(update={"text": lines.get(rung, "")})


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 80), max_size=30),
    st.integers(MIN_TOKENS, 2_000),
    st.sampled_from(list(Detail)),
)
def test_a_page_fits_and_counts_what_it_leaves_out(sizes: list[int], most: int, detail: Detail) -> None:
    items = [Item(path=f"{i % 3}.py", text="\n".join(f"line {n}" for n in range(size))) for i, size in enumerate(sizes)]
    found = page(items, PagedRequest(max_tokens=most, detail=detail), NOTHING, shorter, lambda item: item.path)
    budget = found.budget
    assert budget.tokens == sum(tokens_of(item.model_dump_json()) for item in found.items)
    assert budget.tokens <= most or len(found.items) == 1
    assert len(found.items) + budget.omitted == len(items)
    assert sum(budget.omitted_files.values()) == budget.omitted
    assert bool(budget.next_cursor) == bool(budget.omitted) and budget.truncated == bool(
        budget.omitted or budget.shortened
    )
    assert bool(budget.how_to_narrow) == budget.truncated
    for shown, item in zip(found.items, items, strict=False):
        whole = item.text.split("\n")
        assert shown.text == "" or shown.text.split("\n") == whole[: len(shown.text.split("\n"))]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, workshop: Workshop, source: Path) -> Workshop:
    """The workshop's repository with more files than fit a small page."""
    commit(source, {f"many/f{i:02}.py": f"def wanted_{i}():\n    return 'wanted'\n" for i in range(40)})
    workshop.build("shop")
    return workshop


def everything(services: Services, tool: str, field: str, **arguments: Any) -> list[Any]:
    found, cursor, pages = [], "", 0
    while True:
        answered = call(services, tool, cursor=cursor, **arguments)
        assert answered.budget.tokens <= arguments["max_tokens"]
        found += getattr(answered, field)
        cursor, pages = answered.budget.next_cursor, pages + 1
        if not cursor:
            assert pages > 1
            return found


@pytest.mark.e2e
@pytest.mark.usefixtures("wide")
class TestPages:
    def test_grep(self, services: Services) -> None:
        services.library.refresh()
        whole = call(services, "grep", pattern="wanted", max_tokens=20_000)
        assert (whole.total, whole.files, whole.complete, whole.budget.truncated) == (80, 40, True, False)
        assert everything(services, "grep", "lines", pattern="wanted", max_tokens=900) == whole.lines
        assert call(services, "grep", pattern="wanted", group_by="folder").counts[0].model_dump() == {
            "group": "shop:many/", "lines": 80,
        }  # fmt: skip
        assert {line.text for line in call(services, "grep", pattern="wanted", detail="ids").lines} == {""}

    def test_tree_symbols_and_overview(self, services: Services) -> None:
        for tool, field, arguments in (
            ("tree", "entries", {"depth": 5}),
            ("symbols", "symbols", {"pattern": "wanted_.*"}),
            ("overview", "symbols", {}),
        ):
            whole = getattr(call(services, tool, max_tokens=20_000, **arguments), field)
            paged = everything(services, tool, field, max_tokens=600, detail="concise", **arguments)
            assert [(item.repo, item.path) for item in paged] == [(item.repo, item.path) for item in whole]

    def test_read_goes_on_at_the_line_where_it_stopped(self, services: Services) -> None:
        targets = ["store/journal.py", "store/publish.py:3-9", "web/cart.js"]
        whole = call(services, "read", targets=targets, max_tokens=20_000).files
        parts = everything(services, "read", "files", targets=targets, max_tokens=150)
        joined: dict[str, str] = {}
        for part in parts:
            assert part.text.count("\n") == part.end_line - part.start_line
            joined[part.path] = "\n".join(filter(None, [joined.get(part.path), part.text]))
        assert joined == {file.path: file.text for file in whole}

    def test_history(self, services: Services) -> None:
        assert len(call(services, "history", path="shop:store").commits) == 1
        whole = call(services, "history").commits
        first = call(services, "history", limit=1)
        rest = call(services, "history", limit=1, cursor=first.budget.next_cursor)
        assert [*first.commits, *rest.commits] == whole

    def test_a_cursor_belongs_to_its_question(self, services: Services) -> None:
        cursor = call(services, "grep", pattern="wanted", max_tokens=300).budget.next_cursor
        assert call(services, "grep", pattern="wanted", max_tokens=5_000, cursor=cursor).lines
        with pytest.raises(InvalidRequest, match="another request"):
            call(services, "grep", pattern="other", max_tokens=300, cursor=cursor)

    def test_a_cursor_keeps_its_generation_until_that_is_gone(
        self, services: Services, wide: Workshop, source: Path
    ) -> None:
        old = call(services, "grep", pattern="wanted", max_tokens=300)
        commit(source, {"many/f00.py": "changed = 1\n"})
        wide.build("shop")
        services.library.refresh()
        after = call(services, "grep", pattern="wanted", max_tokens=300, cursor=old.budget.next_cursor)
        assert (after.index[0].generation, after.total) == (old.index[0].generation, 80)
        services.library.reader("shop").close()
        shutil.rmtree(wide.home.repository("shop").generation(old.index[0].generation))
        with pytest.raises(StaleCursor, match="without it"):
            call(services, "grep", pattern="wanted", max_tokens=300, cursor=old.budget.next_cursor)

    def test_a_deadline_ends_the_call(self, services: Services) -> None:
        with pytest.raises(DeadlineExceeded, match=r"deadline"):
            call(services, "grep", pattern="wanted", deadline_ms=1)
