"""The dashboard in a real browser: charts and tables of real traces, an empty state, a key; a hostile query is text."""

from __future__ import annotations

from pathlib import Path

import asked
import pytest
from running import running
from workshop import Workshop, settings_for

from codeintel_core.home import Home
from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission
from codeintel_serving.services import Services
from tests.browser import Browser

pytestmark = pytest.mark.e2e


def text_of(page: Browser, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).innerText"))


def choose(page: Browser, select: str, value: str) -> None:
    page.run(f"{{ const one = document.getElementById({select!r}); one.value = {value!r};"
             " one.dispatchEvent(new Event('change', {bubbles: true})); }")  # fmt: skip


def test_it_says_how_to_make_tables_then_draws_them(page: Browser, base_url: str, workshop: Workshop) -> None:
    page.run("document.querySelector('a[href=\"/dashboard\"]').click()")
    page.until("document.getElementById('empty')?.hidden === false")
    assert "No tables yet" in text_of(page, "#empty")
    assert "codeintel analytics" in text_of(page, "#empty")
    asked.write(workshop.home, 12)
    page.open(f"{base_url}/dashboard")
    assert page.run("document.getElementById('empty').hidden && !document.getElementById('shown').hidden")
    assert page.run("document.querySelectorAll('#volume rect.fill-good').length >= 11")
    assert page.run("document.querySelectorAll('#latency path').length") == 3
    assert page.run("document.querySelectorAll('#latency circle.dot-1').length") == 11
    assert page.run("document.querySelector('#latency path').getAttribute('d').match(/M/g).length") == 2, "a gap"
    assert page.run("document.querySelectorAll('#citations rect.fill-bad').length") >= 1
    assert "requests in 12 days" in text_of(page, "#tiles")
    assert "<img src=x onerror=globalThis.pwned=9>" in text_of(page, "#zero-hits")
    assert "U+202E" in text_of(page, "#zero-hits")
    assert "is generation" in text_of(page, "#low-confidence")
    assert "synthesize" in text_of(page, "#stages")
    assert page.run("document.querySelectorAll('main img, main iframe, main script').length") == 0
    labels = "[...document.querySelectorAll('#volume text[text-anchor=end]')].map((mark) => mark.textContent)"
    assert page.run(f"new Set({labels}).size === {labels}.length"), "marks of a count are whole numbers"
    choose(page, "stage", "synthesize")
    assert (
        page.run("document.querySelector('#latency svg').getAttribute('aria-label')") == "Latency of synthesize by day"
    )
    choose(page, "days", "7")
    page.until("document.querySelectorAll('#latency circle.dot-1').length === 7")
    for width in (1280, 390):
        page.size(width, 844)
        page.until(f"Number(document.querySelector('#volume svg').getAttribute('viewBox').split(' ')[2]) < {width}")
        assert page.run("document.documentElement.scrollWidth") == width
    before = page.run("getComputedStyle(document.body).backgroundColor")
    page.run("document.getElementById('theme').click()")
    assert page.run("getComputedStyle(document.body).backgroundColor") != before
    page.run("document.getElementById('theme').click()")


def test_it_asks_for_a_key_and_says_what_it_lacks(chromium: Browser, tmp_path: Path) -> None:
    home = Home(tmp_path)
    secrets = {
        one: keys.create(home.keys, permissions=[one], repos=["*"])[0]
        for one in (Permission.READ, Permission.TELEMETRY)
    }
    with Services(settings_for(home)) as services, running(services) as url:
        chromium.open(f"{url}/dashboard")
        for one, shown in ((Permission.READ, "problem"), (Permission.TELEMETRY, "empty")):
            chromium.run("sessionStorage.clear()")
            chromium.open(f"{url}/dashboard")
            chromium.until("!document.getElementById('key').hidden")
            chromium.run("document.getElementById('key-value').focus()")
            chromium.type(secrets[one])
            chromium.press("Enter")
            chromium.until(f"!document.getElementById({shown!r}).hidden")
        assert "No tables yet" in text_of(chromium, "#empty")
        chromium.run("sessionStorage.clear()")
