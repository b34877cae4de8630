"""Keys of a home in a bucket; the only module that knows them (the package's docstring lists them)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codeintel_core.generations.manifest import DIGEST_NAME, FILE_NAME
from codeintel_core.home import Home
from codeintel_core.objects.bucket import Entry

STATE = "state"
FOLLOWERS = "followers"
ROUND = f"{STATE}/PURGE"  # changes with every purge
PURGED = f"{STATE}/purged.json"
MIRROR_NAME = "mirror.json"
SEGMENTS = "traces"
COLLECTOR = f"{SEGMENTS}/COLLECTOR"  # the machine that makes the tables of all machines' rows
RECORD = (MIRROR_NAME, DIGEST_NAME, FILE_NAME)  # of a generation; in this order they are written


def current(repo: str) -> str:
    """The pointer to the served generation."""
    return f"{STATE}/repos/{repo}/CURRENT"


def shared_file(home: Home, path: Path) -> str:
    """A small file that every machine of the home has."""
    return f"{STATE}/{path.relative_to(home.root).as_posix()}"


def pins(repo: str) -> str:
    """Prefix of the pins; each key ends with the generation that it keeps."""
    return f"{STATE}/repos/{repo}/pins"


def generations(repo: str) -> str:
    """Prefix of the records of all generations."""
    return f"generations/{repo}"


def complete(listed: Mapping[str, Entry]) -> dict[str, Entry]:
    """Generations that have a manifest, which is written last, in a listing of records: gen_id -> its entry."""
    return {key.split("/")[-2]: entry for key, entry in listed.items() if key.endswith(f"/{FILE_NAME}")}


def record(repo: str, gen_id: str, name: str) -> str:
    """One of the files of `RECORD`."""
    return f"generations/{repo}/{gen_id}/{name}"


def dropped(repo: str, gen_id: str = "", name: str = "") -> str:
    """What is left of a collected generation, or the prefix of them all."""
    return "/".join(filter(None, ("dropped", repo, gen_id, name)))


def objects(repo: str) -> str:
    """Prefix of everything that is named by its digest."""
    return f"objects/{repo}"


def blob(repo: str, sha256: str) -> str:
    """A file of a generation, or a pack."""
    return f"objects/{repo}/{sha256}"


def follower(machine: str) -> str:
    """What a folder that follows the bucket says of itself."""
    return f"{FOLLOWERS}/{machine}"


def segments(machine: str = "") -> str:
    """Prefix of the rows that a machine, or any, handed over."""
    return f"{SEGMENTS}/{machine}" if machine else SEGMENTS


def segment(machine: str, day: str, table: str, sha256: str) -> str:
    """Rows of a day that a machine handed over, named by their digest."""
    return f"{SEGMENTS}/{machine}/{day}/{table}-{sha256}"
