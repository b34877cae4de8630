"""The log that is learned from: requests with judged files, as arrays that can be fused again with other weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import duckdb
import numpy as np
from numpy.typing import NDArray

from codeintel_core.retrieval import fusion
from codeintel_core.retrieval.channels import COCITATION, DENSE, LEXICAL
from codeintel_core.retrieval.cocitation import MOST_OF_GAP, SEEDS, Pairs
from codeintel_core.retrieval.tuning import TUNABLE, Factors, tuned_weights

CHANNELS = (*TUNABLE, DENSE)
_LEXICAL, _DENSE = CHANNELS.index(LEXICAL), CHANNELS.index(DENSE)
_MODES = ("auto", "hybrid")
_MOST_REQUESTS = 20_000
_JUDGED = """
    WITH judged AS (
        SELECT trace_id, any_value(session_id) AS session,
               list({'file': repo || ':' || path, 'weight': weight}) AS judged
        FROM judgements WHERE weight > 0 GROUP BY trace_id
    )
    SELECT session, asked_at, query_kind, tuning_id, fusion, candidates, judged
    FROM traces JOIN judged USING (trace_id)
    WHERE mode IN (SELECT unnest(?)) AND query_digest NOT IN (SELECT unnest(?::VARCHAR[]))
    ORDER BY asked_at DESC LIMIT ?
