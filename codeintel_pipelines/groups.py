"""Groups of repositories: how far each may lag behind its source, and registration of many from a file."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codeintel_core.errors import CodeIntelError, InvalidRequest
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.repository.lag import lag
from codeintel_core.secrets import without_users
from codeintel_core.settings import Settings
from codeintel_pipelines.watch import served_manifest

_DEFAULT_MINUTES = 24 * 60.0


class _Listed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListedRepository(_Listed):
    """One `[[repository]]` of a registration file."""

    source: str = Field(min_length=1)
    name: str = ""
    branch: str = ""
    group: str = ""


class ListedGroup(_Listed):
    """One `[[group]]` of a registration file."""

    name: str = Field(min_length=1)
    max_minutes_behind: float = Field(gt=0)


class RegistrationFile(_Listed):
    """A registration file."""

    repository: list[ListedRepository] = []
    group: list[ListedGroup] = []


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of one entry: its name, or the error."""

    source: str
    name: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far a repository lags behind, and how far its group allows; None when nothing serves or it is unknown."""

    repo: str
    group: str
    minutes: float | None
    allowed: float

    @property
    def is_kept(self) -> bool:
        """Whether the group's target is met."""
        return self.minutes is not None and self.minutes <= self.allowed


def read_file(path: Path) -> RegistrationFile:
    """Parse a registration file; raises `InvalidRequest` naming what is wrong."""
    try:
        return RegistrationFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(f"{path}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def register_all(home: Home, settings: Settings, listed: RegistrationFile, folder: Path) -> list[Registered]:
    """Register every repository, going on after an error; relative paths start at `folder`."""
    targets = {**_targets(home), **{group.name: group.max_minutes_behind for group in listed.group}}
    if listed.group:
        home.root.mkdir(parents=True, exist_ok=True)
        home.groups.write_text(json.dumps(targets, indent=1, sort_keys=True) + "\n")
    found = []
    for entry in listed.repository:
        local = folder / Path(entry.source).expanduser()
        source = str(local) if local.exists() else entry.source
        try:
            added = mirror.add(
                home, source, name=entry.name, branch=entry.branch, group=entry.group, timeout_s=settings.git_timeout_s
            )
            found.append(Registered(without_users(entry.source), added.name))
        except CodeIntelError as error:
            found.append(Registered(without_users(entry.source), entry.name, without_users(str(error))))
    return found


def freshness(home: Home) -> list[Freshness]:
    """The lag of every repository against the target of its group (a day without one)."""
    targets = _targets(home)
    found = []
    for name in home.repository_names():
        group = mirror.registration(home, name).group
        served = served_manifest(home, name)
        minutes = lag(home, name, served.commit).minutes if served else None
        found.append(Freshness(name, group, minutes, targets.get(group, _DEFAULT_MINUTES)))
    return found


def _targets(home: Home) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(home.groups.read_text())
    except FileNotFoundError:
        return {}
    return found
