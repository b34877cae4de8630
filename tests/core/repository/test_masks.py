"""What git says is masked: whole secrets, parts of them, messages, and what was purged; the rest stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeintel_core.deadline import Deadline
from codeintel_core.errors import InvalidRequest
from codeintel_core.home import Home
from codeintel_core.repository import history
from codeintel_core.repository.git import GitRepository, run_git
from codeintel_core.repository.history import LogFilter
from codeintel_core.secrets import is_denied, purged
from codeintel_core.secrets.fingerprint import Fingerprint
from tests.conftest import GitRepo, Repo
from tests.core.secrets.planted import LINES, TOKENS, private_key, text

CODENAME = "operation nightingale protocol"
KEY = private_key(lines=20)
CHANGED = KEY.splitlines()
CHANGED[11] = text(99, 64)
SETTINGS = "".join(f"# {name}\n{line.format(value)}\n" for name, (line, value) in LINES.items())
CANARIES = [*(value for _, value in LINES.values()), *TOKENS.values(), *KEY.splitlines()[1:-2], CHANGED[11], CODENAME]


@pytest.fixture
def git(git_repo: GitRepo, tmp_path: Path) -> GitRepository:
    """A mirror in a home that purged the code name: secrets come, one changes, all go."""
    repo = git_repo({"a.py": "def first():\n    return 1\n"})
    files = {"settings.py": SETTINGS, "tokens.txt": "\n".join(TOKENS.values()) + "\n", "key.go": f"// k\n{KEY}\n"}
    files["plans.py"] = f'PLAN = "{CODENAME}"\n'
    repo.commit(files, f"second\n\nuse {TOKENS['github']} for {CODENAME}")
    repo.commit({"key.go": "// k\n" + "\n".join(CHANGED) + "\n"}, f"{TOKENS['stripe']} is new")
    repo.commit({**dict.fromkeys(files), "b.py": "x = 1\n"}, "fourth")
    home = Home(tmp_path / "home")
    mirror = home.repository("shop").mirror
    mirror.parent.mkdir(parents=True)
    run_git(tmp_path, ["clone", "-q", "--mirror", str(repo.path), str(mirror)], timeout_s=60)
    purged.save(home.purged, purged.PurgeList(texts=(Fingerprint.of(CODENAME.encode()),)))
    return GitRepository(mirror)


def test_no_patch_shows_a_secret_or_a_part_of_one(git: GitRepository) -> None:
    head = git.resolve("HEAD")
    deadline = Deadline.after(60)
    commits = history.log(git, head, LogFilter(), limit=10, deadline=deadline)
    assert len(commits) == 4
    patches = [history.patch(git, "", commit.sha, [], deadline)[0] for commit in commits]
    for canary in CANARIES:
        assert not [at for at, patch in enumerate(patches) if canary in patch], canary
    raw = git.git("diff-tree", "-r", "-p", "--no-commit-id", commits[1].sha).decode()
    assert CHANGED[11] in raw and "BEGIN" not in raw, "the hunk shows the middle of the key only"
    assert len(patches[1].splitlines()) == len(raw.splitlines())
    assert "+DB_PASSWORD = '" in patches[2] and "+PLAN = " in patches[2] and "+    return 1" in patches[3]


def test_no_message_shows_a_secret(git: GitRepository) -> None:
    head = git.resolve("HEAD")
    deadline = Deadline.after(60)
    _, third, second, _ = history.log(git, head, LogFilter(), limit=10, deadline=deadline)
    assert third.subject == "*" * len(TOKENS["stripe"]) + " is new"
    assert second.body == f"use {'*' * len(TOKENS['github'])} for {'*' * len(CODENAME)}"
    (blamed, *_) = history.blame(git, third.sha, "key.go", (13, 13), deadline)
    assert blamed.subject == third.subject


TWINS = (text(201, 24), text(202, 24))
"""Two secrets of the same form: histories that differ in nothing else must give the same answers."""


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[GitRepository, ...]:
    """The same history twice, with another secret: it comes, is replaced, moves in the file, is renamed, goes."""
    found = []
    for secret in TWINS:
        repo = Repo(tmp_path_factory.mktemp("twin") / "source")
        line = f'api_key = "{secret}"\n'
        key = private_key().replace(private_key().splitlines()[2], secret + "A" * (64 - len(secret)))
        repo.commit({"a.py": f"# all of abcdefghijklmnopqrstuvwxyz 0123456789\n{line}", ".env": f"K={secret}\n"}, "1")
        repo.commit({"a.py": line.replace(secret, text(203, 24)) + "token of ABCDEFGHIJKLM\n"}, "2")
        repo.commit({"a.py": f"one\ntwo ** two\n{line}three\n", "k.go": f"// {'x' * 9}\n{key}\n"}, "3")
        repo.commit({"a.py": None, "b.py": f"one\ntwo ** two\n{line}three and 4\n", ".env": None}, "4")
        repo.commit({"b.py": None, "k.go": None, "c.py": "the end\n"}, "5")
        found.append(GitRepository(repo.path))
    return tuple(found)


def answers(git: GitRepository, wanted: LogFilter) -> list[str]:
    return [c.subject for c in history.log(git, git.resolve("main"), wanted, limit=3, deadline=Deadline.after(60))]


def is_shown(path: str, _blob: str) -> bool:
    return not is_denied(path)


@pytest.mark.e2e
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 23), st.integers(1, 24), st.sampled_from(["", 'api_key = "', "K=", "*", "x"]), st.booleans())
def test_no_answer_depends_on_a_secret(
    twins: tuple[GitRepository, ...], start: int, length: int, before: str, in_file: bool
) -> None:
    probe = before + TWINS[0][start : start + length]
    wanted = LogFilter(text=probe, path="a.py" if in_file else "", is_file=in_file, is_shown=is_shown)
    first, second = (answers(git, wanted) for git in twins)
    assert first == second, probe
    assert answers(twins[0], LogFilter(author=probe)) == answers(twins[1], LogFilter(author=probe))


def test_what_is_shown_is_found(twins: tuple[GitRepository, ...]) -> None:
    for git, secret in zip(twins, TWINS, strict=True):
        assert answers(git, LogFilter(text="token of ABC")) == ["3", "2"]
        assert answers(git, LogFilter(text="api_key = ")) == ["5", "3", "2"]
        found = answers(git, LogFilter(text="two ** two", path="c.py", is_file=True))
        assert found == []
        assert answers(git, LogFilter(text="two ** two")) == ["5", "3"]  # the rename between them changes no line
        assert answers(git, LogFilter(text='api_key = "****')) == ["5", "3", "2"]  # as it is shown
        assert answers(git, LogFilter(text=f"K={secret[:5]}")) == ["4", "1"]  # no rule knows it, its file's name does
        assert answers(git, LogFilter(text=f"K={secret[:5]}", is_shown=is_shown)) == []
    assert answers(twins[0], LogFilter(text="Ada")) == []
    assert len(answers(twins[0], LogFilter(author="ADA@example"))) == 3


@pytest.mark.parametrize("text", ["a\nb", "***", "a\0"])
def test_texts_that_are_refused(twins: tuple[GitRepository, ...], text: str) -> None:
    with pytest.raises(InvalidRequest, match="text"):
        answers(twins[0], LogFilter(text=text))
