"""The page in a real browser: it asks, streams, opens citations, obeys the keyboard; nothing of the code acts."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from running import running, until
from workshop import Workshop, settings_for

from codeintel_serving.services import Services
from tests.browser import Browser
from tests.fake_endpoint import FakeEndpoint, Reply, Request, completion, said

pytestmark = pytest.mark.e2e

QUESTION = "how is a generation published atomically?"
ANSWERED = "document.getElementById('run').hidden === false && document.getElementById('stop').hidden"


def text_of(page: Browser, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).innerText"))


def ask(page: Browser, question: str) -> None:
    page.run("document.getElementById('q').focus()")
    page.type(question)
    page.press("Enter")
    page.until(ANSWERED)


def test_it_asks_and_shows_the_answer_with_its_provenance(page: Browser, workshop: Workshop) -> None:
    ask(page, QUESTION)
    assert "publish_generation" in text_of(page, "#text")
    assert text_of(page, "#cite-1 .where") == "store/publish.py:6–10"  # noqa: RUF001 (an en dash between lines)
    assert "verified" in text_of(page, "#cite-1")
    assert "%" in text_of(page, "#confidence")
    assert "no chat model is configured" in text_of(page, "#limits")
    (gen_id,) = [path.name for path in workshop.home.repository("shop").generations.iterdir()]
    for fact in (gen_id, "11111111-2222-3333-4444-555555555555", "fresh", "1 binary"):
        assert fact in text_of(page, "#index")
    assert "retrieve.lexical" in text_of(page, "#stages")
    assert "skipped: no chat model is configured" in text_of(page, "#stages")
    assert page.run("[...document.querySelectorAll('.bar-fill')].every((bar) => bar.style.width)")
    assert page.run("document.getElementById('said').textContent").startswith("Answered with")
    assert parse_qs(urlsplit(page.run("location.href")).query) == {"q": [QUESTION]}


def test_a_citation_opens_at_its_lines_and_can_be_shared(page: Browser, base_url: str) -> None:
    ask(page, QUESTION)
    page.run("document.querySelector('#text .cite').click()")
    page.until("document.querySelectorAll('#code .line').length > 10")
    assert page.run("[...document.querySelectorAll('#code .marked')].map((line) => line.id)") == [
        "L6",
        "L7",
        "L8",
        "L9",
        "L10",
    ]
    assert page.run("document.querySelector('#L6 .tok-keyword').textContent") == "def"
    assert page.run("document.querySelector('#L6').innerText").startswith("def publish_generation(staging, target):")
    page.run("document.getElementById('code-copy').click()")
    page.until("document.getElementById('said').textContent === 'Link copied'")
    link = page.run("navigator.clipboard.readText()")
    page.press("Escape")
    assert page.run("document.getElementById('code').open") is False
    page.open(link)
    page.until("document.querySelectorAll('#code .marked').length === 5")
    assert link.startswith(base_url)


def test_everything_works_from_the_keyboard(page: Browser) -> None:
    page.press("/")
    assert page.run("document.activeElement.id") == "q"
    page.type(QUESTION)
    page.press("Enter")
    page.until(ANSWERED)
    page.press("Escape")  # leaves the field
    page.press("j")
    assert page.run("document.activeElement.id") == "cite-1"
    page.press("j")
    assert page.run("document.activeElement.id") == "cite-2"
    page.press("k")
    page.press("o")
    page.until("document.getElementById('code').open && document.querySelectorAll('#code .marked').length === 5")
    page.press("Escape")
    page.until("!document.getElementById('code').open")
    page.press("c")
    page.until("document.getElementById('said').textContent === 'Link copied'")
    page.press("?")
    assert page.run("document.getElementById('help').open")
    page.press("Escape")
    before = page.run("getComputedStyle(document.body).backgroundColor")
    page.press("t")
    assert page.run("getComputedStyle(document.body).backgroundColor") != before
    page.press("t")


def test_hostile_code_is_shown_as_text(page: Browser) -> None:
    ask(page, "render_untrusted_banner")
    page.press("Escape")
    page.press("j")
    page.press("o")
    page.until("document.querySelectorAll('#code .marked').length > 5")
    shown = text_of(page, "#code")
    for hidden in ("U+001B", "U+0007", "U+202E", "U+2066", "U+200B", "U+200D", "U+FEFF", "U+00AD"):
        assert hidden in shown
    assert "<iframe src=https://evil.example>" in shown
    assert not any(c in shown for c in "\x1b\u202e\u2066\u200b")
    page.press("Escape")
    ask_again = "name_with_markup"
    page.run("document.getElementById('q').select()")
    ask(page, ask_again)
    assert "<img src=x onerror=globalThis.pwned=7>.py" in text_of(page, "#cards")
    assert (
        page.run("document.querySelectorAll('main img, main iframe, main svg, main script, main a, dialog a').length")
        == 0
    )
    for width in (1280, 390):
        page.size(width, 844)
        assert page.run("document.documentElement.scrollWidth") == width


def test_search_lists_ranked_spans_with_their_channels(page: Browser) -> None:
    page.run("document.querySelector('input[value=search]').click()")
    ask(page, "publish generation")
    assert text_of(page, "#cite-1 .where").startswith("store/publish.py")
    assert "dense #1" in text_of(page, "#cite-1")
    assert page.run("document.querySelectorAll('.cited').length") > 2


def test_not_found_and_refused_are_shown_plainly(page: Browser, base_url: str) -> None:
    ask(page, "chocolate cake recipe with llamas")
    assert text_of(page, "#text").startswith("Not found")
    assert page.run("document.getElementById('found').hidden")
    page.open(f"{base_url}/?q=x&as_of=nonsense")
    page.until("!document.getElementById('problem').hidden")
    assert "as_of is a generation id" in text_of(page, "#problem")
    assert "failed: invalid-request" in text_of(page, "#stages")


def test_an_address_asks_again(page: Browser, base_url: str) -> None:
    page.open(f"{base_url}/?q={quote(QUESTION)}&mode=search&repo=shop&paths=web/**&tests=0")
    page.until(ANSWERED)
    assert page.run(
        "[...document.querySelectorAll('.where')].every((place) => place.innerText.startsWith('web/cart.js'))"
    )
    page.run("history.pushState(null, '', '/'); dispatchEvent(new PopStateEvent('popstate'))")
    assert page.run("document.getElementById('welcome').hidden") is False


class Slow:
    """A chat endpoint that says one word and then waits for the test, or for the client to leave."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, _: Request) -> Reply:
        words = ["It renames the folder [1]. ", "Never said."]
        first, rest = completion(words[:1], finish=None, done=False), completion(words[1:])
        return (
            Reply(200, [first], {"content-type": "text/event-stream"}, hangs=True)
            if not self.go_on.is_set()
            else Reply(200, [first, rest], {"content-type": "text/event-stream"})
        )


