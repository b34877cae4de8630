"""The machine in words, memory of a process, and the folder of results."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path


def describe() -> dict[str, str | int | float]:
    """What a number was measured on; the load tells whether the machine was shared."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cores": os.cpu_count() or 1,
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def memory_mb(pid: int | str = "self") -> tuple[float, float]:
    """Resident memory of a process now and at its peak, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def results() -> Path:
    """Folder of results (git-ignored)."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    return folder
