"""A repository that is made here (2,500 files of 400 lines), so that numbers do not depend on what else is measured."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from codeintel_core.repository.git import GitRepository

_FILES, _LINES = 2_500, 400
_WORDS = "value result index path name request handler buffer record table commit parser stream token window".split()


def make(folder: Path) -> GitRepository:
    """Commit a million lines in a new repository at `folder` with a work tree, and pack them."""
    folder.mkdir()
    chance = random.Random(1)
    for number in range(_FILES):
        lines = [
            f"    {chance.choice(_WORDS)} = {chance.choice(_WORDS)}_{chance.randrange(20)}({chance.choice(_WORDS)})\n"
            if chance.randrange(20) else f"    token_{chance.randrange(8)} += {chance.choice(_WORDS)}\n"
            for _ in range(_LINES)
        ]  # fmt: skip
        if number % 500 == 0:
            lines[200] = "    needle_77(value)\n"
        (folder / f"f{number}.py").write_text("".join(lines))
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "files"], ["gc", "-q"]):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)
    return GitRepository(folder / ".git")
