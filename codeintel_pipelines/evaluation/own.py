"""Evaluation of a published generation with the golden queries of its own repository, and its history."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core.embedding.contract import Encoder
from codeintel_core.errors import NotIndexed
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.repository.git import GitRepository
from codeintel_core.settings import Settings
from codeintel_pipelines.evaluation import golden, report
from codeintel_pipelines.evaluation.harness import CHANNEL_VARIANTS, HYBRID, RememberingEncoder, Variant, evaluate
from codeintel_pipelines.evaluation.sets import EvaluationSet, Query
from codeintel_pipelines.evaluation.throwaway import Index, build_index, close

_METRIC = "ndcg@10"
_MAX_DROP = 0.02


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of one generation: kind of query -> variant -> metric -> mean and interval."""

    gen_id: str
    queries: int
    results: dict[str, Any]


def mine(home: Home, repo: str) -> pa.Table:
    """Write and return the golden queries of the served generation.

    Raises:
        NotIndexed: nothing is published yet.
    """
    folder = _served(home, repo)
    manifest = manifests.load(folder)
    chunks = pq.read_table(folder / "chunks.parquet", columns=golden.CHUNK_COLUMNS)
    table = golden.mine(chunks, GitRepository(home.repository(repo).mirror), manifest.commit)
    path = golden.path_of(home.repository(repo).root)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)
    return table


def evaluate_served(home: Home, repo: str, encoder: Encoder, settings: Settings) -> Evaluation:
    """Ask the golden queries of an index like the served one, without the asked docstrings; keep the result."""
    by_kind = compare(home, repo, encoder, settings, CHANNEL_VARIANTS)
    queries = sum(len(found[HYBRID][_METRIC]) for found in by_kind.values())
    results = {kind: report.as_json(found) for kind, found in by_kind.items()}
    done = Evaluation(_served(home, repo).name, queries, results)
    _keep(home.repository(repo).root, done)
    return done


def compare(
    home: Home, repo: str, encoder: Encoder, settings: Settings, variants: Sequence[Variant]
) -> dict[str, report.Results]:
    """The golden queries asked in several ways of one index like the served one: results by kind of query.

    Raises:
        NotIndexed: nothing is published yet.
    """
    folder = _served(home, repo)
    asked = pq.read_table(golden.path_of(home.repository(repo).root))
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("chunks", "files", "symbols")}
    tables["chunks"] = golden.own_text_removed(tables["chunks"], asked)
    remembering = RememberingEncoder(encoder)
    results: dict[str, report.Results] = {}
    with tempfile.TemporaryDirectory(prefix="codeintel-eval-") as temporary:
        at = Path(temporary) / "index"
        generation = build_index(
            at, repo, chunks=tables["chunks"], files=tables["files"], symbols=tables["symbols"],
            encoder=remembering, home=home,
        )  # fmt: skip
        try:
            for kind, data, index in _sets(asked, tables["chunks"], Index({repo: generation}, {}, at.parent)):
                results[kind] = evaluate(data, index, remembering, settings, variants)
        finally:
            close(generation)
    return results


def no_worse(root: Path, done: Evaluation) -> tuple[bool, dict[str, float]]:
    """Whether no kind of query lost more than .02 nDCG against the previous evaluation of another generation."""
    before = next((row for row in reversed(history(root)) if row["gen_id"] != done.gen_id), None)
    changes = {
        kind: round(found[HYBRID][_METRIC]["mean"] - before["results"][kind][HYBRID][_METRIC]["mean"], 4)
        for kind, found in done.results.items()
        if before is not None and kind in before["results"]
    }
    return all(change >= -_MAX_DROP for change in changes.values()), changes


def history(root: Path) -> list[dict[str, Any]]:
    """Every kept evaluation of a repository, oldest first."""
    path = root / "evaluation" / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _keep(root: Path, done: Evaluation) -> None:
    row = {"gen_id": done.gen_id, "at": datetime.now(UTC).isoformat(), "queries": done.queries, "results": done.results}
    with (root / "evaluation" / "history.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def _served(home: Home, repo: str) -> Path:
    repository = home.repository(repo)
    gen_id = current_id(repository)
    if gen_id is None:
        raise NotIndexed(f"'{repo}' has no generation yet; run `codeintel build {repo}`")
    return repository.generation(gen_id)


def _sets(asked: pa.Table, chunks: pa.Table, index: Index) -> list[tuple[str, EvaluationSet, Index]]:
    (repo,) = index.generations
    ids = chunks["chunk_id"].to_pylist()
    documents = {
        golden.DOCSTRING: {chunk_id: str(chunk_id) for chunk_id in ids},
        golden.COMMIT: dict(zip(ids, chunks["path"].to_pylist(), strict=True)),
    }
    found = []
    for kind, document_of in documents.items():
        rows = [row for row in asked.to_pylist() if row["kind"] == kind]
        if rows:
            queries = [Query(row["query_id"], row["text"], repo) for row in rows]
            qrels = {row["query_id"]: dict.fromkeys(row["targets"], 1.0) for row in rows}
            found.append((kind, EvaluationSet(kind, [], queries, qrels), replace(index, document_of=document_of)))
    return found
