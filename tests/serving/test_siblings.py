"""Metrics of several workers: every sample under its worker, exemplars kept, a silent worker said to be down."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from codeintel_core.telemetry import metrics
from codeintel_serving import exposition
from codeintel_serving.services import Services
from codeintel_serving.siblings import Siblings

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class _Library:
    def serving(self) -> list[Any]:
        return []


class _Services:
    library = _Library()
    handover = None  # a home in a folder


SERVICES = cast(Services, _Services())


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as short:  # addresses of sockets have 107 bytes
        yield Path(short)


def test_one_worker_answers_for_all_and_says_who_is_silent(folder: Path) -> None:
    """The second worker tells, the third never came up, the fourth hangs."""
    metrics.observe(metrics.step_seconds("fuse.scores", "completed"), 0.003, "ab" * 16)
    hang = asyncio.Event()

    async def scrape() -> dict[int, bytes]:
        async def hung(*_: object) -> None:
            await hang.wait()

        async with AsyncExitStack() as stack:
            told = exposition.told_to_siblings(SERVICES)
            await stack.enter_async_context(Siblings(folder, 2, 4).answering(lambda: told))
            await asyncio.start_unix_server(hung, Siblings(folder, 4, 4).address(4))
            found = await Siblings(folder, 1, 4).ask()
            hang.set()
            return found

    others = asyncio.run(scrape())
    assert set(others) == {2}
    body, media_type = exposition.exposed(SERVICES, OPEN_METRICS, Siblings(folder, 1, 4), others)
    text = body.decode()
    assert media_type.startswith("application/openmetrics-text")
    assert text.count("# TYPE codeintel_step_seconds histogram") == 1
    for number in (1, 2):
        observed = [
            line for line in text.splitlines()
            if line.startswith("codeintel_step_seconds_bucket")
            and f'{{kind="fuse.scores",le="0.005",status="completed",worker="{number}"}}' in line
        ]  # fmt: skip
        assert len(observed) == 1
        assert f'# {{trace_id="{"ab" * 16}"}} 0.003' in observed[0]
    up = [
        f'codeintel_worker_up{{worker="{number}"}} {value}'
        for number, value in ((1, 1.0), (2, 1.0), (3, 0.0), (4, 0.0))
    ]
    assert all(line in text for line in up)


def test_a_single_server_has_no_worker_label() -> None:
    body, media_type = exposition.exposed(SERVICES, "")
    assert media_type.startswith("text/plain")
    assert b"codeintel_generations_serving 0.0" in body
    assert b"worker" not in b"".join(line for line in body.splitlines() if not line.startswith(b"#"))
