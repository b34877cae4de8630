"""What git says is masked: whole secrets, parts of them, messages, and what was purged; the rest stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.home import Home
from codeintel_core.repository import history
from codeintel_core.repository.git import GitRepository, run_git
from codeintel_core.repository.history import LogFilter
from codeintel_core.secrets import purged
from codeintel_core.secrets.fingerprint import Fingerprint
from tests.conftest import GitRepo
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
