"""What /metrics answers: the counters of the process, and the state of the server as it is at the scrape.

Of several workers the one that is asked asks the others, and answers for all: every sample under its `worker`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from codeintel_core.generations.generation import Generation
from codeintel_core.telemetry import metrics, providers
from codeintel_serving.services import Services
from codeintel_serving.siblings import Siblings

MEDIA_TYPES = ("text/plain", "application/openmetrics-text")
MAX_REPOSITORIES = 200
"""Repositories with labels of their own; the rest is left to sums, so that labels stay bounded."""
_KINDS = ("chunks", "primary", "secondary", "tombstones", "lucene")


def exposed(
    services: Services, accept: str, siblings: Siblings | None = None, others: Mapping[int, bytes] | None = None
) -> tuple[bytes, str]:
    """Body and media type: OpenMetrics (with exemplars) for who accepts it, else the text format.

    `others` is what the `siblings` told.
    """
    encode, media_type = choose_encoder(accept)
    if siblings is None:
        return encode(_own(services)), media_type
    registry = CollectorRegistry()
    registry.register(_Workers(siblings.count, {**(others or {}), siblings.number: told_to_siblings(services)}))
    return encode(registry), media_type


def told_to_siblings(services: Services) -> bytes:
    """The metrics of this process as OpenMetrics, exemplars included."""
    encode, _ = choose_encoder(MEDIA_TYPES[1])
    return encode(_own(services))


def _own(services: Services) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Process())
    registry.register(_State(services))
    return registry


class _Workers(Collector):
    """The metrics of several workers, which are text by now, each sample with the number of its worker."""

    def __init__(self, count: int, told: Mapping[int, bytes]) -> None:
        self._count, self._told = count, told

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, text in sorted(self._told.items()):
            for found in text_string_to_metric_families(text.decode()):  # type: ignore[no-untyped-call]
                family = families.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type, found.unit)
                )
                family.samples += [
                    sample._replace(labels={**sample.labels, "worker": str(number)}) for sample in found.samples
                ]
        yield from families.values()
        up = GaugeMetricFamily("codeintel_worker_up", "1 for a worker that answered the scrape.", labels=["worker"])
        for number in range(1, self._count + 1):
            up.add_metric([str(number)], number in self._told)
        yield up


class _Process(Collector):
    """The registry of this process."""

    def collect(self) -> Iterator[Metric]:
        yield from metrics.REGISTRY.collect()


class _State(Collector):
    """What is loaded, read at the scrape: nothing here can be stale, and nothing is loaded for it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        serving = self._services.library.serving()
        yield _total("codeintel_generations_serving", "Generations that serve.", len(serving))
        yield from self._sizes(serving)
        named = serving[:MAX_REPOSITORIES]
        now = datetime.now(UTC)
        yield _by_repo(
            "codeintel_generation_age_seconds", "Time since the served generation was built.",
            [(g.repo, (now - g.manifest.created_at).total_seconds()) for g in named],
        )  # fmt: skip
        yield _by_repo(
            "codeintel_secondary_ratio", "(secondary + tombstones) / primary of what serves.",
            [(g.repo, g.manifest.counts.compaction_ratio) for g in named],
        )  # fmt: skip
        known = [(g.repo, self._services.freshness.known(g)) for g in named]
        yield _by_repo(
            "codeintel_commits_behind", "Commits of the mirror that what serves lacks, where last counted.",
            [(repo, lag.commits) for repo, lag in known if lag is not None and lag.commits is not None],
        )  # fmt: skip
        connected = sum(generation.catalog.is_connected for generation in serving)
        yield _total("codeintel_catalog_connections", "DuckDB catalogs that are open for reading.", connected)
        sampling = providers.get().sampling
        yield _total(
            "codeintel_spans_held", "Spans that wait for the end of their trace.", sampling.held if sampling else 0
        )

        if self._services.handover is not None:
            standing = self._services.handover.standing()
            yield _total(
                "codeintel_trace_segments_waiting",
                "Segments of rows in the bucket that no table has: of this machine, of all on the one that makes them.",
                standing.in_bucket.count,
            )
            yield _total(
                "codeintel_trace_bytes_waiting", "Bytes of rows that were not handed over.", standing.bytes_here
            )
            yield _total(
                "codeintel_trace_oldest_waiting_seconds", "Age of the oldest row that no table has, or less.",
                standing.oldest_s(now),
            )  # fmt: skip

    def _sizes(self, serving: list[Generation]) -> Iterator[Metric]:
        sizes = GaugeMetricFamily("codeintel_index_entries", "Entries of the served indexes by kind.", labels=["kind"])
        for kind in _KINDS:
            sizes.add_metric([kind], sum(getattr(g.manifest.counts, kind) for g in serving))
        yield sizes


def _total(name: str, about: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, about)
    family.add_metric([], value)
    return family


def _by_repo(name: str, about: str, values: list[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=["repo"])
    for repo, value in values:
        family.add_metric([repo], value)
    return family
