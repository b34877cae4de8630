"""Tuning: how learned factors change the weights of fusion, and the immutable documents of what was learned.

A document is `tuning/<id>.json` in the home, its id ends with the digest of its bytes; `tuning/CURRENT` names the one
that counts, `tuning/HELD` says that a person rolled back and nothing is promoted until told so.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codeintel_core import durable, watched
from codeintel_core.errors import PublishConflict, TuningRefused, UnknownTuning
from codeintel_core.home import Home
from codeintel_core.locks import locked
from codeintel_core.retrieval.channels import DENSE, EXACT, LEXICAL, SPARSE, SYMBOLS
from codeintel_core.retrieval.cocitation import NO_PAIRS, Pairs
from codeintel_core.retrieval.profile import QueryKind
from codeintel_core.watched import Stamp, Watched

FORMAT_VERSION = 1
TUNABLE = (LEXICAL, SYMBOLS, SPARSE, EXACT)
"""Channels with a factor; that of words changes their odds against vectors, so vectors need none."""
_LEAST, _MOST = 0.1, 10.0
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{16}")
_MAX_BYTES = 1 << 22

Factors = Mapping[str, Mapping[str, float]]
"""Kind of query -> channel -> factor of its weight; what is missing is 1."""
Announce = Callable[[Mapping[Path, bytes | None]], None]
"""Told what is about to change (file -> content, None to remove it), in this order; what it raises stops the change."""
_Factor = Annotated[float, Field(ge=_LEAST, le=_MOST, allow_inf_nan=False)]


class Tuning(BaseModel):
    """One document: what was learned, from what, and the numbers that allowed it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    parent: str
    created_at: datetime
    dagster_run_id: str = ""
    factors: dict[QueryKind, dict[str, _Factor]]
    pairs: Pairs = NO_PAIRS
    learned_from: dict[str, Any]
    numbers: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What counts now: factors and pairs, the id of their document, and why it was refused ('' when it was not)."""

    factors: Factors = field(default_factory=dict)
    tuning_id: str = ""
    problem: str = ""
    pairs: Pairs = NO_PAIRS


UNTUNED = Tuned()
"""The weights as they are in `blend.py`."""


def tuned_weights(weights: Mapping[str, float], factors: Mapping[str, float]) -> dict[str, float]:
    """Weights of one kind of query under its factors; words and vectors still share what they shared."""
    changed = {name: weight * factors.get(name, 1.0) for name, weight in weights.items()}
    shared, now = weights[LEXICAL] + weights[DENSE], changed[LEXICAL] + weights[DENSE]
    if LEXICAL in factors and now > 0:
        changed[LEXICAL], changed[DENSE] = (changed[LEXICAL] * shared / now, weights[DENSE] * shared / now)
    return changed


class Tunings:
    """What counts in a home; a new pointer or document is noticed as `Watched` does."""

    def __init__(self, home: Home) -> None:
        self._home, self._lock = home, threading.Lock()
        self._pointer = Watched(_pointer(home))
        self._document: Watched | None = None
        self._seen: tuple[Stamp, Stamp] = (None, None)
        self._tuned = UNTUNED

    def __call__(self) -> Tuned:
        """What counts now; never raises: a document that is refused is a `problem` and the default weights."""
        with self._lock:
            try:
                pointer = self._pointer.stamp()
                if (pointer, _stamp(self._document)) != self._seen:
                    tuning_id = current_id(self._home)
                    is_id = _ID.fullmatch(tuning_id) is not None
                    self._document = Watched(_path(self._home, tuning_id)) if is_id else None
                    self._seen = (pointer, _stamp(self._document))  # before it is read: what changes is read again
                    self._tuned = tuned(self._home, tuning_id)
            except (TuningRefused, UnknownTuning) as error:
                self._tuned = Tuned(problem=f"refused: {error}; the default weights are used")
            except OSError as error:
                return Tuned(problem=f"refused: {error.strerror}; the default weights are used")
            return self._tuned


def tuned(home: Home, tuning_id: str) -> Tuned:
    """What a document says; '' are the defaults. Raises as `load`."""
    if not tuning_id:
        return UNTUNED
    document = load(home, tuning_id)
    factors = {kind.value: dict(channels) for kind, channels in document.factors.items()}
    return Tuned(factors, tuning_id, pairs=document.pairs)


def current_id(home: Home) -> str:
    """Id of the document that counts, '' when none does; raises `TuningRefused` when the pointer cannot be read."""
    try:
        return _pointer(home).read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise TuningRefused(f"the pointer of tuning documents cannot be read: {error.strerror}") from None


def kept(home: Home) -> list[str]:
    """Ids of all documents, oldest first."""
    return sorted(path.stem for path in home.tuning.glob("*.json") if _ID.fullmatch(path.stem))


def load(home: Home, tuning_id: str) -> Tuning:
    """A document, its digest compared.

    Raises:
        UnknownTuning: there is none of that id.
        TuningRefused: it is damaged, of another format, or names what this version does not know.
    """
    if not _ID.fullmatch(tuning_id):
        raise UnknownTuning(f"'{tuning_id[:60]}' is not the id of a tuning document; see `codeintel tuning status`")
    try:
        with _path(home, tuning_id).open("rb") as file:
            document = file.read(_MAX_BYTES)
    except FileNotFoundError:
        raise UnknownTuning(f"no tuning document {tuning_id} is kept; see `codeintel tuning status`") from None
    except OSError as error:
        raise TuningRefused(f"tuning document {tuning_id} cannot be read: {error.strerror}") from None
    if not tuning_id.endswith(_digest(document)):
        raise TuningRefused(f"tuning document {tuning_id} does not match its digest; it was changed")
    try:
        found = Tuning.model_validate_json(document)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise TuningRefused(f"tuning document {tuning_id}: {where}: {error.errors()[0]['msg']}") from None
    unknown = {name for channels in found.factors.values() for name in channels} - {*TUNABLE}
    if found.format_version != FORMAT_VERSION or unknown:
        what = f"tunes {min(unknown)}" if unknown else f"has format {found.format_version}"
        raise TuningRefused(f"tuning document {tuning_id} {what}, which this version does not know")
    return found


def _nobody(changes: Mapping[Path, bytes | None]) -> None:
    """A home that is a folder: nobody has to be told."""


def promote(home: Home, tuning: Tuning, announce: Announce = _nobody) -> str:
    """Write a document and point at it; returns its id. A crash leaves the pointer as it was.

    Raises:
        PublishConflict: a person rolled back, or another document counts than the parent it was compared with.
        TuningRefused: it is larger than the 4 MiB that are read.
    """
    document = tuning.model_dump_json(indent=1).encode() + b"\n"
    if len(document) > _MAX_BYTES:
        raise TuningRefused(f"a tuning document of {len(document)} bytes is more than the {_MAX_BYTES} that are read")
    tuning_id = f"{tuning.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{_digest(document)}"
    with _lock(home):
        if held(home).exists():
            raise PublishConflict("a person rolled back: `codeintel tuning resume` allows promotions again")
        if (now := current_id(home)) != tuning.parent:
            raise PublishConflict(
                f"{now or 'the defaults'} count now, this was compared with {tuning.parent or 'the defaults'}"
            )
        _change({_path(home, tuning_id): document, _pointer(home): f"{tuning_id}\n".encode()}, announce)
    return tuning_id


def roll_back(home: Home, tuning_id: str | None = None, announce: Announce = _nobody) -> str:
    """Let an older document count, and hold promotions until `resume`; returns its id, '' for the defaults.

    Args:
        home: of the documents.
        tuning_id: which one; '' for the defaults, None for the parent of the current one.
        announce: told before anything changes here.

    Raises:
        UnknownTuning: it is not kept.
        TuningRefused: it is damaged; nothing was changed.
    """
    with _lock(home):
        if tuning_id is None:
            now = current_id(home)
            if not now:
                raise UnknownTuning("no tuning counts: the weights are the defaults already")
            tuning_id = load(home, now).parent
        if tuning_id:
            load(home, tuning_id)
        since = f"{datetime.now(UTC).isoformat(timespec='seconds')}\n"
        _change({held(home): since.encode(), _pointer(home): f"{tuning_id}\n".encode()}, announce)
    return tuning_id


def resume(home: Home, announce: Announce = _nobody) -> bool:
    """Allow promotions again; returns whether they were held back."""
    with _lock(home):
        was_held = held(home).exists()
        if was_held:
            _change({held(home): None}, announce)
    return was_held


def held(home: Home) -> Path:
    """The file that is there while nothing may be promoted."""
    return home.tuning / "HELD"


def _lock(home: Home) -> AbstractContextManager[None]:
    """One change of the pointer at a time, across processes."""
    return locked(home.tuning / ".lock")


def _pointer(home: Home) -> Path:
    return home.tuning / "CURRENT"


def _path(home: Home, tuning_id: str) -> Path:
    return home.tuning / f"{tuning_id}.json"


def _stamp(file: Watched | None) -> Stamp:
    return file.stamp() if file is not None else None


def _digest(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()[:16]


def _change(changes: Mapping[Path, bytes | None], announce: Announce) -> None:
    """Announce, then write or remove the files in their order."""
    announce(changes)
    for path, data in changes.items():
        if data is None:
            path.unlink(missing_ok=True)
            watched.note_change()
        else:
            durable.replace(path, data)
