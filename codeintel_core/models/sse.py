"""Server-sent events from raw bytes, exactly as the HTML standard says; nothing else ends a line.

`str.splitlines` and httpx's line iterators also split at U+2028 and U+0085, which cuts a JSON frame in two.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 1 << 20


class SseParser:
    """Turns chunks of bytes, cut anywhere, into the `data` of whole events; comments and other fields are dropped.

    Lines are decoded whole: CR and LF never occur inside a UTF-8 sequence, so a chunk may end within a character.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._after_cr = False
        self._is_start = True
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that `chunk` completes; an event that never ends is never given.

        Raises:
            ValueError: an event is larger than 1 MiB.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")  # the CR before it has ended the line already
        self._buffer += chunk
        events: list[str] = []
        start = 0
        while (end := _LINE_END.search(self._buffer, max(start, self._scanned))) is not None:
            if (data := self._line(bytes(self._buffer[start : end.start()]))) is not None:
                events.append(data)
            start = end.end()
            self._after_cr = end[0] == b"\r" and start == len(self._buffer)
        del self._buffer[:start]
        self._scanned = len(self._buffer)
        if len(self._buffer) + self._data_bytes > MAX_EVENT_BYTES:
            raise ValueError(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        return events

    def _line(self, line: bytes) -> str | None:
        if self._is_start:
            self._is_start = False
            line = line.removeprefix(_BOM)
        if not line:
            found = "\n".join(self._data) if self._data else None
            self._data.clear()
            self._data_bytes = 0
            return found
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
            self._data_bytes += len(value)
        return None
