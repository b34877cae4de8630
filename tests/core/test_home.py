"""The home: names that could leave their folder or break a platform are refused."""

from __future__ import annotations

import pytest

from codeintel_core.errors import InvalidName
from codeintel_core.home import Home, check_name


@pytest.mark.parametrize("name", ["a", "a1", "my-repo_2.x", "a" * 100])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "A",
        "-a",
        ".a",
        "a..b",
        "a.git",
        "a.lock",
        "a.",
        "a\n",
        "a\0",
        "é",
        "a" * 101,
        "a b",
    ],
)
def test_bad_names_are_refused(home: Home, name: str) -> None:
    with pytest.raises(InvalidName, match=r"1\.\.100"):
        home.repository(name)


def test_only_registered_repositories_are_listed(home: Home) -> None:
    assert home.repository_names() == []
    for name in ("b", "a", "unfinished"):
        home.repository(name).root.mkdir(parents=True)
    for name in ("b", "a"):
        home.repository(name).registration.write_text("{}")
    assert home.repository_names() == ["a", "b"]
