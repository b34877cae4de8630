"""The page's files over HTTP: types, validators and a policy that allows nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from codeintel_serving.web import pages

pytestmark = pytest.mark.e2e

STATIC = Path(pages.__file__).parent / "static"


def test_every_file_has_its_type_a_policy_and_an_etag(http: httpx.Client) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for path in STATIC.iterdir():
        found = http.get("/web/" + path.name)
        assert found.status_code == 200
        assert found.content == path.read_bytes()
        assert found.headers["content-type"].startswith(types[path.suffix])
        assert "default-src 'none'" in found.headers["content-security-policy"]
        assert "unsafe" not in found.headers["content-security-policy"]
        assert found.headers["x-content-type-options"] == "nosniff"
        again = http.get("/web/" + path.name, headers={"If-None-Match": f'W/"other", {found.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")


def test_the_page_is_at_the_root_and_shadows_nothing(http: httpx.Client) -> None:
    found = http.get("/")
    assert found.content == (STATIC / "index.html").read_bytes()
    assert http.head("/").headers["etag"] == found.headers["etag"]
    assert http.get("/livez").json() == {"status": "ok"}
    assert http.post("/").status_code == 405
    for name in ("nothing.js", "../pages.py", "%2e%2e/pages.py", "sub/app.js"):
        missing = http.get("/web/" + name)
        assert missing.status_code == 404
        assert missing.headers["content-type"].startswith("application/problem+json")


def test_the_files_hold_no_inline_script_no_markup_from_data_and_no_foreign_address() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )
        addresses = set(re.findall(r"https?://[^\s\"'`]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script>", page)
