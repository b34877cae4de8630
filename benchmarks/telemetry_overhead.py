"""What telemetry costs: the same searches with and without it, and with an exporter that hangs, query by query in turn.

Off means: steps record nothing and there is no ledger, no histogram; runs and their ids stay, answers name them.
A query's wall time ends with its answer; its CPU time includes the filing of its run, which comes after the answer.
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
from codeintel_core.telemetry import filing, metrics, providers, runs, steps
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
        services.start()

        def ask(query: str) -> None:
            services.search(SearchRequest(query=query), Caller("rest"))

        (on_s, on_cpu_s), (off_s, off_cpu_s) = _in_turn(ask, asked, contextlib.nullcontext, _off)
        for time_of, on, off in (("query time", on_s, off_s), ("CPU time", on_cpu_s, off_cpu_s)):
            share = _more(on, off) / statistics.median(off)
            note = f"{len(on)} pairs in turn, median difference; of the sums {100 * (sum(on) / sum(off) - 1):.1f} %"
            yield Row("telemetry", f"{time_of} without, p50", percentiles(off)[0], "ms")
            yield Row("telemetry", f"{time_of} with, p50", percentiles(on)[0], "ms")
            yield Row("telemetry", f"share of {time_of}", 100 * share, "%", "goal 3", _beside(_MOST_SHARE, share), note)
        with _black_hole() as url:
            hung = _exporting_to(url)
            silent = providers.get()
            (hung_s, _), (silent_s, _) = _in_turn(ask, asked, lambda: _used(hung), lambda: _used(silent))
            more = percentiles(hung_s)[1] - percentiles(silent_s)[1]
            yield Row("telemetry", "exporter that hangs, p95 more", more, "ms", "goal 5", _beside(_MOST_MS, more))
            hung.close()


def _more(on: list[float], off: list[float]) -> float:
    """The median difference of the pairs."""
    return statistics.median(one - other for one, other in zip(on, off, strict=True))


def _beside(goal: float, value: float) -> float | None:
    """How often the value fits into its goal; None when there is nothing to compare, a difference lost in noise."""
    return goal / value if value > 0 else None


Setting = Callable[[], contextlib.AbstractContextManager[Any]]


def _in_turn(
    ask: Callable[[str], None], asked: list[str], one: Setting, other: Setting
) -> list[tuple[list[float], list[float]]]:
    """Seconds and CPU seconds of every query under both settings; who goes first changes with each query."""
    taken: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    for number, query in enumerate(asked * _ROUNDS):
        turns = ((0, one), (1, other)) if number % 2 else ((1, other), (0, one))
        for at, setting in turns:
            with setting():
                started, started_cpu = time.perf_counter(), time.process_time()
                ask(query)
                taken[at].append(time.perf_counter() - started)
                filing.settle()
                cpu[at].append(time.process_time() - started_cpu)
    return [(taken[at][_WARM:], cpu[at][_WARM:]) for at in (0, 1)]


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
