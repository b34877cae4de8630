"""`codeintel doctor`: what CodeIntel needs of this machine, each with the fix when it is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from codeintel_core.errors import CodeIntelError, VectorEngineUnavailable
from codeintel_core.settings import Settings

_MIN_FREE_BYTES = 1 << 30
_MIN_GIT = (2, 31)
_ENGINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check."""

    name: str
    ok: bool
    detail: str
    fix: str

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name}: {self.detail}" + ("" if self.ok else f"; {self.fix}")


Check = Callable[[Settings], str]  # the detail; an exception is a failure


def examine(settings: Settings) -> list[Finding]:
    """Run every check."""
    of_bucket = (_BUCKET, _TRACES) if settings.bucket_url else ()
    checks = (*_CHECKS, *of_bucket, *((_ENGINE,) if settings.vector_engine else ()))
    return [_finding(name, check, fix, settings) for name, check, fix in checks]


def as_json(findings: list[Finding]) -> str:
    """The findings as JSON."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)


def _finding(name: str, check: Check, fix: str, settings: Settings) -> Finding:
    try:
        return Finding(name, True, check(settings), fix)
    except CodeIntelError as error:
        return Finding(name, False, str(error), fix)
    except Exception as error:  # a check that breaks is a failed check
        return Finding(name, False, str(error) or type(error).__name__, fix)


def _python(_: Settings) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        raise RuntimeError(version)
    return version


def _git(_: Settings) -> str:
    out = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    if tuple(int(part) for part in out.split()[2].split(".")[:2]) < _MIN_GIT:
        raise RuntimeError(out)
    return out


def _java(_: Settings) -> str:
    from codeintel_core.indexes.jvm import java_home

    home = java_home()
    if not (home / "bin" / "java").is_file():
        raise RuntimeError(f"no java in {home}")
    return str(home)


def _anserini(_: Settings) -> str:
    from codeintel_core.indexes.jvm import anserini_jar

    return anserini_jar().name


def _faiss(_: Settings) -> str:
    import faiss

    return f"{faiss.__version__}, {faiss.get_num_gpus() if hasattr(faiss, 'get_num_gpus') else 0} GPUs"


def _model(settings: Settings) -> str:
    from codeintel_core.embedding.select import contract_for

    contract = contract_for(settings)
    return f"{contract.model} {contract.revision} {contract.precision}"


def _home(settings: Settings) -> str:
    folder = _existing(settings.home)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RuntimeError(f"{folder} is not writable")
    return str(settings.home)


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(_existing(settings.home)).free
    detail = f"{free / (1 << 30):.1f} GiB free"
    if free < _MIN_FREE_BYTES:
        raise RuntimeError(detail)
    return detail


def _bucket(settings: Settings) -> str:
    from codeintel_core.objects.bucket import Bucket

    bucket = Bucket.of(settings)
    return f"{bucket.url}, {bucket.check()}"


def _vector_engine(settings: Settings) -> str:
    from codeintel_core.vector_engine.select import engine_for

    engine = engine_for(settings)
    assert engine is not None
    with closing(engine):
        try:
            return engine.ping(_ENGINE_S)
        except VectorEngineUnavailable as error:
            raise RuntimeError(f"{error}: {error.detail}" if error.detail else str(error)) from None


def _traces(settings: Settings) -> str:
    from datetime import UTC, datetime

    from codeintel_core.objects import collector, segments
    from codeintel_core.objects.bucket import Bucket

    bucket = Bucket.of(settings)
    found, waits = collector.named(bucket), segments.waiting(bucket)
    if not found.machine:
        return "rows stay on their machines: none has CODEINTEL_COLLECT_TRACES"
    age = f", the oldest for {(datetime.now(UTC) - waits.oldest).total_seconds():.0f} s" if waits.oldest else ""
    return f"tables are made by {found.host}; {waits.text} segments wait for it{age}"


def _existing(path: Path) -> Path:
    return next(folder for folder in [path, *path.parents] if folder.exists())


_CHECKS: tuple[tuple[str, Check, str], ...] = (
    ("python", _python, "install Python 3.11 or 3.12"),
    ("git", _git, "install git 2.31 or newer"),
    ("java", _java, "run `make setup`, or point JAVA_HOME at Java 21 or newer"),
    ("anserini", _anserini, "run `make setup`"),
    ("faiss", _faiss, "run `make setup`"),
    ("embedding model", _model, "run `make setup`"),
    ("home", _home, "fix its permissions or set CODEINTEL_HOME"),
    ("disk", _disk, "free at least 1 GiB or set CODEINTEL_HOME"),
)
_BUCKET: tuple[str, Check, str] = (
    "bucket",
    _bucket,
    "see docs/operations.md: the AWS variables, CODEINTEL_S3_ENDPOINT, and rights to list, read, write and delete",
)
_ENGINE = (
    "vector engine",
    _vector_engine,
    "see docs/operations.md: CODEINTEL_VECTOR_ENGINE, PostgreSQL with pgvector 0.8 or newer, and the extra `pgvector`",
)
_TRACES: tuple[str, Check, str] = ("traces", _traces, "see `bucket`")