def test_an_answer_streams_and_can_be_stopped(chromium: Browser, workshop: Workshop) -> None:
    slow = Slow()
    routes: dict[str, Any] = {
        "/v1/models": said({"data": [{"id": "tiny-chat", "max_model_len": 8_192}]}), "/v1/chat/completions": slow,
    }  # fmt: skip
    with ExitStack() as stack:
        endpoint = stack.enter_context(FakeEndpoint(routes))
        settings = settings_for(workshop.home, chat_base_url=endpoint.url, chat_model="tiny-chat", chat_idle_ms=60_000)
        services = stack.enter_context(Services(settings, encoder=lambda: workshop.encoder))
        services.warm()
        chromium.size(1280, 900)
        chromium.open(stack.enter_context(running(services)) + "/")
        chromium.run("document.getElementById('q').focus()")
        chromium.type(QUESTION)
        chromium.press("Enter")
        chromium.until("document.getElementById('text').innerText.includes('It renames the folder')")
        assert chromium.run("document.getElementById('stop').hidden") is False  # the stream is still open
        assert chromium.run("document.querySelectorAll('.cited').length") >= 1
        chromium.press("Escape")
        chromium.until("document.getElementById('stop').hidden")
        assert "Stopped" in text_of(chromium, "#none")
        assert "It renames the folder" in text_of(chromium, "#text")
        until(lambda: endpoint.left_early)  # the server stopped its own work too
        slow.go_on.set()
        chromium.run("document.getElementById('q').select()")
        ask(chromium, "swap_pointer")
        assert "Never said." in text_of(chromium, "#text")
        assert "Written by tiny-chat" in text_of(chromium, "#by")
