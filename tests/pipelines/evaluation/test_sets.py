"""Evaluation sets: the documented format is read, pinned repositories come from clones, faults are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codeintel_core.errors import InvalidRequest
from codeintel_pipelines.evaluation import sets
from codeintel_pipelines.evaluation.passages import guessed_extension
from tests.conftest import GitRepo


def write_set(folder: Path, corpus: list[dict[str, Any]] | None, queries: list[dict[str, Any]], qrels: str) -> Path:
    """Write a set in the documented format."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        if rows is not None:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    return folder


_QUERIES = [{"id": "q1", "text": "one"}, {"id": "unjudged", "text": "two"}]


def test_a_set_is_read(tmp_path: Path) -> None:
    corpus = [{"id": "d1", "text": "x"}, {"id": "d2", "text": "y", "repo": "r", "path": "a/b.py"}]
    found = sets.load(write_set(tmp_path / "s", corpus, _QUERIES, "q1\td2\t2\nq1\td1\t0\n"))
    assert found.documents == [sets.Document("d1", "x", "s", ""), sets.Document("d2", "y", "r", "a/b.py")]
    assert [query.query_id for query in found.queries] == ["q1"]
    assert found.qrels == {"q1": {"d2": 2.0}}


def test_the_corpus_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "web-dev", None, _QUERIES, "q1\td1\t1\n")
    write_set(tmp_path / "web-corpus", [{"id": "d1", "text": "x"}], [], "")
    assert sets.load(folder).documents[0].doc_id == "d1"
    assert sets.load(folder, corpus=tmp_path / "web-corpus").documents[0].doc_id == "d1"


def test_pinned_repositories_are_read_at_their_revision(tmp_path: Path, git_repo: GitRepo) -> None:
    source = git_repo({"src/a.py": "old\n", "src/b.md": "no\n", "c.py": "outside\n"}, name="demo")
    revision = source.commit({"src/a.py": "pinned\n"})
    source.commit({"src/a.py": "newer\n"})
    folder = write_set(tmp_path / "s", None, [{"id": "q1", "text": "t", "repo": "demo"}], "q1\tdemo:src/a.py\t2\n")
    spec = {"name": "demo", "language": "python", "revision": revision, "benchmark_root": "src"}
    (folder / "repos.json").write_text(json.dumps([spec]))
    found = sets.load(folder, clones=source.path.parent)
    assert found.documents == [sets.Document("demo:src/a.py", "pinned\n", "demo", "src/a.py")]
    with pytest.raises(InvalidRequest, match="no clone of 'demo'"):
        sets.load(folder, clones=tmp_path / "nowhere")


def test_a_work_tree_may_be_the_corpus(tmp_path: Path, git_repo: GitRepo) -> None:
    source = git_repo({"a.py": "x\n", "b.md": "no\n", ".gitignore": "ignored.py\n"}, name="demo")
    (source.path / "ignored.py").write_text("no\n")
    folder = write_set(tmp_path / "s", None, _QUERIES, "q1\ta.py\t1\n")
    assert sets.load(folder, corpus=source.path).documents == [sets.Document("a.py", "x\n", "s", "a.py")]


def test_the_questions_about_this_project_ask_for_files_that_exist() -> None:
    root = Path(__file__).parents[3]
    found = sets.load(root / "benchmarks/own_questions", corpus=root)
    files = {document.doc_id for document in found.documents}
    assert {target for targets in found.qrels.values() for target in targets} <= files


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("queries.jsonl", "{", "cannot be read"),
        ("queries.jsonl", '{"id": 1}\n', ":1 lacks"),
        ("qrels.tsv", "q1\td1\tmuch\n", "cannot be read"),
        ("qrels.tsv", "", "no query with a judgement"),
        ("corpus.jsonl", "", "no documents"),
    ],
)
def test_faults_are_named(tmp_path: Path, file: str, content: str, reason: str) -> None:
    folder = write_set(tmp_path / "s", [{"id": "d1", "text": "x"}], _QUERIES, "q1\td1\t1\n")
    (folder / file).write_text(content)
    with pytest.raises(InvalidRequest, match=reason):
        sets.load(folder)


def test_a_folder_that_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no corpus\.jsonl"):
        sets.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "extension"),
    [
        ("def f(x):\n    return x + 1\n", "py"),
        ("func (q *Queue) Drain() error {\n\treturn nil\n}\n", "go"),
        ("pub fn main() -> Result<(), Error> { let mut x = 1; Ok(()) }\n", "rs"),
        ("§§ %% ^^ ~~ ??? !!! \\\\ ¿¡ )( ][", "txt"),
    ],
)
def test_the_language_of_a_passage_is_guessed(text: str, extension: str) -> None:
    assert guessed_extension(text.encode()) == extension