"""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shown:
    """One request, what it showed and which of the files were judged good.

    Attributes:
        session: whose request it is.
        at: when it was asked.
        kind: of the query.
        weights: of each channel then; `defaults`: without learned factors.
        hits: file, score, and the channel scores as 0..1, in the order shown.
        clicks: file -> weight > 0.
    """

    session: str
    at: datetime
    kind: str
    weights: Mapping[str, float]
    defaults: Mapping[str, float]
    hits: Sequence[tuple[str, float, Mapping[str, float]]]
    clicks: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Log:
    """R requests of S sessions with at most H hits of at most H files, over the C `CHANNELS`.

    Attributes:
        sessions: (R,) number of the session; sessions are numbered by the time of their first request.
        kinds: (R,) kind of the query.
        defaults: (R, C) weights without learned factors.
        rest: (R, H) what the score holds beside the fused part (priors); -inf where there is no hit.
        values: (R, H, C) channel scores as 0..1.
        files: (R, H) number of the hit's file: its rank among the shown files, from 0.
        clicks: (R, H) weight of the judgement by number of the file.
        names: (R, H) `repo:path` by number of the file; '' where there is none.
        counts: (R,) files shown.
    """

    sessions: NDArray[np.int64]
    kinds: NDArray[np.str_]
    defaults: Floats
    rest: Floats
    values: Floats
    files: NDArray[np.int64]
    clicks: Floats
    counts: NDArray[np.int64]
    names: NDArray[np.object_]

    @classmethod
    def of(cls, requests: Iterable[Shown]) -> Self:
        """The arrays of these requests."""
        rows = sorted(requests, key=lambda row: row.at)
        most = max((len(row.hits) for row in rows), default=1)
        number: dict[str, int] = {}
        shape = (len(rows), most)
        rest, values = np.full(shape, -np.inf), np.zeros((*shape, len(CHANNELS)))
        files, clicks = np.zeros(shape, np.int64), np.zeros(shape)
        counts, names = np.zeros(len(rows), np.int64), np.full(shape, "", object)
        for at, row in enumerate(rows):
            number.setdefault(row.session, len(number))
            seen: dict[str, int] = {}
            for place, (file, score, channels) in enumerate(row.hits):
                files[at, place] = seen.setdefault(file, len(seen))
                values[at, place] = [channels.get(name, 0.0) for name in CHANNELS]
                rest[at, place] = score - sum(row.weights.get(name, 0.0) * value for name, value in channels.items())
            for file, weight in row.clicks.items():
                clicks[at, seen[file]] = weight
            counts[at] = len(seen)
            names[at, : len(seen)] = list(seen)
        return cls(
            np.array([number[row.session] for row in rows], np.int64),
            np.array([row.kind for row in rows], np.str_),
            np.array([[row.defaults.get(name, 0.0) for name in CHANNELS] for row in rows]).reshape(-1, len(CHANNELS)),
            rest, values, files, clicks, counts, names,
        )  # fmt: skip

    def where(self, mask: NDArray[np.bool_]) -> Log:
        """Some of the requests."""
        parts = (getattr(self, name)[mask] for name in self.__dataclass_fields__)
        return Log(*parts)

    def split(self, train_share: float) -> tuple[Log, Log]:
        """The requests of the earlier sessions and those of the later ones; none has requests in both."""
        cut = round(train_share * self.session_count)
        return self.where(self.sessions < cut), self.where(self.sessions >= cut)

    @property
    def session_count(self) -> int:
        """Sessions, when the log was not cut."""
        return int(self.sessions.max()) + 1 if len(self.sessions) else 0


@dataclass(frozen=True, slots=True)
class Links:
    """The pairs among the files that the requests of a log showed: L of them.

    Attributes:
        requests: (L,) number of the request.
        seeds: (L,) number of the file that lifts the other one, when it is among the best.
        lifted: (L,) number of the other file.
        values: (L,) what it adds to the score.
    """

    requests: NDArray[np.int64]
    seeds: NDArray[np.int64]
    lifted: NDArray[np.int64]
    values: Floats


def links(log: Log, pairs: Pairs) -> Links:
    """Where these pairs can change the order of what was shown."""
    near_of = {
        f"{repo}:{path}": {f"{repo}:{near}": similarity for near, similarity in by.items()}
        for repo, files in pairs.neighbours.items()
        for path, by in files.items()
    }
    found: list[tuple[int, int, int, float]] = []
    for row, names in enumerate(log.names.tolist()):
        number = {name: at for at, name in enumerate(names) if name}
        for name in number.keys() & near_of.keys():
            near = near_of[name]
            found += [(row, number[name], number[other], near[other]) for other in number.keys() & near.keys()]
    table = np.array(found, np.float64).reshape(-1, 4)
    requests, seeds, lifted = table[:, :3].astype(np.int64).T
    return Links(requests, seeds, lifted, pairs.weight * table[:, 3])


def ranks(log: Log, factors: Factors, linked: Links | None = None) -> NDArray[np.int64]:
    """(R, H) rank from 1 of every shown file when the hits are fused with these factors; a file ranks by its best hit.

    Effects of priors are taken as they were, though some of them follow the fused score. Files that are `linked` with
    one of the best are lifted as `cocitation.together` does.
    """
    scores = log.rest + np.einsum("rhc,rc->rh", log.values, weights(log, factors))
    best = np.full(log.files.shape, -np.inf)
    np.maximum.at(best, (np.arange(len(best))[:, None], log.files), scores)
    if linked is not None:
        counted = _places(best)[linked.requests, linked.seeds] <= SEEDS
        requests, seeds, lifted = (part[counted] for part in (linked.requests, linked.seeds, linked.lifted))
        most = MOST_OF_GAP * (best[requests, seeds] - best[requests, lifted])
        lift = np.zeros(best.shape)
        np.maximum.at(lift, (requests, lifted), np.minimum(linked.values[counted], most))
        best += lift
    return _places(best)


def _places(best: Floats) -> NDArray[np.int64]:
    order = np.argsort(-best, axis=1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(1, order.shape[1] + 1)[None, :], axis=1)
    return found


def weights(log: Log, factors: Factors) -> Floats:
    """(R, C) weights under the factors: `tuning.tuned_weights` for all requests at once."""
    by_kind = {kind: np.array([channels.get(name, 1.0) for name in CHANNELS]) for kind, channels in factors.items()}
    changed: Floats = log.defaults.copy()
    for kind, mine in by_kind.items():
        changed[log.kinds == kind] *= mine
    both = [_LEXICAL, _DENSE]
    shared, now = log.defaults[:, both].sum(axis=1), changed[:, both].sum(axis=1)
    changed[:, both] *= np.divide(shared, now, out=np.ones_like(now), where=now > 0)[:, None]
    return changed


def read(connection: duckdb.DuckDBPyConnection, kept: Mapping[str, Factors], without: Sequence[str]) -> list[Shown]:
    """Judged requests from the views of analytics, newest first, at most 20,000.

    Left out are modes of one channel, requests whose words or vectors did not answer, answers that a model reranked,
    and requests under a tuning document that is not kept.

    Args:
        connection: with the views of `analytics.database.create_views`.
        kept: tuning id -> its factors.
        without: query digests that must not be learned from: those of the golden queries.
    """
    found = connection.sql(_JUDGED, params=[list(_MODES), list(without), _MOST_REQUESTS])
    rows = (_shown(row, kept) for batch in found.to_arrow_reader(1_000) for row in batch.to_pylist())
    return [row for row in rows if row is not None]


def _shown(row: Mapping[str, Any], kept: Mapping[str, Factors]) -> Shown | None:
    ranges = {one["channel"]: one for one in row["fusion"]}
    hits = sorted(row["candidates"], key=lambda hit: hit["rank"])
    scores = [hit["score"] for hit in hits]
    if not {LEXICAL, DENSE} <= ranges.keys() <= {*CHANNELS, COCITATION} or row["tuning_id"] not in kept:
        return None
    if scores != sorted(scores, reverse=True):
        return None
    used = {name: float(one["weight"]) for name, one in ranges.items()}
    undone = {name: 1 / factor for name, factor in kept[row["tuning_id"]].get(row["query_kind"], {}).items()}
    judged = {one["file"]: float(one["weight"]) for one in row["judged"]}
    return Shown(
        session=row["session"],
        at=row["asked_at"],
        kind=row["query_kind"],
        weights=used,
        defaults=tuned_weights(used, undone),
        hits=[(f"{hit['repo']}:{hit['path']}", hit["score"], _values(hit, ranges)) for hit in hits],
        clicks=judged,
    )


def _values(hit: Mapping[str, Any], ranges: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {
        one["channel"]: float(
            fusion.scaled(
                one["channel"], np.array([one["score"]]), ranges[one["channel"]]["low"], ranges[one["channel"]]["high"]
            )[0].clip(0, 1)
        )
        for one in hit["channels"]
        if one["channel"] in ranges
    }
