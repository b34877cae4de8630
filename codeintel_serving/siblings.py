"""What the workers of one server know of each other: a folder with one Unix socket each, over which they give metrics,
and a file with the number of connections that each holds.

Asking instead of Prometheus's multi-process files keeps exemplars, gauges as they are, and no file of a dead process.
"""

from __future__ import annotations

import asyncio
import mmap
import os
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

    @property
    def connections(self) -> Path:
        """File that `Connections` maps."""
        return self.folder / "connections"

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


class Connections:
    """How many connections each worker holds, in memory that all of them share; a worker writes only its own number."""

    def __init__(self, siblings: Siblings) -> None:
        self._mine = siblings.number - 1
        size = 4 * siblings.count
        file = os.open(siblings.connections, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, size)  # a full disk says so here, and not when it is written
            self._counts = memoryview(mmap.mmap(file, size)).cast("i")  # 0: it accepts none; else one more than it has
        finally:
            os.close(file)

    def tell(self, count: int) -> None:
        """This worker accepts, and holds so many."""
        self._counts[self._mine] = count + 1

    def leave(self) -> None:
        """This worker accepts none."""
        self._counts[self._mine] = 0

    def are_fewest(self) -> bool:
        """Whether no other worker that accepts holds fewer than this one."""
        mine = self._counts[self._mine]
        return all(count == 0 or count >= mine for count in self._counts)

    def of_others(self) -> list[int]:
        """The numbers of the others, to see whether one has changed."""
        return [count for at, count in enumerate(self._counts) if at != self._mine]
