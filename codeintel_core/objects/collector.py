"""The collector: the one machine that makes the tables of what all machines of a home answered."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass

from codeintel_core.errors import InvalidRequest
from codeintel_core.objects import keys
from codeintel_core.objects.bucket import Bucket


@dataclass(frozen=True, slots=True)
class Collector:
    """The machine, by the id of its folder and the name its host had then; '' when there is none."""

    machine: str = ""
    host: str = ""


def named(bucket: Bucket) -> Collector:
    """The machine that the bucket names."""
    found = bucket.get(keys.COLLECTOR)
    try:
        return Collector(**json.loads(found[0])) if found else Collector()
    except (ValueError, TypeError):
        return Collector("unknown", f"a machine that {keys.COLLECTOR} does not say")


def claim(bucket: Bucket, machine: str) -> None:
    """Make this the machine that the bucket names, unless it names another.

    Raises:
        InvalidRequest: it does; two would each take a part of the rows.
        BucketUnavailable: the bucket cannot be asked.
    """
    found = named(bucket)
    if not found.machine:
        bucket.create(keys.COLLECTOR, json.dumps(asdict(Collector(machine, socket.gethostname()))).encode())
        found = named(bucket)
    if found.machine != machine:
        raise InvalidRequest(
            f"the traces of {bucket.url} are collected by {found.host} ({found.machine}): unset "
            f"CODEINTEL_COLLECT_TRACES here, or delete {keys.COLLECTOR} in the bucket if that machine shall not go on"
        )
