"""What telemetry costs: the same searches with and without it, and with an exporter that hangs, query by query in turn.

Off means: steps record nothing and there is no ledger, no histogram; runs and their ids stay, answers name them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Self
from unittest import mock

from benchmarks.queries import questions
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core.telemetry import metrics, providers, runs, steps
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services

_WARM = 10
_ROUNDS = 3
_MOST_SHARE, _MOST_MS = 0.03, 5.0


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    asked = questions(at)
    settings = at.settings.model_copy(update={"result_cache": 0, "query_vector_cache": 0})
    with Services(settings) as services:
        services.warm()

        def ask(query: str) -> None:
            services.search(SearchRequest(query=query), Caller("rest"))

        (on_s, on_cpu_s), (off_s, off_cpu_s) = _in_turn(ask, asked, contextlib.nullcontext, _off)
        on, off = percentiles(on_s)[0], percentiles(off_s)[0]
        share = (
            statistics.median(with_s - without_s for with_s, without_s in zip(on_s, off_s, strict=True)) * 1000 / off
        )
        note = f"{len(on_s)} pairs in turn, median difference; of CPU time {100 * (on_cpu_s / off_cpu_s - 1):.1f} %"
        yield Row("telemetry", "query without, p50", off, "ms")
        yield Row("telemetry", "query with, p50", on, "ms")
        yield Row("telemetry", "share of query time", 100 * share, "%", "goal 3", _beside(_MOST_SHARE, share), note)
        with _black_hole() as url:
            hung = _exporting_to(url)
            silent = providers.get()
            (hung_s, _), (silent_s, _) = _in_turn(ask, asked, lambda: _used(hung), lambda: _used(silent))
            more = percentiles(hung_s)[1] - percentiles(silent_s)[1]
            yield Row("telemetry", "exporter that hangs, p95 more", more, "ms", "goal 5", _beside(_MOST_MS, more))
            hung.close()


def _beside(goal: float, value: float) -> float | None:
    """How often the value fits into its goal; None when there is nothing to compare, a difference lost in noise."""
    return goal / value if value > 0 else None


Setting = Callable[[], contextlib.AbstractContextManager[Any]]


def _in_turn(
    ask: Callable[[str], None], asked: list[str], one: Setting, other: Setting
) -> list[tuple[list[float], float]]:
    """Seconds of every query under both settings, and CPU seconds of all; who goes first changes with each query."""
    taken: list[list[float]] = [[], []]
    cpu_s = [0.0, 0.0]
    for number, query in enumerate(asked * _ROUNDS):
        turns = ((0, one), (1, other)) if number % 2 else ((1, other), (0, one))
        for at, setting in turns:
            with setting():
                started, started_cpu = time.perf_counter(), time.process_time()
                ask(query)
                taken[at].append(time.perf_counter() - started)
                cpu_s[at] += time.process_time() - started_cpu
    return [(taken[at][_WARM:], cpu_s[at]) for at in (0, 1)]


class _Nothing:
    """A step that records nothing."""

    span_id = ""

    def __init__(self, kind: str, _: dict[str, Any]) -> None:
        self.kind = kind

    def begin(self) -> Self:
        return self

    def set(self, **_: Any) -> None:
        return

    def note(self, *_: Any) -> None:
        return

    def end(self, *_: Any) -> None:
        return

    def skip(self, _: str) -> None:
        return

    def around(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


@contextlib.contextmanager
def _off() -> Iterator[None]:
    with (
        mock.patch.object(steps, "Step", _Nothing),
        mock.patch.object(runs, "Ledger", return_value=None),
        mock.patch.object(metrics, "observe"),
    ):
        yield


@contextlib.contextmanager
def _used(found: providers.Providers) -> Iterator[None]:
    with mock.patch.object(providers, "_providers", found):
        yield


@contextlib.contextmanager
def _black_hole() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(1)
        yield f"http://127.0.0.1:{hole.getsockname()[1]}"


def _exporting_to(url: str) -> providers.Providers:
    with mock.patch.dict(os.environ, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url}/v1/traces"}):
        return providers._from_environment()
