"""The page before a server that wants a key and offers run reports: it asks once, sends it, and shows the report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import running
from workshop import Workshop, settings_for

from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission
from codeintel_serving.services import Services
from tests.browser import Browser

pytestmark = pytest.mark.e2e


@pytest.fixture
def key(workshop: Workshop) -> Iterator[str]:
    """A key of the home, which asks for one until the test ends."""
    secret, _ = keys.create(workshop.home.keys, permissions=list(Permission), repos=["*"])
    yield secret
    workshop.home.keys.unlink()


def test_it_asks_for_a_key_keeps_it_in_the_tab_and_shows_the_report(
    chromium: Browser, workshop: Workshop, key: str
) -> None:
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services:
        services.warm()
        with running(services) as url:
            chromium.call("Page.navigate", url=f"{url}/?q=swap_pointer")
            chromium.until("document.getElementById('key')?.hidden === false")
            for given, accepted in (("wrong", False), (key, True)):
                chromium.run("document.getElementById('key-value').focus()")
                chromium.type(given)
                chromium.press("Enter")
                shown = "'out').hidden === false" if accepted else "'key-why').textContent.includes('not accepted')"
                chromium.until(f"document.getElementById({shown}")
            chromium.until("document.querySelector('#run button') !== null")
            assert chromium.run("sessionStorage.length") == 1
            assert chromium.run("localStorage.length + document.cookie.length") <= 1  # the theme at most
            assert key not in chromium.run("document.documentElement.outerHTML")
            chromium.run("document.querySelector('#run button').click()")
            chromium.until("document.querySelector('.report').textContent.includes('retrieve.lexical')")
            assert chromium.run("violations.length === 0 && globalThis.pwned === undefined")
