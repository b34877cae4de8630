"""A browser, and a server over a repository whose code would like to be markup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import HOSTILE
from workshop import FILES, new_repository

from tests import browser
from tests.conftest import skip_unavoidable


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual repository with hostile files in it."""
    return new_repository(tmp_path_factory.mktemp("sources") / "shop", {**FILES, **HOSTILE})


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    """A real Chromium for the tests of a module."""
    executable = browser.find()
    if executable is None:
        skip_unavoidable("no-chromium")
    with browser.Browser(executable) as opened:
        yield opened


@pytest.fixture
def page(chromium: browser.Browser, base_url: str) -> Iterator[browser.Browser]:
    """The browser with the page open at desktop size; nothing may be logged, refused by policy or asked of others."""
    chromium.size(1280, 900)
    chromium.open(base_url + "/")
    chromium.messages.clear()
    chromium.requests.clear()
    yield chromium
    assert chromium.run("violations") == []
    assert chromium.run("globalThis.pwned === undefined")
    assert chromium.messages == []
    assert [url for url in chromium.requests if not url.startswith((base_url, "data:"))] == []
