"""Where skips are forbidden, only what CI tried to provide and could not may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent
UNAVOIDABLE = "from tests.conftest import skip_unavoidable\ndef test_it(): skip_unavoidable('no-chromium')\n"
AVOIDABLE = "import pytest\ndef test_it(): pytest.skip('Chromium is not on PATH [no-chromium] today')\n"


@pytest.mark.parametrize(
    ("source", "tried", "is_forbidden", "passes"),
    [
        (UNAVOIDABLE, "no-chromium", True, True),
        (UNAVOIDABLE, "", True, False),
        (AVOIDABLE, "no-chromium", True, False),
        (AVOIDABLE, "", False, True),
    ],
)
def test_a_skip_passes_only_when_nothing_could_be_done(
    tmp_path: Path, source: str, tried: str, is_forbidden: bool, passes: bool
) -> None:
    (tmp_path / "test_one.py").write_text(source)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CODEINTEL_UNAVOIDABLE": tried}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # others' plugins cost more than the test
    env["CODEINTEL_FORBID_SKIPS"] = "1" if is_forbidden else ""
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is passes, done.stdout + done.stderr
    assert "skipped: " in done.stdout
