"""Pages: what a run has said can be read at any time, whatever becomes of its process, and is filed once."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codeintel_core.telemetry import filing, ledger, metrics, pages, run, step
from codeintel_core.telemetry.ledger import Ledger

_IDS = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(4)]
_START = (
    "import os, signal, sys; from pathlib import Path; from codeintel_core.telemetry import *\nat = Path(sys.argv[1])\n"
)
_KILLED = (
    f"with run('search', at, run_id='{_IDS[0]}'), step('rerank'): pass\n"
    f"with run('search', at, run_id='{_IDS[1]}'), step('rerank'): os.kill(os.getpid(), signal.SIGKILL)"
)


def _python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _START + script, str(folder)], capture_output=True, text=True, check=False
    )


def _events(folder: Path, run_id: str) -> list[str]:
    return [line["event"] for line in ledger.read(folder, run_id)]


def _errors() -> float:
    return metrics.REGISTRY.get_sample_value("codeintel_telemetry_errors_total") or 0


def _line(run_id: str, number: int, size: int = 0) -> bytes:
    return f'{{"run_id":"{run_id}","n":{number},"text":"{"x" * size}"}}\n'.encode()


def _numbers(folder: Path, run_id: str) -> list[int]:
    return [line["n"] for line in ledger.read(folder, run_id)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """What a process left that was killed in its second run, before its first was filed."""
    folder = tmp_path_factory.mktemp("killed")
    _python(_KILLED, folder)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def left(killed: dict[Path, bytes], tmp_path: Path) -> Path:
    """The same in a folder of its own."""
    for path, data in killed.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return tmp_path


def test_the_runs_of_a_killed_process_are_read_from_its_pages(left: Path) -> None:
    assert not list(left.glob("date=*/*")), "it had no time to file them"
    assert _events(left, _IDS[0]) == ["run", "begin", "end", "done"]
    assert _events(left, _IDS[1]) == ["run", "begin"]
    assert [path.stem for path in ledger.newest(left, 9)] == [_IDS[1], _IDS[0]]
    assert [path.stem for path in ledger.find(left, _IDS[0])] == [_IDS[0]]


def test_the_next_process_files_them_and_only_once(left: Path) -> None:
    before = {run_id: ledger.read(left, run_id) for run_id in _IDS[:2]}
    with run("search", left, run_id=_IDS[2]), step("rerank"):
        assert {path.stem for path in left.glob("date=*/*.jsonl")} == set(_IDS[:2])
    assert before == {run_id: ledger.read(left, run_id) for run_id in _IDS[:2]}
    assert filing.recover(left) == 0


def test_a_kill_between_filing_and_clearing_doubles_nothing(left: Path) -> None:
    (name, lines), _ = pages.held(left)
    (left / name).parent.mkdir()
    (left / name).write_bytes(
        lines[: lines.rfind(b"\n", 0, -1) - 5]
    )  # the last line is missing, the one before is torn
    assert _events(left, _IDS[0]) == ["run", "begin", "end", "done"]
    assert filing.recover(left) == 2
    whole = [line for line in (left / name).read_bytes().split(b"\n") if line in lines.split(b"\n")[:-1]]
    assert sorted(whole) == sorted(lines.split(b"\n")[:-1])


def test_a_kill_between_making_a_file_and_writing_it_loses_nothing(left: Path) -> None:
    (name, lines), _ = pages.held(left)
    (left / name).parent.mkdir()
    (left / name).touch()
    assert filing.recover(left) == 2
    assert (left / name).read_bytes() == lines


def test_every_line_that_was_appended_outlives_the_kill(tmp_path: Path) -> None:
    """The process says each number after it was appended; the kill comes between any two instructions."""
    script = (
        "from codeintel_core.telemetry.ledger import Ledger\n"
        f"ledger = Ledger(at, '{_IDS[0]}')\n"
        "for n in range(10**6):\n"
        f'    ledger.append(b\'{{"run_id":"{_IDS[0]}","n":%d}}\\n\' % n)\n'
        "    os.write(1, b'%d\\n' % n)"
    )
    with subprocess.Popen([sys.executable, "-c", _START + script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(300)]
        process.kill()
        said += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
    found = _numbers(tmp_path, _IDS[0])
    assert found == list(range(len(found)))
    assert len(said) <= len(found) <= len(said) + 1


def test_a_run_of_a_living_process_is_read_while_it_goes_on(tmp_path: Path) -> None:
    script = f"with run('build', at, run_id='{_IDS[0]}'), step('build.plan'): print('in', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", _START + script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    with run("search", tmp_path, run_id=_IDS[1]), step("rerank"):
        assert _events(tmp_path, _IDS[0]) == ["run", "begin"]
        assert _events(tmp_path, _IDS[1]) == ["run", "begin"]
        assert filing.recover(tmp_path) == 0, "both live"
    process.communicate(b"\n")
    assert process.returncode == 0
    (path,) = tmp_path.glob(f"date=*/{_IDS[0]}.jsonl")
    assert len(ledger.read_file(path)) == 4
    assert len(list(tmp_path.glob("live/*.pages"))) == 1, "what ends removes its pages"


def test_a_run_that_outgrows_its_page_goes_on_in_its_file(tmp_path: Path) -> None:
    long = Ledger(tmp_path, _IDS[0])
    for number in range(10):
        long.append(_line(_IDS[0], number, pages.PAGE_BYTES // 8))
    assert not list(pages.held(tmp_path))
    assert _numbers(tmp_path, _IDS[0]) == list(range(10))
    long.append(_line(_IDS[0], 10, 2 * pages.PAGE_BYTES))
    long.close()
    assert _numbers(tmp_path, _IDS[0]) == list(range(11))


@pytest.mark.parametrize("lack", ["pages", "disk", "file system"])
def test_without_a_page_lines_go_to_the_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if lack == "pages":
        monkeypatch.setattr(pages, "MOST_PAGES", 1)
    elif lack == "disk":
        monkeypatch.setattr("os.posix_fallocate", full)
    else:
        monkeypatch.setattr(pages, "_file_system", lambda _: "btrfs")
    opened = [Ledger(tmp_path, run_id) for run_id in _IDS[:2]]
    for number in range(3):
        for one, run_id in zip(opened, _IDS[:2], strict=True):
            one.append(_line(run_id, number))
    assert (tmp_path / opened[1].path).is_file()
    assert (lack == "pages") == (not opened[0].path.exists())
    for one in opened:
        one.close()
    assert [_numbers(tmp_path, run_id) for run_id in _IDS[:2]] == [[0, 1, 2]] * 2


def test_what_cannot_be_filed_is_counted_stays_readable_and_is_filed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = _errors()
    with monkeypatch.context() as disk:
        disk.setattr(filing, "file_lines", full)
        with run("search", tmp_path, run_id=_IDS[0]), step("rerank"):
            pass
        assert _events(tmp_path, _IDS[0]) == ["run", "begin", "end", "done"]
        assert not list(tmp_path.glob("date=*/*"))
        assert _errors() > before
    filing.settle()
    (path,) = tmp_path.glob("date=*/*.jsonl")
    assert len(ledger.read_file(path)) == 4
    assert not list(pages.held(tmp_path))


def test_a_page_serves_one_run_after_the_other(tmp_path: Path) -> None:
    for number, run_id in enumerate(_IDS):
        one = Ledger(tmp_path, run_id)
        one.append(_line(run_id, number, 1000 - 300 * number))  # each shorter than what was there
        assert [lines for _, lines in pages.held(tmp_path)] == [_line(run_id, number, 1000 - 300 * number)]
        one.close()
        filing.settle()
    assert len(list(tmp_path.glob("date=*/*.jsonl"))) == len(_IDS)


def test_a_forked_child_leaves_the_pages_to_its_parent(tmp_path: Path) -> None:
    script = (
        f"with run('build', at, run_id='{_IDS[0]}') as current, step('build.plan'):\n"
        "    child = os.fork()\n"
        "    with step('build.dense' if child else 'build.sparse'): child and os.waitpid(child, 0)\n"
        "    if not child:\n"
        f"        with run('search', at, run_id='{_IDS[1]}'), step('rerank'): pass\n"
        "        sys.exit()"
    )
    done = _python(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    ended = [line["kind"] for line in ledger.read(tmp_path, _IDS[0]) if line["event"] == "end"]
    assert sorted(set(ended)) == ["build.dense", "build.plan", "build.sparse"]
    assert _events(tmp_path, _IDS[1]) == ["run", "begin", "end", "done"]
