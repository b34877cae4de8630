"""The ranking of symbols: what is used counts, more from what is itself used; focus moves the start."""

from __future__ import annotations

from codeintel_core.symbol_rank import MOST_DEFINITIONS, rank
from codeintel_core.symbol_table import SymbolRow


def definition(path: str, name: str, kind: str = "function") -> SymbolRow:
    return SymbolRow(path, "python", name, name, kind, "definition", 1, 2)


DEFINITIONS = [definition("core.py", "core"), definition("edge.py", "edge"), definition("lone.py", "lone")]
USES = [("a.py", "core", 1), ("b.py", "core", 4), ("edge.py", "core", 1), ("a.py", "edge", 1), ("core.py", "core", 9)]


def names(*arguments: object, **options: object) -> list[str]:
    return [ranked.symbol.name for ranked in rank(*arguments, **options)]  # type: ignore[arg-type]


def test_what_more_files_use_comes_first() -> None:
    first, second, third = rank(DEFINITIONS, USES)
    assert [r.symbol.name for r in (first, second, third)] == ["core", "edge", "lone"]
    assert (first.references, second.references, third.references) == (6, 1, 0)  # its own file does not count
    assert first.score > second.score > third.score == 0.0
    assert first.score + second.score <= 1


def test_focus_moves_where_rank_starts() -> None:
    definitions = [definition("x.py", "x_thing"), definition("y.py", "y_thing")]
    uses = [("one.py", "x_thing", 1), ("two.py", "y_thing", 1)]
    assert names(definitions, uses, focus={"two.py": 1.0})[0] == "y_thing"
    assert names(definitions, uses, focus={"one.py": 1.0})[0] == "x_thing"
    assert names(definitions, uses) == ["x_thing", "y_thing"]  # equal: by path


def test_minor_files_fields_and_common_names_count_little() -> None:
    definitions = [definition("test.py", "check"), definition("m.py", "main"), definition("f.py", "size", "field")]
    uses = [("u.py", name, 1) for name in ("check", "main", "size")]
    assert names(definitions, uses, minor={"test.py"})[0] == "main"
    common = [definition(f"{i}.py", "get") for i in range(MOST_DEFINITIONS + 1)]
    assert all(r.score == 0 for r in rank(common, [("u.py", "get", 5)]))


def test_nothing() -> None:
    assert rank([], []) == []
    assert rank([], [("a.py", "x", 1)]) == []
