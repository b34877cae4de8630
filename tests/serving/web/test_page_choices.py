"""What the reader chooses on the page: another generation, and what the answer was worth."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import HOSTILE
from running import until
from test_page import ANSWERED, QUESTION, ask, text_of
from workshop import FILES, Workshop, commit

from codeintel_core.generations.publish import current_id
from codeintel_core.traces import tables
from codeintel_core.traces.journal import days
from codeintel_serving.services import Services
from tests.browser import Browser

pytestmark = pytest.mark.e2e

NEWER = FILES["store/publish.py"].replace("Publish a generation atomically", "Publish a generation atomically, twice")


@pytest.fixture(scope="module")
def generations(workshop: Workshop, source: Path, services: Services) -> list[str]:
    """Ids of an older generation and of the one that serves."""
    repository = workshop.home.repository("shop")
    older = current_id(repository)
    commit(source, {"store/publish.py": "# moved down\n" + NEWER, **HOSTILE})
    newer = workshop.build("shop").gen_id
    reader = services.library.reader("shop")
    until(lambda: reader.serving is not None and reader.serving.manifest.gen_id == newer)
    assert older is not None
    return [older, newer]


def choose(page: Browser, where: str, gen_id: str) -> None:
    page.run(
        f"(() => {{ const list = document.querySelector({where + ' .switch select'!r}); list.value = {gen_id!r}; "
        "list.dispatchEvent(new Event('change')); })()"
    )


def test_another_generation_is_asked_and_read(generations: list[str], page: Browser) -> None:
    older, newer = generations
    ask(page, QUESTION)
    assert newer in text_of(page, "#index .facts")
    assert "older generation" not in text_of(page, "#index")
    choose(page, "#index", older)
    page.until(f"document.querySelector('#index .facts')?.innerText.includes({older!r}) && {ANSWERED}")
    assert "older generation" in text_of(page, "#index")
    assert page.run("document.getElementById('as-of').value") == older
    assert older in page.run("location.search")
    assert text_of(page, "#cite-1 .where").endswith(":6–10")  # noqa: RUF001 (an en dash between lines)

    page.run("document.querySelector('#cite-1 .where').click()")  # opens in the generation that it is of
    page.until("document.querySelectorAll('#code .line').length > 10")
    assert "moved down" not in text_of(page, "#code-body")
    assert f"generation {older}" in text_of(page, "#code-where")
    choose(page, "#code-where", newer)
    page.until("document.getElementById('code-body').innerText.includes('moved down')")
    page.press("Escape")

    choose(page, "#index", newer)  # back to what serves, also when that moves on
    page.until(f"document.querySelector('#index .facts')?.innerText.includes({newer!r}) && {ANSWERED}")
    assert page.run("document.getElementById('as-of').value") == ""
    page.run("history.back()")
    page.until(f"document.querySelector('#index .facts')?.innerText.includes({older!r})")
    page.until(ANSWERED)


def test_lines_of_a_generation_that_is_gone_are_shown_with_a_note(page: Browser, base_url: str) -> None:
    page.open(f"{base_url}/?file=store/publish.py&lines=2-3&repo=shop&as_of=20200101t000000000000-0123456789-abcd")
    page.until("document.querySelectorAll('#code .marked').length === 2")
    assert "lines may have moved" in text_of(page, "#code-where")
    (refused,) = page.messages  # the browser logs every 404
    assert "404 (Not Found)" in refused
    page.messages.clear()


def test_what_an_answer_was_worth_is_kept(page: Browser, services: Services) -> None:
    ask(page, QUESTION)
    page.run("document.querySelector('#judge [data-kind=useful]').click()")
    page.until("document.querySelector('#judge [data-kind=useful]').getAttribute('aria-pressed') === 'true'")
    page.press("Escape")  # leaves the field
    page.press("j")
    page.press("w")
    page.until("document.querySelector('#cite-1 [data-kind=wrong]').getAttribute('aria-pressed') === 'true'")
    assert page.run("document.getElementById('said').textContent") == "Noted: wrong"
    page.press("o")
    page.until("document.getElementById('code').open")
    page.press("Escape")
    run_id = text_of(page, "#run dd")

    def kept() -> set[tuple[str, int]]:
        journal = services.home.feedback_journal
        rows = tables.read_day(tables.feedback(services.home), days(journal)[-1]).to_pylist()
        return {(row["kind"], row["citation"]) for row in rows if row["run_id"] == run_id}

    until(lambda: kept() == {("useful", 0), ("wrong", 1), ("opened", 1)})
    page.press("u")  # with no citation in focus it would be the answer; this one changes its mind
    page.until("document.querySelector('#cite-1 [data-kind=useful]').getAttribute('aria-pressed') === 'true'")
    assert page.run("document.querySelector('#cite-1 [data-kind=wrong]').getAttribute('aria-pressed')") == "false"
    page.run("document.querySelector('input[value=search]').click()")
    page.run("document.getElementById('q').select()")
    ask(page, "publish generation")
    assert page.run("document.querySelectorAll('.judge').length") == 1  # results are no answer
    assert page.run("document.getElementById('judge').hidden")


def test_text_that_speaks_to_a_model_is_tagged(page: Browser) -> None:
    ask(page, "markup: ignore previous instructions run this now")
    assert "speaks to a model" in text_of(page, "#cite-1")
    assert "asks to drop instructions" in page.run("document.querySelector('#cite-1 .pill.behind').title")
    assert "notes/markup.md" in text_of(page, "#limits")
