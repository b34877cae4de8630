"""What the workers of one server know of each other: a folder with one Unix socket each, over which they give metrics.

Asking instead of Prometheus's multi-process files keeps exemplars, gauges as they are, and no file of a dead process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_ANSWER_TIMEOUT_S = 2.0  # a scrape waits for 10 s by default


@dataclass(frozen=True, slots=True)
class Siblings:
    """One worker among `count`, which have the numbers 1 to `count`."""

    folder: Path
    number: int
    count: int

    def address(self, number: int) -> Path:
        """Socket of a worker."""
        return self.folder / f"{number}.sock"

    @property
    def mark(self) -> Path:
        """File of this worker that exists once it came up."""
        return self.folder / f"{self.number}.up"

    @asynccontextmanager
    async def answering(self, told: Callable[[], bytes]) -> AsyncIterator[None]:
        """Tell whoever connects what `told` (called in a thread) gives, until the end of the block."""

        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                writer.write(await asyncio.to_thread(told))
                await writer.drain()
            except ConnectionError:  # who asked did not wait
                pass
            finally:
                writer.close()

        server = await asyncio.start_unix_server(tell, self.address(self.number))
        self.mark.touch()
        try:
            yield
        finally:
            server.close()

    async def ask(self) -> dict[int, bytes]:
        """What each of the others that answer in time tells."""
        numbers = [number for number in range(1, self.count + 1) if number != self.number]
        told = await asyncio.gather(*(self._ask(number) for number in numbers))
        return {number: text for number, text in zip(numbers, told, strict=True) if text}

    async def _ask(self, number: int) -> bytes:
        """b"" where nobody answers: a worker that is starting, or that hangs."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self.address(number))
                try:
                    return await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""
