"""The profile: the kind of a query decides how much words count, and no text takes long to classify."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.retrieval.profile import QueryKind, profile


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("parseHeader", "identifier"),
        ("Ledger.append()", "identifier"),
        ("std::vector", "identifier"),
        ("parse_header read_all", "identifier"),
        ("src/core/ledger.py", "path"),
        ("ledger.py", "path"),
        ("TypeError: 'NoneType' object is not callable", "error"),
        ("panic: runtime error: index out of range", "error"),
        ("how does the ledger handle torn lines", "natural"),
        ("why is parseHeader called by the reader", "mixed"),
        ("where do we use HTTPServer", "mixed"),
        ("", "natural"),
        ("?!", "natural"),
    ],
)
def test_kinds(query: str, kind: str) -> None:
    assert profile(query).kind == kind


def test_names_lean_on_words_and_questions_on_meaning() -> None:
    assert profile("parseHeader").lexical_weight > 0.5 > profile("how are torn lines handled").lexical_weight


@given(st.text())
def test_any_text_has_a_profile(query: str) -> None:
    found = profile(query)
    assert found.kind in QueryKind
    assert 0 <= found.lexical_weight <= 1


@pytest.mark.e2e
def test_long_queries_do_not_backtrack() -> None:
    """In a process with a limit on processor time: quadratic matching of 10,000 characters takes many times as long."""
    script = (
        "import resource; from codeintel_core.retrieval.profile import profile\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "for unit in ['A', 'a', '_', 'a.', 'a/', 'A1', 'a::', 'aA ', '9', 'at ']:\n"
        "    for _ in range(50): profile(unit * (9990 // len(unit)) + ' ?! x')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("Ledger.append", {"Ledger.append": 1, "append": 1}),
        ("append", {"append": 1}),
        ("how does parseHeader work", {"parseHeader": 0.5}),
        ("what does the Context hold", {"Context": 0.5}),
        ("what does `append` do", {"append": 0.5}),
        ("How are lines handled", {}),
    ],
)
def test_asked_names(query: str, names: dict[str, float]) -> None:
    assert profile(query).names == names


def test_little_prose_is_vague() -> None:
    assert profile("errors in python").is_vague
    assert not profile("torn lines of the ledger").is_vague
    assert not profile("append").is_vague
