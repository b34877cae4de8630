"""API keys: kept hashed in the home, shown once, revoked in running servers within milliseconds.

A key is `ci_<id>_<secret>` with 256 random bits, so a plain SHA-256 is as good as a slow hash: nothing can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from codeintel_core import durable
from codeintel_core.errors import InvalidRequest, StorageFailed, Unauthorized
from codeintel_core.locks import locked
from codeintel_core.watched import Stamp, Watched
from codeintel_serving.access.principal import Permission, Principal
from codeintel_serving.access.rates import check_rate

MAX_KEY_CHARS = 200
_KEY = re.compile(r"ci_([0-9a-f]{12})_([0-9a-f]{64})")
_NO_HASH = hashlib.sha256(b"").hexdigest()
_REFUSED = "the key is not valid: unknown, expired or revoked"

_Glob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._*?-]{1,100}$")]


class Key(BaseModel):
    """A key as it is kept; the secret is not in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    sha256: str
    label: str = Field("", max_length=200)
    permissions: tuple[Permission, ...] = Field(min_length=1)
    repos: tuple[_Glob, ...] = Field(min_length=1, max_length=1_000)
    rate_limit: str = ""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"

    def principal(self) -> Principal:
        """Who holds this key."""
        return Principal(self.id, frozenset(self.permissions), self.repos, self.rate_limit)


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int = 1
    keys: list[Key] = []


def create(
    path: Path,
    *,
    permissions: Sequence[Permission],
    repos: Sequence[str],
    label: str = "",
    expires_days: float | None = None,
    rate_limit: str = "",
) -> tuple[str, Key]:
    """Add a key; returns the key itself, which is kept nowhere, and its record.

    Raises:
        InvalidRequest: no permission, a repository glob that cannot match, a rate that is none.
        StorageFailed: the file cannot be written.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    now = datetime.now(UTC)
    if rate_limit not in ("", "none"):
        check_rate(rate_limit)
    try:
        key = Key(
            id=key_id,
            sha256=_hashed(secret),
            label=label,
            permissions=tuple(dict.fromkeys(permissions)),
            repos=tuple(dict.fromkeys(repos)),
            rate_limit=rate_limit,
            created_at=now,
            expires_at=now + timedelta(days=expires_days) if expires_days else None,
        )
    except (ValidationError, OverflowError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "expires too late"
        raise InvalidRequest(f"not a key: {what}; repositories are names or globs with * and ?") from None
    _change(path, lambda file: file.keys.append(key))
    return f"ci_{key_id}_{secret}", key


def revoke(path: Path, key_id: str) -> Key:
    """Revoke a key by its id (or the key itself); raises `InvalidRequest` when there is none."""
    wanted = match[1] if (match := _KEY.fullmatch(key_id)) else key_id
    revoked: list[Key] = []

    def mark(file: _KeyFile) -> None:
        for at, key in enumerate(file.keys):
            if key.id == wanted:
                file.keys[at] = key.model_copy(update={"revoked_at": key.revoked_at or datetime.now(UTC)})
                revoked.append(file.keys[at])

    _change(path, mark)
    if not revoked:
        raise InvalidRequest("there is no key of that id; `codeintel keys list` shows all")
    return revoked[0]


def load(path: Path) -> list[Key]:
    """All keys, oldest first; raises `StorageFailed` when the file is not what was written."""
    try:
        return _KeyFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageFailed(f"the file of API keys cannot be read ({error.strerror})") from None
    except ValidationError:
        raise StorageFailed("the file of API keys is damaged; restore it, or delete it to start without keys") from None


class KeyRing:
    """The keys as a running server sees them; a change of the file is seen as `Watched` does, within milliseconds.

    Once a key was seen, this server never goes back to asking for none, whatever happens to the file.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._file = Watched(path)
        self._stamp: Stamp | tuple[()] = None
        self._keys: dict[str, Key] = {}
        self._had_keys = False
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why no key can be checked, '' when all is well."""
        self._reload()
        return self._problem

    @property
    def is_required(self) -> bool:
        """Whether callers must show a key: there is one in the file, be it revoked, or there was."""
        self._reload()
        return self._had_keys or bool(self._problem)

    def principal(self, given: str) -> Principal:
        """The holder of a key, compared in constant time; raises `Unauthorized`, with one wording for all reasons."""
        self._reload()
        match = _KEY.fullmatch(given) if len(given) <= MAX_KEY_CHARS else None
        key = self._keys.get(match[1]) if match else None
        is_same = hmac.compare_digest(_hashed(match[2] if match else given), key.sha256 if key else _NO_HASH)
        if key is None or not is_same or key.state(self._clock()) != "active":
            raise Unauthorized(_REFUSED, was_given=True)
        return key.principal()

    def _reload(self) -> None:
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return
            try:
                self._keys = {key.id: key for key in load(self._path)}
                self._problem = ""
            except StorageFailed as error:
                self._keys, self._problem = {}, str(error)
            self._had_keys = self._had_keys or bool(self._keys)
            self._stamp = stamp

    def _look(self) -> Stamp | tuple[()]:
        """() when the file cannot be looked at: `load` says why."""
        try:
            return self._file.stamp()
        except OSError:
            return ()


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _change(path: Path, change: Callable[[_KeyFile], None]) -> None:
    try:
        with locked(path.with_suffix(".lock")):
            file = _KeyFile(keys=load(path))
            change(file)
            durable.replace(path, f"{file.model_dump_json(indent=1)}\n".encode(), mode=0o600)
    except OSError as error:
        raise StorageFailed(f"the file of API keys cannot be written ({error.strerror})") from None
