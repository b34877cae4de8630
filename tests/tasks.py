"""Tasks of an event loop: none may go on when the work is over."""

from __future__ import annotations

import asyncio


async def assert_none_goes_on() -> None:
    """The caller's task is the last one.

    Generators that httpx leaves to the garbage collector are closed by tasks of the loop's next turns: these may end.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    pending = (await asyncio.wait(others, timeout=5))[1] if others else None
    assert not pending
