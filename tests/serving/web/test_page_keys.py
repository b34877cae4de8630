"""The page before a server that wants a key and offers run reports: it asks once, sends it, and shows the report."""

from __future__ import annotations

from typing import Any

import pytest
import running as servers
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers
from workshop import Workshop, settings_for

from codeintel_serving.api.app import create_app
from codeintel_serving.api.correlation import problem_response
from codeintel_serving.problems import problem
from codeintel_serving.services import Services
from codeintel_serving.web.pages import FOLDER
from tests.browser import Browser

pytestmark = pytest.mark.e2e

KEY = "a-key-of-the-test"


def guarded(services: Services) -> Any:
    """The app behind a key, with a report for each run."""
    app: FastAPI = create_app(services)

    @app.get("/runs/{run_id}/report")
    def report(run_id: str) -> PlainTextResponse:
        return PlainTextResponse(f"# Run {run_id}\n<script>globalThis.pwned = 1</script>")

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        is_public = scope["type"] != "http" or scope["path"] == "/" or scope["path"].startswith(FOLDER)
        if is_public or Headers(scope=scope).get("Authorization") == f"Bearer {KEY}":
            await app(scope, receive, send)
        else:
            await problem_response(problem("unauthorized", "Unauthorized", 401, "show a key"))(scope, receive, send)

    return guard


def test_it_asks_for_a_key_keeps_it_in_the_tab_and_shows_the_report(
    chromium: Browser, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "create_app", guarded)
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services:
        services.warm()
        with servers.running(services) as url:
            chromium.call("Page.navigate", url=f"{url}/?q=swap_pointer")
            chromium.until("document.getElementById('key')?.hidden === false")
            for key, accepted in (("wrong", False), (KEY, True)):
                chromium.run("document.getElementById('key-value').focus()")
                chromium.type(key)
                chromium.press("Enter")
                shown = "'out').hidden === false" if accepted else "'key-why').textContent.includes('not accepted')"
                chromium.until(f"document.getElementById({shown}")
            chromium.until("document.querySelector('#run button') !== null")
            assert chromium.run("sessionStorage.length") == 1
            assert chromium.run("localStorage.length + document.cookie.length") <= 1  # the theme at most
            assert KEY not in chromium.run("document.documentElement.outerHTML")
            chromium.run("document.querySelector('#run button').click()")
            chromium.until("document.querySelector('.report').textContent.includes('<script>')")
            assert chromium.run("violations.length === 0 && globalThis.pwned === undefined")
