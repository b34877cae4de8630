"""A real Chromium, driven over the DevTools protocol: what it logs, requests and refuses is kept for tests."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.sync.client import connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--disable-component-update --disable-extensions --disable-sync --no-first-run --mute-audio --hide-scrollbars "
    "--remote-debugging-port=0 --remote-allow-origins=*"
).split()
_DEADLINE_S = 60.0
_KEYS = {"Enter": 13, "Escape": 27, "Tab": 9}
_WATCH = """
globalThis.violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));
"""


def find() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """One Chromium with one page; use as a context manager.

    Attributes:
        messages: console output, uncaught errors and log entries of the page, as text.
        requests: URLs that were asked for.
    """

    def __init__(self, executable: str) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._ids = itertools.count(1)
        self._profile = tempfile.mkdtemp(prefix="codeintel-chromium-")
        self._process = subprocess.Popen(
            [executable, *_OPTIONS, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._open = ExitStack()
        self._socket = self._open.enter_context(connect(self._page(), max_size=None, open_timeout=_DEADLINE_S))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        self.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a protocol command; events that come meanwhile are kept."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(_DEADLINE_S))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._keep(message)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited, an exception fails the test."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str) -> Any:
        """Poll an expression until it is true; fails after a deadline, with what the page logged."""
        deadline = time.monotonic() + _DEADLINE_S
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, (
                f"never true: {script}\n{self.messages}\n{self.run('document.body.innerText')}"
            )
            time.sleep(0.02)
        return value

    def open(self, url: str) -> None:
        """Go to an address and wait until the page has looked around."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.getElementById('ready')?.hidden === false")

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window and the preferred colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str) -> None:
        """Press and release one key."""
        code = _KEYS.get(key, ord(key[0].upper()))
        text = {} if key in ("Escape", "Tab") else {"text": "\r" if key == "Enter" else key}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Insert text where the focus is."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _page(self) -> str:
        port_file = Path(self._profile) / "DevToolsActivePort"
        deadline = time.monotonic() + _DEADLINE_S
        while not port_file.exists() or "\n" not in port_file.read_text():
            assert self._process.poll() is None, "Chromium ended before it could be driven"
            assert time.monotonic() < deadline, "Chromium did not start in time"
            time.sleep(0.02)
        port = port_file.read_text().split("\n", 1)[0]
        targets = httpx.get(f"http://127.0.0.1:{port}/json", timeout=_DEADLINE_S).json()
        return str(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))

    def _keep(self, message: dict[str, Any]) -> None:
        method, data = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(data["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(f"console.{data['type']}: {[a.get('value') for a in data['args']]}")
        elif method == "Runtime.exceptionThrown":
            self.messages.append(f"exception: {data['exceptionDetails']}")
        elif method == "Log.entryAdded":
            self.messages.append(
                f"log {data['entry']['level']}: {data['entry']['text']} {data['entry'].get('url', '')}"
            )
