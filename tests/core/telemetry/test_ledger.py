"""The ledger: every whole line survives a torn one, whether the process died or the disk was full."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeintel_core.telemetry import filing
from codeintel_core.telemetry.ledger import Ledger, read_file

_VALUES = st.one_of(st.none(), st.integers(0, 99), st.text(st.characters(exclude_categories=["Cs"])))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text("abc", max_size=3), _VALUES, max_size=3), max_size=8), st.data())
def test_a_torn_end_costs_the_torn_line_only(
    tmp_path: Path, lines: list[dict[str, object]], data: st.DataObject
) -> None:
    written = [orjson.dumps(line) + b"\n" for line in lines]
    whole = b"".join(written)
    cut = data.draw(st.integers(0, len(whole)))
    (tmp_path / "x.jsonl").write_bytes(whole[:cut])
    ends = [sum(map(len, written[: i + 1])) - 1 for i in range(len(lines))]  # a line counts without its newline
    assert read_file(tmp_path / "x.jsonl") == [line for line, end in zip(lines, ends, strict=True) if end <= cut]


def test_lines_of_threads_do_not_mix(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "run")

    def write(thread: int) -> None:
        for turn in range(100):
            ledger.append(orjson.dumps({"thread": thread, "turn": turn, "text": "x" * 500}) + b"\n")

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    ledger.close()
    ledger.append(b'{"late": true}\n')
    filing.settle()
    assert len(read_file(ledger.path)) == 400


@pytest.mark.e2e
def test_a_full_disk_costs_the_lines_that_do_not_fit_and_no_later_one(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: there are no pages, and a write that reaches it is
    a short one."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from codeintel_core.telemetry.ledger import Ledger\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "ledger = Ledger(Path(sys.argv[1]), 'run'); full = resource.RLIM_INFINITY\n"
        "write = lambda n: ledger.append(b'{\"n\":%d}\\n' % n)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12, full)); write(1); write(2); write(3)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (full, full)); write(4); write(5)\n"
        "print(ledger.path)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert [line["n"] for line in read_file(Path(done.stdout.strip()))] == [1, 4, 5]
