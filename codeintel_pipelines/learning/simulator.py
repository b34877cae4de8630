"""Simulated sessions: people who ask, look at what is shown from the top down, and open what they like, with errors.

Every request has a pool of files with a score in each channel. What people want is the best file under *their* weights
of the channels plus noise; what they are shown is the ten best under the default weights. They look at rank r with
probability 1 / r^bias, open a wanted file that they look at with probability .8, and any other with the noise.
Four worlds: `LEANING` people want something else than the defaults give; `CONTENT` ones want just that; `BLIND` ones
open whatever they look at, whether they want it or not, so that their clicks follow the rank and nothing else;
`PAIRING` ones want what `CONTENT` ones do and the file that belongs to it. Where files are `related`, the one that
belongs to the best one is shown with it, further down, whether people want it or not.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from codeintel_core.home import Home
from codeintel_core.retrieval.channels import DENSE, EXACT, LEXICAL, SPARSE, SYMBOLS
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import READ, AnswerTrace, Feedback, TraceJournal
from codeintel_pipelines.learning.log import CHANNELS, Shown

_START = datetime(2026, 1, 5, tzinfo=UTC)
_DEFAULTS = {LEXICAL: 0.6, DENSE: 0.4, SYMBOLS: 0.1, SPARSE: 0.3, EXACT: 0.3}
_WANTED = {LEXICAL: 0.15, DENSE: 0.85, SYMBOLS: 0.4, SPARSE: 0.3, EXACT: 0.3}
_PRIORS = 0.08  # spread of what priors add to a score
_EXPONENT = 1.5  # of words, see `fusion`

Names = np.ndarray[Any, np.dtype[np.int64]]
"""(pool,) number of each file's name."""


class World(StrEnum):
    """What people want, and whether their clicks show it."""

    LEANING = "leaning"
    CONTENT = "content"
    BLIND = "blind"
    PAIRING = "pairing"


@dataclass(frozen=True, slots=True)
class People:
    """How many sessions there are, and how people behave in them."""

    world: World
    sessions: int = 200
    requests: int = 3
    """Most requests of a session; the least is 1."""
    pool: int = 40
    shown: int = 10
    bias: float = 1.0
    """Exponent of the fall of attention with the rank; 0 looks at everything."""
    noise: float = 0.05
    """Chance that a file which is looked at but not wanted is opened."""
    taste: float = 0.1
    """Spread of what people want beside the channels."""
    related: bool = False
    """Whether the file that belongs to the best one is shown with it."""
    weight: float = 0.3
    """Of a click: that of a read."""


def simulate(people: People, seed: int) -> list[Shown]:
    """Requests with clicks; the same for the same seed."""
    random = np.random.default_rng(seed)
    requests: list[Shown] = []
    for session in range(people.sessions):
        begin = _START + timedelta(minutes=30 * session)
        for number in range(int(random.integers(1, people.requests + 1))):
            row = _request(people, random, f"s{session:05d}", begin + timedelta(minutes=5 * number))
            if row.clicks:
                requests.append(row)
    return requests


def store(home: Home, requests: Iterable[Shown]) -> None:
    """Write the requests as traces and their clicks as reads, as a server would have."""
    traces, feedback = TraceJournal(home.trace_journal), Journal(home.feedback_journal)
    for number, row in enumerate(requests):
        run_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{row.session}/{number}"))
        trace = AnswerTrace(
            run_id=run_id, session_id=row.session, otel_trace_id="", operation="search", surface="mcp", asked_at=row.at,
            query=f"{row.session} {number}", scope="{}", mode="auto", retrieval_budget_ms=400, total_budget_ms=400,
            trace_id=run_id, query_kind=row.kind,
        )  # fmt: skip
        found = {name for _, _, values in row.hits for name in values}
        trace.fusion = [
            {"channel": name, "weight": weight, "low": 0.0, "high": 1.0}
            for name, weight in row.weights.items()
            if name in found
        ]
        trace.candidates = [
            {"chunk_id": rank, "repo": file.split(":")[0], "path": file.split(":")[1], "start_line": 1, "end_line": 9,
             "rank": rank, "score": score, "fused": score, "cited": False, "citation": 0,
             "channels": [{"channel": name, "rank": 1, "score": _raw(name, one)} for name, one in values.items()]}
            for rank, (file, score, values) in enumerate(row.hits, 1)
        ]  # fmt: skip
        traces.write(trace)
        for file in row.clicks:
            repo, path = file.split(":")
            at = row.at + timedelta(minutes=1)
            Feedback(str(uuid.uuid4()), READ, row.session, "mcp", repo=repo, path=path, given_at=at).write(feedback)
    traces.close()
    feedback.close()


def _raw(channel: str, value: float) -> float:
    """The score that fusion scales to this value."""
    return float(value ** (1 / _EXPONENT)) if channel == LEXICAL else value


def _request(people: People, random: np.random.Generator, session: str, at: datetime) -> Shown:
    values = random.beta(1.0, 2.5, (people.pool, len(CHANNELS)))
    for rare in (SYMBOLS, EXACT):  # found by few, and then for good
        values[:, CHANNELS.index(rare)] *= random.random(people.pool) < 0.1
    values[:, CHANNELS.index(SPARSE)] = 0.0  # not configured
    priors = random.normal(0, _PRIORS, people.pool)
    scores = values @ _vector(_DEFAULTS) + priors
    wanted_by = _DEFAULTS if people.world in (World.CONTENT, World.PAIRING) else _WANTED
    wish = values @ _vector(wanted_by) + priors + random.normal(0, people.taste, people.pool)
    order = np.argsort(-scores)[: people.shown]
    names = _related(order, random, people.pool) if people.related else np.arange(people.pool)
    wanted = {int(names[np.argmax(wish)])}
    wanted |= {name ^ 1 for name in wanted if people.world is World.PAIRING}
    clicks: dict[str, float] = {}
    for rank, one in enumerate(order.tolist(), 1):
        is_seen = random.random() < rank**-people.bias
        chance = 0.3 if people.world is World.BLIND else 0.8 if names[one] in wanted else people.noise
        if is_seen and random.random() < chance:
            clicks[_file(names[one])] = people.weight
    hits = [
        (
            _file(names[one]),
            float(scores[one]),
            {name: float(v) for name, v in zip(CHANNELS, values[one], strict=True) if v},
        )
        for one in order.tolist()
    ]
    return Shown(session, at, "identifier", _DEFAULTS, _DEFAULTS, hits, clicks)


def _related(order: Names, random: np.random.Generator, pool: int) -> Names:
    """Numbers of the files of a pool; those of the best and of one further down belong together (0 and 1, 2 and 3)."""
    names, topic = np.arange(pool), int(random.integers(pool))
    for place, name in ((0, topic), (int(random.integers(2, len(order))), topic ^ 1)):
        one, other = order[place], np.flatnonzero(names == name)[0]
        names[[one, other]] = names[[other, one]]
    return names


def _vector(weights: Mapping[str, float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([weights[name] for name in CHANNELS])


def _file(number: int) -> str:
    return f"demo:src/m{number:02d}.py"
