"""git with a deadline and a cap on its output: for questions whose answer a caller chooses the size of."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from codeintel_core.deadline import Deadline
from codeintel_core.errors import GitFailed
from codeintel_core.repository.git import CONFIG, environment
from codeintel_core.secrets import redact

_PIECE_BYTES = 65_536
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Output:
    """What git wrote, up to the cap.

    Attributes:
        data: the bytes.
        is_cut: whether there was more.
    """

    data: bytes
    is_cut: bool

    @property
    def text(self) -> str:
        """The bytes as text, as git wrote them (see `masks`); what is not UTF-8 becomes U+FFFD."""
        return self.data.decode("utf-8", "replace")


def bounded_git(directory: Path, arguments: Sequence[str], *, deadline: Deadline, max_bytes: int) -> Output:
    """Run git in `directory`; it is killed at the deadline, or when it has written `max_bytes`.

    Raises:
        DeadlineExceeded: it was not done in time.
        GitFailed: it exited with an error; its fatal line is in the message.
    """
    deadline.check(f"git {arguments[0]}")
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            ["git", *CONFIG, "--literal-pathspecs", "-C", str(directory), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=environment(),
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        kept = bytearray()
        reader = threading.Thread(target=_keep, args=(process.stdout, kept, max_bytes), daemon=True, name="git-output")
        reader.start()
        try:
            while reader.is_alive() and not deadline.is_over:
                reader.join(_LOOK_S)
        finally:
            is_cut = len(kept) >= max_bytes
            if reader.is_alive() or is_cut:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its children too: they hold the pipe open
            reader.join()
        if not is_cut:
            deadline.check(f"git {arguments[0]}")
            if process.wait() != 0:
                raise GitFailed(f"git {arguments[0]}: {_why(said)}")
    return Output(bytes(kept[:max_bytes]), is_cut)


def _keep(stream: IO[bytes], kept: bytearray, most: int) -> None:
    while len(kept) < most and (piece := stream.read(min(_PIECE_BYTES, most - len(kept)))):
        kept += piece


def _why(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read(10_000).decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
    why = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1])
    return redact(why)[0][:300]
