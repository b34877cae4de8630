"""The whole way: a set becomes a real index, its questions go through the real engine, the table says how well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.fake_encoder import FakeEncoder
from codeintel_core.indexes import dense_build
from codeintel_core.settings import Settings
from codeintel_pipelines.evaluation import report, sets
from codeintel_pipelines.evaluation.harness import (
    ABLATIONS,
    CHANNEL_VARIANTS,
    HYBRID,
    TRAINED,
    RememberingEncoder,
    evaluate,
    rankings,
)
from codeintel_pipelines.evaluation.throwaway import indexed, with_trained_primary
from tests.pipelines.evaluation.test_sets import write_set

_FILES = {
    "src/ledger.py": "def torn_lines(path):\n    '''Lines that a crash cut off.'''\n    return path.read_bytes()\n",
    "src/queue.go": "package queue\n\n// Drain empties the queue.\nfunc Drain(q *Queue) error {\n\treturn nil\n}\n",
    "tests/test_ledger.py": "def test_torn_lines():\n    assert torn_lines('x')\n",
}
_QUESTIONS = {"torn_lines": "src/ledger.py", "how is the queue drained": "src/queue.go"}


@pytest.fixture
def data(tmp_path: Path) -> sets.EvaluationSet:
    corpus = [{"id": path, "text": text, "repo": "demo", "path": path} for path, text in _FILES.items()]
    passages = [{"id": "p1", "text": "    fn parse_header(&self) -> Header { self.header }\n"}]
    queries = [{"id": q, "text": q, "repo": "demo"} for q in _QUESTIONS] + [{"id": "p", "text": "parse the header"}]
    qrels = "".join(f"{q}\t{path}\t1\n" for q, path in _QUESTIONS.items()) + "p\tp1\t1\n"
    return sets.load(write_set(tmp_path / "set", corpus + passages, queries, qrels))


def test_a_set_is_evaluated(data: sets.EvaluationSet, tmp_path: Path) -> None:
    settings, encoder = Settings(home=tmp_path / "home"), RememberingEncoder(FakeEncoder())
    with indexed(data.documents, encoder, settings) as index:
        assert set(index.generations) == {"demo", "set"}
        results = evaluate(data, index, encoder, settings, (*CHANNEL_VARIANTS, *ABLATIONS))
        found = rankings(data, index, encoder, settings, CHANNEL_VARIANTS[-1])
    assert found["torn_lines"][0] == "src/ledger.py"
    assert found["p"][0] == "p1"
    assert results[HYBRID]["ndcg@10"].tolist() == [1, 1, 1]
    assert len(results) == len(CHANNEL_VARIANTS) + len(ABLATIONS)
    assert "| hybrid" in report.table(results)
    assert "without decay" in report.differences(results)
    assert json.loads(json.dumps(report.as_json(results)))[HYBRID]["recall@10"]["mean"] == 1
    assert report.verdicts(results, {"ndcg@10": 0.9}, 0.01)[0][1]
    assert not report.verdicts(results, {"ndcg@10": 1.1}, 0.01)[0][1]


def test_a_trained_primary_finds_what_exact_search_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_build, "_MIN_APPROXIMATE", 10)  # a corpus of the real size takes minutes to embed
    text = "".join(f"def name{i}():\n    return value{i}\n\n\n" for i in range(300))
    corpus = [{"id": "few.py", "text": "def lone():\n    return 0\n", "repo": "few", "path": "few.py"}]
    corpus += [{"id": "many.py", "text": text, "repo": "many", "path": "many.py"}]
    queries = [{"id": f"q{i}", "text": f"name{i} value{i}", "repo": "many"} for i in range(3)]
    qrels = "".join(f"q{i}\tmany.py\t1\n" for i in range(3))
    data = sets.load(write_set(tmp_path / "set", corpus, queries, qrels))
    settings, encoder = Settings(home=tmp_path / "home"), RememberingEncoder(FakeEncoder())
    with indexed(data.documents, encoder, settings) as index, with_trained_primary(index, 0.5) as (trained, primaries):
        assert primaries["few"] == "1 vectors, SQfp16"
        assert "vectors, IVF1," in primaries["many"]
        assert "nprobe" in primaries["many"]
        vector = encoder.encode_query("name7 value7")
        exact, approximate = (i.generations["many"].dense.search(vector, 3)[0] for i in (index, trained))
        assert exact[0] == approximate[0]
        found = evaluate(data, index, encoder, settings, CHANNEL_VARIANTS)
        found |= evaluate(data, trained, encoder, settings, TRAINED)
    assert report.approximation(found) == ("dense recall@10 1.000 >= exact 1.000 - 0.01", True)
    lossy = found | {"dense, trained primary": {name: values - 0.5 for name, values in found["dense"].items()}}
    assert not report.approximation(lossy)[1]


def test_a_query_is_embedded_once() -> None:
    asked: list[str] = []

    class Counting(FakeEncoder):
        def encode_query(self, text: str):  # type: ignore[no-untyped-def]
            asked.append(text)
            return super().encode_query(text)

    encoder = RememberingEncoder(Counting())
    assert (encoder.encode_query("a") == encoder.encode_query("a")).all()
    assert asked == ["a"]
