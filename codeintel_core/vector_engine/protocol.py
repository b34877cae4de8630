"""What an external vector engine does for CodeIntel, whoever makes it.

Its rows are one generation's chunks: id, path, language, file class and vector. An engine keeps as many generations of
a repository as it is given, and each is seen exactly as it was published.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.indexes.dense import Ids
from codeintel_core.scope import Scope

Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class State:
    """What a generation's rows are told by: how many, and the XOR of their keys (`rows.keys_of`), 16 hex digits."""

    count: int
    digest: str

    @classmethod
    def of(cls, keys: Keys) -> State:
        """The state of rows with these keys."""
        return cls(len(keys), _hex(int(np.bitwise_xor.reduce(keys, initial=np.int64(0)))))

    def changed(self, added: Keys, removed: Keys) -> State:
        """The state after some rows came and others went."""
        came, went = State.of(added), State.of(removed)
        digest = int(self.digest, 16) ^ int(came.digest, 16) ^ int(went.digest, 16)
        return State(self.count + came.count - went.count, f"{digest:016x}")

    @classmethod
    def read(cls, count: int, digest: int | None) -> State:
        """A state that was computed elsewhere, its digest as a signed 64-bit number."""
        return cls(count, _hex(digest or 0))


@dataclass(frozen=True, slots=True)
class Pin:
    """A generation as an engine must know it."""

    repo: str
    gen_id: str
    contract: EmbeddingContract
    state: State


@dataclass(frozen=True, slots=True)
class Change:
    """How a generation differs from its parent.

    Attributes:
        added: rows (`rows.parts`) that the parent lacks, or has otherwise, in some tables.
        removed: keys of the parent's rows that are not there any more.
    """

    added: tuple[pa.Table, ...]
    removed: Keys

    @property
    def added_keys(self) -> Keys:
        """Keys of the rows that were added."""
        return np.concatenate([np.empty(0, np.int64), *(table["key"].to_numpy() for table in self.added)])


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing wrote: rows that came and went since the engine's newest generation of the repository."""

    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Found:
    """The best chunks: ids (int64), cosines (float32), and the position of each one's generation in what was asked."""

    ids: Ids
    scores: Matrix
    owners: NDArray[np.int64]


class VectorEngine(Protocol):
    """An engine; safe to use from several threads. Everything may raise `VectorEngineUnavailable`."""

    @property
    def system(self) -> str:
        """Name of the database system, as OpenTelemetry spells it."""

    def ping(self, timeout_s: float) -> str:
        """Its version in words; waits for at most `timeout_s`."""

    def publish(
        self, pin: Pin, parent: str | None, change: Change | None, whole: Callable[[], Iterator[pa.Table]]
    ) -> Published:  # fmt: skip
        """Make the rows of a generation searchable, all or none; again for the same generation it does nothing.

        `change` is used when the engine's newest generation is `parent`, else `whole`, which yields all rows and is
        compared with what the engine has. Raises when what is there then is not of the pinned state.
        """

    def verify(self, pins: Sequence[Pin]) -> dict[str, str]:
        """Look whether the rows of generations are of their state.

        Returns:
            By generation id why it cannot be searched, '' when it can from now on.
        """

    def unverified(self, pins: Sequence[Pin]) -> dict[str, str]:
        """Why generations cannot be searched now, by id; waits for nothing. They are verified in the background."""

    def search(
        self, pins: Sequence[Pin], query: Matrix, k: int, scope: Scope, deadline: Deadline, within: Ids | None = None
    ) -> Found:  # fmt: skip
        """The best `k` chunks of verified generations within the scope; ties go to the smaller id.

        Args:
            pins: generations of one contract.
            query: float32 (dimension,), unit norm.
            k: number of results.
            scope: what may be found; its repositories are those of the pins.
            deadline: then it is cancelled.
            within: chunk ids that the scope lets through, where the caller knows them: a few are compared one by one.

        Raises:
            DeadlineExceeded: it was late.
        """

    def kept(self, repo: str) -> dict[str, datetime]:
        """Generations of a repository that it holds, and when they were published there."""

    def delete(self, repo: str, gen_ids: Collection[str], *, thoroughly: bool = False) -> int:
        """Forget generations, and the rows that no other one has; returns how many rows.

        `thoroughly` also frees their space at once; what comes next is written over them.
        """

    def close(self) -> None:
        """Close its connections."""


def _hex(number: int) -> str:
    return f"{number & 0xFFFF_FFFF_FFFF_FFFF:016x}"
