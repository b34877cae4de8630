"""From judged requests to a proposal that is kept, and from a proposal that holds to the tuning that counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow.parquet as pq

from codeintel_core.embedding.select import encoder_for
from codeintel_core.errors import PublishConflict, TuningRefused
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.cocitation import Pairs
from codeintel_core.retrieval.profile import QueryKind
from codeintel_core.retrieval.tuning import Factors, Tuned, Tuning
from codeintel_core.settings import Settings
from codeintel_pipelines.evaluation import golden, own
from codeintel_pipelines.evaluation.harness import Variant
from codeintel_pipelines.evaluation.metrics import Values
from codeintel_pipelines.learning.judge import golden_reasons, judge
from codeintel_pipelines.learning.log import Log, read

_NOW, _PROPOSED = "now", "proposed"
_METRIC = "ndcg@10"
_PROPOSAL = "proposal.json"


@dataclass(frozen=True, slots=True)
class Proposal:
    """The last proposal of a home.

    Attributes:
        parent: id of the tuning that counted, '' for the defaults.
        factors: proposed.
        reasons: why it may not be promoted; empty when it may.
        pairs: of files, as `Pairs`; those that count now unless better ones may be promoted.
        pair_reasons: why no other pairs may be promoted; empty when they may.
        learned_from: sessions and requests on both sides of the split, and the time of the last request.
        numbers: changes on the later sessions and on the golden queries.
    """

    parent: str
    factors: dict[str, dict[str, float]]
    reasons: list[str]
    learned_from: dict[str, Any]
    numbers: dict[str, Any]
    pairs: dict[str, Any] = field(default_factory=dict)
    pair_reasons: list[str] = field(default_factory=list)


def propose(home: Home, settings: Settings, connection: duckdb.DuckDBPyConnection) -> Proposal:
    """Learn from what the views of `connection` show, judge, and keep the proposal in `tuning/proposal.json`.

    Raises:
        TuningRefused: the document that counts is damaged; roll it back first.
    """
    parent = tuning.current_id(home)
    now = tuning.tuned(home, parent)
    requests = read(connection, _kept(home), golden_digests(home))
    judged = judge(Log.of(requests), now.factors, now.pairs)
    reasons, pair_reasons, by_repository = list(judged.reasons), list(judged.pair_reasons), dict[str, float]()
    pairs = judged.pairs
    if not reasons:  # it costs an index of every repository
        reasons, by_repository = golden_reasons(_golden(home, settings, now, judged.factors, pairs))
    if reasons and not (judged.weight_reasons or pair_reasons):  # both helped: whether golden queries allow the weights
        pairs, pair_reasons = now.pairs, reasons
        reasons, by_repository = golden_reasons(_golden(home, settings, now, judged.factors, pairs))
    plain, last = asdict(judged), max((row.at for row in requests), default=None)
    found = Proposal(
        parent=parent,
        factors=judged.factors,
        reasons=reasons,
        learned_from={**judged.sessions, "until": last.isoformat() if last else ""},
        numbers={"later_sessions": plain["changes"], "of_pairs": plain["pair_changes"], "golden": by_repository},
        pairs=pairs.model_dump(),
        pair_reasons=pair_reasons,
    )
    home.tuning.mkdir(parents=True, exist_ok=True)
    pending = home.tuning / f".{_PROPOSAL}.tmp"
    pending.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    pending.replace(home.tuning / _PROPOSAL)
    return found


def last_proposal(home: Home) -> Proposal | None:
    """The last proposal, None before there was one (or when its file is damaged)."""
    try:
        return Proposal(**orjson.loads((home.tuning / _PROPOSAL).read_bytes()))
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return None


def promote(home: Home, settings: Settings, dagster_run_id: str) -> tuple[str, list[str]]:
    """Let the last proposal count, if its check passed; returns its id and why it was not promoted.

    Raises:
        BucketUnavailable: the bucket that holds the home did not hear of it; nothing was promoted.
    """
    proposal = last_proposal(home)
    if proposal is None:
        return "", ["there is no proposal"]
    if proposal.reasons:
        return "", proposal.reasons
    document = Tuning(
        parent=proposal.parent,
        created_at=datetime.now(UTC),
        dagster_run_id=dagster_run_id,
        factors={QueryKind(kind): by for kind, by in proposal.factors.items()},
        pairs=Pairs.model_validate(proposal.pairs),
        learned_from=proposal.learned_from,
        numbers=proposal.numbers,
    )
    try:
        return tuning.promote(home, document, partial(shared.announce_files, settings)), []
    except PublishConflict as conflict:
        return "", [str(conflict)]


def golden_digests(home: Home) -> list[str]:
    """Digests, as in traces, of all golden queries: what judges a proposal must not be what it was made from."""
    tables = (pq.read_table(_golden_path(home, repo), columns=["text"]) for repo in _with_golden(home))
    texts = (text for table in tables for text in table["text"].to_pylist())
    return sorted({sha256(text.strip().encode()).hexdigest()[:16] for text in texts})


def _kept(home: Home) -> dict[str, Factors]:
    found: dict[str, Factors] = {"": {}}
    for tuning_id in tuning.kept(home):
        try:
            found[tuning_id] = tuning.tuned(home, tuning_id).factors
        except TuningRefused:
            continue  # its requests are left out
    return found


def _golden(
    home: Home, settings: Settings, now: Tuned, factors: Factors, pairs: Pairs
) -> dict[str, tuple[Values, Values]]:
    encoder = encoder_for(settings, threads=settings.embedding_threads)
    ways = (Variant(_PROPOSED, tuned=Tuned(factors, pairs=pairs)), Variant(_NOW, tuned=now))
    found = {}
    for repo in _with_golden(home):
        by_kind = own.compare(home, repo, encoder, settings, ways).values()
        ours, theirs = (np.concatenate([kind[way.name][_METRIC] for kind in by_kind]) for way in ways)
        found[repo] = (ours, theirs)
    return found


def _with_golden(home: Home) -> list[str]:
    return [
        repo
        for repo in home.repository_names()
        if _golden_path(home, repo).exists() and current_id(home.repository(repo)) is not None
    ]


def _golden_path(home: Home, repo: str) -> Path:
    return golden.path_of(home.repository(repo).root)
