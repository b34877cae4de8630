"""RM3: the second pass of the words, when the gate lets it, and what it adds to the query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from codeintel_core.catalog import ChunkRow
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import Encoder
from codeintel_core.errors import DeadlineExceeded, ModelUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import RepositoryReader
from codeintel_core.home import Home
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.retrieval.budget import budget
from codeintel_core.retrieval.engine import Mode, SearchEngine
from codeintel_core.retrieval.feedback import expanded
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.retrieval.gate import gate
from codeintel_core.retrieval.profile import profile
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, run
from codeintel_core.telemetry.steps import Step
from tests.core import specimen
from tests.core.conftest import Template

_CHUNK = ChunkRow(0, "r", "x.py", "", "python", "source", "utf-8", "function", "", "", "", "", 1, 1, 0, 0, "")
_PROSE = "how are lines written"


def _frequencies(**known: int) -> object:
    def of(terms: Sequence[str]) -> list[int]:
        return [known.get(term, 5) for term in terms]

    return of


def test_terms_of_the_best_chunks_join_the_query_with_a_tenth_of_the_weight() -> None:
    chunks = [(_CHUNK._replace(text="ledger journal"), 3.0), (_CHUNK._replace(text="journal file"), 1.0)]
    found = expanded({"line": 1.0, "write": 1.0}, chunks, _frequencies(file=1), 100)  # type: ignore[arg-type]
    assert found["line"] == found["write"] == pytest.approx(0.45)
    assert sum(found.values()) == pytest.approx(1)
    assert found["journal"] > found["ledger"] > 0
    assert "file" not in found  # of a single chunk


def test_what_is_everywhere_tells_nothing() -> None:
    chunks = [(_CHUNK._replace(text="self journal 123 ab"), 1.0)]
    found = expanded({"line": 1.0}, chunks, _frequencies(self=60), 100)  # type: ignore[arg-type]
    assert set(found) == {"line", "journal"}


def test_a_query_stays_itself_when_nothing_can_be_learnt() -> None:
    assert expanded({"line": 1.0}, [], _frequencies(), 100) == {"line": 0.9}  # type: ignore[arg-type]


def _ranked(*scores: float) -> Ranked:
    return np.arange(len(scores)), np.array(scores, np.float32)


@pytest.mark.parametrize(
    ("query", "repositories", "channels", "seconds", "reason"),
    [
        (_PROSE, 1, {"lexical": _ranked(*[2] * 10)}, 1, "best word hit is only 1.0 times the tenth"),
        (_PROSE, 1, {"lexical": _ranked(9, *[2] * 9)}, 1, "best word hit is 4.5 times the tenth"),
        (_PROSE, 1, {"lexical": _ranked()}, 1, "no word hits to learn from"),
        (_PROSE, 1, {}, 1, "no word hits to learn from"),
        (_PROSE, 1, {"lexical": _ranked(*[2] * 10)}, 0, "less than 50 ms left"),
        (_PROSE, 9, {"lexical": _ranked(*[2] * 10)}, 1, "9 repositories"),
        ("parse_header", 1, {"lexical": _ranked(*[2] * 10)}, 1, "identifier query: asked as written"),
    ],
)
def test_the_gate_says_why(
    query: str, repositories: int, channels: dict[str, Ranked], seconds: float, reason: str
) -> None:
    plan = budget(profile(query), candidates=100, repositories=repositories, limit=10, feedback=True)
    found = gate(plan, channels, 1, Deadline.after(seconds))
    assert found.feedback_reason == reason
    assert found.feedback == ("only" in reason)


def test_no_second_pass_unless_it_is_asked_for() -> None:
    plan = budget(profile(_PROSE), candidates=100, repositories=1, limit=10)
    found = gate(plan, {"lexical": _ranked(*[2] * 10)}, 1, Deadline.after(1))
    assert (found.feedback, found.feedback_reason) == (False, "lexical_feedback is off")


def test_more_candidates_are_read_when_they_lie_in_few_catalogs() -> None:
    wide = budget(profile(_PROSE), candidates=100, repositories=200, limit=10)
    few, many = (gate(wide, {}, fan_out, Deadline.after(1)) for fan_out in (10, 90))
    assert (few.hydrated, many.hydrated) == (100, 60)
    assert "in 90 catalogs" in many.hydrated_reason


_FILES = {
    **{f"src/filler{i}.py": {f"filler{i}": f"def filler{i}():\n    return {i}\n"} for i in range(36)},
    "a.py": {"append": "def append(line):\n    journal.write(line)\n"},
    "b.py": {"remove": "def remove(line):\n    journal.erase(line)\n"},
    "c.py": {"replace": "def replace(line):\n    journal.swap(line)\n"},
    "d.py": {"rotate": "def rotate():\n    journal.rename()\n"},
}
"""Who asks about lines means the journal: `rotate` says nothing of lines, but shares a rare word with what does."""


@pytest.fixture(scope="module")
def generation(template: Template) -> Iterator[Generation]:
    reader = RepositoryReader(Home(template(_FILES) / "home").repository("demo"))
    yield reader.acquire()
    reader.close()


@pytest.fixture
def lexical_engine() -> Iterator[SearchEngine]:
    def no_encoder() -> Encoder:
        raise ModelUnavailable("the model is not there")

    engine = SearchEngine(Settings(retrieval_budget_ms=60_000, lexical_feedback=True), no_encoder)
    yield engine
    engine.close()


def _steps(engine: SearchEngine, query: str, generation: Generation) -> tuple[dict[str, Step], list[str]]:
    with run("search", None) as current:
        found = engine.search(query, [generation], scope=Scope(), limit=10, mode=Mode.HYBRID)
    return {step.kind: step for step in current.steps}, [hit.chunk.name for hit in found.hits]


def test_words_alone_get_a_second_pass(lexical_engine: SearchEngine, generation: Generation) -> None:
    steps, names = _steps(lexical_engine, "what is done with a line", generation)
    assert steps["gate.secondary"].attributes["feedback"] is True
    assert steps["retrieve.feedback"].status is Status.COMPLETED
    assert "rotate" in names


def test_without_a_second_pass_only_the_words_of_the_query_count(generation: Generation) -> None:
    engine = SearchEngine(Settings(retrieval_budget_ms=60_000), specimen.HashEncoder)
    try:
        found = engine.search("what is done with a line", [generation], scope=Scope(), limit=10, mode=Mode.LEXICAL)
    finally:
        engine.close()
    assert "rotate" not in [hit.chunk.name for hit in found.hits]


def test_a_failed_second_pass_leaves_the_first(
    lexical_engine: SearchEngine, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object, **__: object) -> list[int]:
        raise DeadlineExceeded("lexical search ran past its deadline")

    monkeypatch.setattr(LexicalSearcher, "frequencies", late)
    steps, names = _steps(lexical_engine, "what is done with a line", generation)
    assert steps["retrieve.feedback"].status is Status.TIMED_OUT
    assert "append" in names


def test_a_name_is_asked_as_written(lexical_engine: SearchEngine, generation: Generation) -> None:
    steps, _ = _steps(lexical_engine, "append", generation)
    assert steps["gate.secondary"].attributes["feedback"] is False
    assert "retrieve.feedback" not in steps
