"""Manifests: whatever changes in a published folder is refused, and the message names the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from codeintel_core.errors import GenerationCorrupt
from codeintel_core.generations import manifest as manifests
from codeintel_core.home import Home
from tests.conftest import Repo
from tests.core import specimen

_ARTEFACTS = [
    "chunks.parquet", "catalog.duckdb", "dense/primary.faiss", "dense/primary_ids.npy", "dense/secondary.faiss",
    "dense/tombstones.parquet", "lucene/*.cfs", "lucene/segments_*",
]  # fmt: skip


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"junk")


def _empty(path: Path) -> None:
    os.truncate(path, 0)


_DAMAGES: dict[str, Callable[[Path], None]] = {
    "bit": _flip, "truncated": _truncate, "appended": _append, "emptied": _empty, "removed": Path.unlink,
}  # fmt: skip


def _check(folder: Path) -> None:
    manifests.verify(folder, manifests.load(folder))


def test_a_published_folder_verifies_and_its_manifest_round_trips(published: Path) -> None:
    manifest = manifests.load(published)
    manifests.verify(published, manifest)
    assert manifests.Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    on_disk = {p.relative_to(published).as_posix() for p in published.rglob("*") if p.is_file()}
    assert on_disk == {*manifest.files, "manifest.json", "manifest.sha256"}
    assert manifest.contract_id == specimen.CONTRACT.contract_id


def test_any_damage_to_any_artefact_is_refused_by_name(published: Path) -> None:
    manifest = manifests.load(published)
    for artefact in _ARTEFACTS:
        path = next(published.glob(artefact))
        original = path.read_bytes()
        for damage in _DAMAGES.values():
            damage(path)
            with pytest.raises(GenerationCorrupt, match=f"{manifest.gen_id}.*{path.relative_to(published)}"):
                manifests.verify(published, manifest)
            path.write_bytes(original)
    manifests.verify(published, manifest)


def test_an_extra_file_is_refused(published: Path) -> None:
    (published / "lucene" / "_9.cfs").write_bytes(b"")
    with pytest.raises(GenerationCorrupt, match=r"lucene/_9\.cfs is not in the manifest"):
        _check(published)


def test_swapped_files_are_refused(published: Path) -> None:
    a, b = published / "dense" / "primary.faiss", published / "dense" / "secondary.faiss"
    a.rename(published / "x")
    b.rename(a)
    (published / "x").rename(b)
    with pytest.raises(GenerationCorrupt, match=r"dense/(primary|secondary)\.faiss"):
        _check(published)


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_a_torn_manifest_is_refused(published: Path, keep: float) -> None:
    path = published / "manifest.json"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(GenerationCorrupt, match=r"manifest\.json is damaged"):
        _check(published)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"null", b"[]", b"{}", b'{"format_version": 1}', b"\0" * 100])
def test_what_is_no_manifest_is_refused(published: Path, content: bytes) -> None:
    (published / "manifest.json").write_bytes(content)
    with pytest.raises(GenerationCorrupt, match=r"manifest\.json is damaged at"):
        _check(published)


def test_a_missing_manifest_is_refused(published: Path) -> None:
    (published / "manifest.json").unlink()
    with pytest.raises(GenerationCorrupt, match=r"manifest\.json is missing"):
        _check(published)


def test_fields_that_are_unknown_or_wrong_are_named(published: Path) -> None:
    path = published / "manifest.json"
    good = orjson.loads(path.read_bytes())
    for change, where in (
        ({"surprise": 1}, "surprise"),
        ({"counts": {**good["counts"], "files": "x"}}, "counts.files"),
    ):
        path.write_bytes(orjson.dumps({**good, **change}))
        with pytest.raises(GenerationCorrupt, match=where):
            _check(published)


def test_a_changed_digit_that_still_parses_is_refused(published: Path) -> None:
    path = published / "manifest.json"
    commit = manifests.load(published).commit
    other = ("0" if commit[0] != "0" else "1") + commit[1:]
    path.write_bytes(path.read_bytes().replace(commit.encode(), other.encode()))
    with pytest.raises(GenerationCorrupt, match=r"manifest.json does not match manifest.sha256"):
        _check(published)


def test_another_format_asks_for_a_build(published: Path) -> None:
    path = published / "manifest.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "format_version": 1}))
    with pytest.raises(GenerationCorrupt, match="format 1, not 3; `codeintel build`"):
        _check(published)


def test_the_manifest_of_another_generation_is_refused(home: Home, source: Repo, published: Path) -> None:
    other = specimen.publish_files(home, source)
    (published / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    with pytest.raises(GenerationCorrupt, match=f"belongs to {other.name}"):
        _check(published)


def test_linked_files_keep_the_digest_of_the_parent_and_others_do_not(published: Path, tmp_path: Path) -> None:
    known = manifests.load(published).files
    child = tmp_path / "child"
    child.mkdir()
    os.link(published / "chunks.parquet", child / "chunks.parquet")
    (child / "catalog.duckdb").write_bytes(b"new")
    marked = {name: digest.model_copy(update={"sha256": "inherited"}) for name, digest in known.items()}
    found = manifests.digests(child, published, marked)
    assert found["chunks.parquet"].sha256 == "inherited"
    assert found["catalog.duckdb"] == manifests.digest(child / "catalog.duckdb")
