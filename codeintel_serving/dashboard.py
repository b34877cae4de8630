"""What the dashboard shows: a few tables of codeintel.duckdb, read in one short visit and kept until the file changes.

Dagster replaces the file at once. It is opened per visit and closed at the end of it, so that no old version stays
open, and without access to other files: reports are tables of their own, and nothing here reads through a view.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import duckdb
from pydantic import Field

from codeintel_core.errors import StorageFailed
from codeintel_serving.models import Model

HOW = "run `codeintel analytics`, or the job refresh_analytics in Dagster (its sensor new_traces does it by itself)"
MAX_DAYS = 366
_MOST_MISSES = 20
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false", "threads": "1", "memory_limit": "256MB",
}  # fmt: skip
_DAYS = {
    "volume": """
        SELECT day, operation, sum(requests)::BIGINT AS requests, sum(ok)::BIGINT AS ok, sum(empty)::BIGINT AS empty,
               sum(errors)::BIGINT AS errors, sum(cancelled)::BIGINT AS cancelled
        FROM daily_volume WHERE day > $before GROUP BY day, operation ORDER BY day, operation""",
    "latency": """
        SELECT day, operation, stage, steps, p50_ms, p95_ms, p99_ms
        FROM stage_latency WHERE day > $before ORDER BY day, operation, stage""",
    "quality": """
        SELECT day, requests, answers, confidence, p10_confidence, citations_verified::BIGINT AS citations_verified,
               citations_dropped::BIGINT AS citations_dropped, zero_hit_share, error_share
        FROM answer_quality WHERE day > $before ORDER BY day""",
}
_MISSES = {
    "zero_hits": """
        SELECT query, query_digest, query_kind, asked, last_asked_at
        FROM zero_hit_queries ORDER BY asked DESC, last_asked_at DESC LIMIT $most""",
    "low_confidence": """
        SELECT query, query_digest, query_kind, asked, last_asked_at, confidence
        FROM low_confidence_queries ORDER BY confidence, asked DESC LIMIT $most""",
}


class DayVolume(Model):
    """Requests of a day and how they ended."""

    day: date
    operation: str
    requests: int
    ok: int
    empty: int
    errors: int
    cancelled: int


class DayLatency(Model):
    """Milliseconds of a stage on a day; `total` is the whole request."""

    day: date
    operation: str
    stage: str
    steps: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class DayQuality(Model):
    """How far the answers of a day could be trusted."""

    day: date
    requests: int
    answers: int
    confidence: float | None
    p10_confidence: float | None
    citations_verified: int
    citations_dropped: int
    zero_hit_share: float
    error_share: float


class Miss(Model):
    """A query that found nothing, or was answered with little confidence."""

    query: str = Field(description="Its text; '' where the setting keeps texts out of traces.")
    query_digest: str
    query_kind: str
    asked: int
    last_asked_at: datetime
    confidence: float | None = None


class Dashboard(Model):
    """Volume, latency and quality by day, and the queries that were answered worst."""

    state: Literal["ready", "empty", "missing", "outdated"] = Field(
        description="missing: the tables were never made; outdated: by an older version; empty: there was no request."
    )
    hint: str = Field("", description="What to do about it; '' when ready.")
    written_at: datetime | None = Field(None, description="When the tables were made.")
    volume: list[DayVolume] = Field([])
    latency: list[DayLatency] = Field([])
    quality: list[DayQuality] = Field([])
    zero_hits: list[Miss] = Field([], description="Most asked first.")
    low_confidence: list[Miss] = Field([], description="Least trusted first.")


_Row = TypeVar("_Row", bound=Model)


class DashboardReader:
    """Reads the dashboard of one home; safe from several threads, one of which reads while the others wait for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, int, int] | None = None
        self._kept: dict[int, Dashboard] = {}

    def read(self, days: int) -> Dashboard:
        """The last `days` days that have requests, as far as the newest of them goes.

        Raises:
            StorageFailed: the file is there and cannot be read.
        """
        with self._lock:
            try:
                stat = self._path.stat()  # before it is opened: what is newer than this is read again next time
            except FileNotFoundError:
                return Dashboard(state="missing", hint=f"To make them, {HOW}.")
            if self._version != (version := _version(stat)):
                self._version, self._kept = version, {}
            if days not in self._kept:
                self._kept[days] = self._read(days, datetime.fromtimestamp(stat.st_mtime, UTC))
            return self._kept[days]

    def _read(self, days: int, written_at: datetime) -> Dashboard:
        try:
            with duckdb.connect(str(self._path), read_only=True, config=_CONFIG) as db:
                db.execute("SET TimeZone = 'UTC'")
                newest = db.execute("SELECT max(day) FROM daily_volume").fetchone()
                before = newest[0] - timedelta(days) if newest and newest[0] else None
                found = {name: _rows(db, query, {"before": before}) for name, query in _DAYS.items()}
                found |= {name: _rows(db, query, {"most": _MOST_MISSES}) for name, query in _MISSES.items()}
        except (duckdb.CatalogException, duckdb.BinderException):
            return Dashboard(state="outdated", hint=f"To make them anew, {HOW}.", written_at=written_at)
        except duckdb.Error as error:
            raise StorageFailed(f"analytics/codeintel.duckdb cannot be read; to make it anew, {HOW}") from error
        if not found["volume"]:
            return Dashboard(state="empty", hint=f"Ask something, then {HOW}.",
                             written_at=written_at)  # fmt: skip
        return Dashboard(
            state="ready", written_at=written_at, volume=_typed(DayVolume, found["volume"]),
            latency=_typed(DayLatency, found["latency"]), quality=_typed(DayQuality, found["quality"]),
            zero_hits=_typed(Miss, found["zero_hits"]), low_confidence=_typed(Miss, found["low_confidence"]),
        )  # fmt: skip


def _version(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _rows(db: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    done = db.execute(query, values)
    names = [column[0] for column in done.description or ()]
    return [dict(zip(names, row, strict=True)) for row in done.fetchall()]


def _typed(kind: type[_Row], rows: list[dict[str, Any]]) -> list[_Row]:
    return [kind.model_validate(row) for row in rows]
