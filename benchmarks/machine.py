"""The machine in words, how busy others kept it, memory of a process, and the folder of results."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
_Result = TypeVar("_Result")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def apart(work: Callable[..., _Result], *arguments: object) -> _Result:
    """The result of a function in a process of its own, whose memory and JVM are nobody else's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When, where and of what a number was measured.

    Attributes:
        at: UTC, to the second.
        commit: of this checkout; ends with `+` when files were changed since.
        machine: cores, processor and Python, never a host name.
        load: load average of the last minute before the measurement began.
        others: cores that other processes kept busy meanwhile (with what the hypervisor took), None when unknown.
    """

    at: str
    commit: str
    machine: str
    load: float
    others: float | None


class Clock:
    """Notes the circumstances of what is measured inside."""

    def __enter__(self) -> Self:
        self._load = round(os.getloadavg()[0], 1)
        self._began = time.perf_counter(), _busy_s(), _own_s()
        return self

    def __exit__(self, *_: object) -> None:
        return

    def circumstances(self) -> Circumstances:
        """Those of the time since the block was entered."""
        wall, busy, own = (
            now - then
            for now, then in zip((time.perf_counter(), _busy_s(), _own_s()), self._began, strict=True)
        )  # fmt: skip
        others = max(0.0, round((busy - own) / wall, 1)) if wall > 1 else None
        return Circumstances(_now(), commit(), describe(), self._load, others)


def describe() -> str:
    """What a number was measured on, in words."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    name = cpu.group(1).strip() if cpu else platform.machine()
    return f"{os.cpu_count() or 1} cores, {name}, Python {'.'.join(platform.python_version_tuple()[:2])}"


def commit() -> str:
    """Short id of this checkout's commit; '' outside of a repository."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=8", "--dirty=+", "--exclude=*"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip()


def memory_mb(pid: int | str = "self") -> tuple[float, float]:
    """Resident memory of a process now and at its peak, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def proportional_mb(pid: int) -> tuple[float, float]:
    """Memory of a process, shared pages divided among those that map them (PSS), and its private part, in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss, *private = (
        sum(int(size) for size in re.findall(rf"^{name}:\s+(\d+)", rollup, re.MULTILINE)) / 1024
        for name in ("Pss", "Private_Clean", "Private_Dirty")
    )
    return pss, sum(private)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def _busy_s() -> float:
    """CPU seconds that the machine was busy, all cores together; idle and waiting for disks are not."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, soft, stolen = map(int, fields)
    return (user + nice + system + irq + soft + stolen) * _TICK_S


def _own_s() -> float:
    """CPU seconds of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
