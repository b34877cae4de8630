"""The home: names that could leave their folder or break a platform are refused."""

from __future__ import annotations

import os
import shutil

import pytest

from codeintel_core.errors import InvalidName
from codeintel_core.home import Home, check_name
from codeintel_core.watched import note_change


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
    note_change()
    assert home.repository_names() == ["a", "b"]
    home.repository("unfinished").registration.write_text("{}")
    assert home.repository_names() == ["a", "b", "unfinished"]


def test_a_repository_is_listed_once_it_is_in_place(home: Home) -> None:
    adding = home.repos / ".adding-1"
    adding.mkdir(parents=True)
    (adding / "repository.json").write_text("{}")
    settle(home)
    assert home.repository_names() == []
    adding.rename(home.repos / "a")
    note_change()
    assert home.repository_names() == ["a"]


def test_the_folder_is_read_again_when_it_has_changed(home: Home) -> None:
    for name in ("a", "b"):
        home.repository(name).root.mkdir(parents=True)
        home.repository(name).registration.write_text("{}")
    settle(home)
    assert home.repository_names() == ["a", "b"]
    home.repository("a").registration.unlink()  # inside of a folder, which nothing of ours does: not looked at
    assert home.repository_names() == ["a", "b"]
    shutil.rmtree(home.repository("a").root)
    note_change()
    assert home.repository_names() == ["b"]
    shutil.rmtree(home.repos)
    note_change()
    assert home.repository_names() == []


def settle(home: Home) -> None:
    """As if nothing had changed for some time."""
    os.utime(home.repos, (1_700_000_000, 1_700_000_000))
    note_change()
