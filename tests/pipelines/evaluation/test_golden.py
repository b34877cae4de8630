"""Golden queries: mined without leaking their answer, evaluated by the Dagster job, compared with the time before."""

from __future__ import annotations

import dagster as dg
import pyarrow.parquet as pq
import pytest

from codeintel_core.home import Home
from codeintel_pipelines import runs
from codeintel_pipelines.definitions import defs
from codeintel_pipelines.evaluation import golden, own
from codeintel_pipelines.resources import HomeResource
from tests.conftest import Repo
from tests.pipelines.conftest import add_and_build

pytestmark = pytest.mark.e2e


def _evaluate(home: Home, name: str) -> dg.ExecuteInProcessResult:
    with runs.instance(home) as instance:
        return defs.resolve_job_def("evaluate_retrieval").execute_in_process(
            partition_key=name, instance=instance, resources={"home": HomeResource(root=str(home.root))}
        )


def test_the_job_mines_evaluates_and_compares(home: Home, source: Repo) -> None:
    source.commit({"src/storage.go": "package storage\n\n// WriteSnapshot persists the state of the machine to disk.\n"
                   "func WriteSnapshot(path string) error {\n\treturn open(path)\n}\n"},
                  "Open the snapshot file before writing")  # fmt: skip
    add_and_build(home, source)
    done = _evaluate(home, "calculator")
    assert done.success
    root = home.repository("calculator").root
    rows = pq.read_table(golden.path_of(root)).to_pylist()
    asked = {row["kind"]: row for row in rows}
    assert set(asked) == {"docstring", "commit"}
    assert asked["commit"]["targets"] == ["src/storage.go"]
    (kept,) = own.history(root)
    assert set(kept["results"]) == {"docstring", "commit"}
    assert kept["results"]["commit"]["hybrid"]["recall@10"]["mean"] == 1
    (made,) = [
        e.materialization
        for e in done.get_asset_materialization_events()
        if e.asset_key.path[-1] == "retrieval_evaluation"
    ]
    found = made.metadata["results"].value["commit"]["hybrid"]["ndcg@10"]
    assert found["low"] <= found["mean"] == made.metadata["hybrid_ndcg_commit"].value <= found["high"]
    assert f"{kept['gen_id']} commit" in made.metadata["trend"].value
    (check,) = done.get_asset_check_evaluations()
    assert check.passed
    assert not check.blocking
    assert own.no_worse(root, own.Evaluation("later", 1, kept["results"])) == (True, {"docstring": 0, "commit": 0})
    worse = {"commit": {"hybrid": {"ndcg@10": {"mean": -1.0}}}}
    assert not own.no_worse(root, own.Evaluation("later", 1, worse))[0]


@pytest.mark.parametrize(
    ("text", "docstring", "bare"),
    [
        ('def f():\n    """Say it."""\n    return 1\n', "Say it.", "def f():\n    return 1\n"),
        ("// Say it\n// twice.\nfunc F() {}\n", "Say it\ntwice.", "func F() {}\n"),
        ("/**\n * Say it.\n */\nvoid f();\n", "Say it.", "/**\n */\nvoid f();\n"),
    ],
)
def test_an_answer_does_not_hold_its_question(text: str, docstring: str, bare: str) -> None:
    assert golden._without(text, docstring) == bare
