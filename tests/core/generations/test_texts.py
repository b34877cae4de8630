"""Texts of a pinned generation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from codeintel_core.generations import generation
from codeintel_core.generations.library import Library
from codeintel_core.home import Home
from codeintel_core.repository.git import GitRepository
from codeintel_core.repository.objects import ObjectReader
from codeintel_core.repository.texts import KeptTexts
from codeintel_core.scope import Scope
from codeintel_core.secrets import purged


def answering(monkeypatch: pytest.MonkeyPatch, blobs: Mapping[str, bytes]) -> list[str]:
    """Let git answer with these blobs; which of them it was asked for."""
    asked: list[str] = []

    def read(_: GitRepository, oids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for oid in oids:
            asked.append(oid)
            yield oid, blobs[oid]

    monkeypatch.setattr(GitRepository, "blobs", read)  # to count what git is asked for
    return asked


def test_texts_are_read_once_and_a_purge_counts_for_those_in_memory(
    home: Home, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = {"1" * 40: b"first word", "2" * 40: b"second word"}
    asked = answering(monkeypatch, blobs)
    with Library(home).pin([published.parent.parent.name]) as (pinned,):
        some = pinned.catalog.files(Scope(), readable=True)[0]
        first, second = (replace(some, path=oid[0], blob=oid) for oid in blobs)
        assert list(pinned.texts([second])) == [(second, b"second word")]
        assert list(pinned.texts([first, second])) == [(first, b"first word"), (second, b"second word")]
        assert asked == ["2" * 40, "1" * 40]
        purged.save(home.purged, purged.PurgeList(patterns=("word",), blobs=frozenset({second.blob})))
        assert list(pinned.texts([first, second])) == [(first, b"first ****")]
        assert asked == ["2" * 40, "1" * 40, "1" * 40]


def test_texts_that_lack_a_part_are_not_read_again(
    home: Home, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = {"3" * 40: b"first word", "4" * 40: b"second text"}
    asked = answering(monkeypatch, blobs)
    monkeypatch.setattr(generation, "_texts", KeptTexts(20))  # so small that git is asked each time
    with Library(home).pin([published.parent.parent.name]) as (pinned,):
        some = pinned.catalog.files(Scope(), readable=True)[0]
        files = [replace(some, path=oid[0], blob=oid, size_bytes=15) for oid in blobs]
        assert [text for _, text in pinned.texts(files, b"word")] == [*blobs.values()]
        assert [text for _, text in pinned.texts(files, b"word")] == [b"first word"]
        assert asked == [*blobs, "3" * 40]
        purged.save(home.purged, purged.PurgeList(patterns=("word",)))
        assert [text for _, text in pinned.texts(files, b"****")] == [b"first ****", b"second text"]
        assert [text for _, text in pinned.texts(files, b"word")] == []


def test_cited_files_are_read_once_and_a_purge_counts_for_those_in_memory(
    home: Home, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(_: ObjectReader, __: str, paths: Iterable[str]) -> dict[str, bytes]:
        asked.extend(paths)
        return {"a.py": b"a word"} if "a.py" in paths else {}

    monkeypatch.setattr(ObjectReader, "files_at", read)  # to count what git is asked for
    with Library(home).pin([published.parent.parent.name]) as (pinned,):
        chunk = next(iter(pinned.catalog.hydrate(pinned.dense.primary.ids[:1].tolist(), Scope()).values()))
        spans = [
            chunk._replace(path="a.py", start_byte=0, end_byte=6, text="a word"),
            chunk._replace(path="gone.py"),
        ]
        assert pinned.matching(spans) == [True, False]
        assert pinned.matching(spans[:1] * 2) == [True, True]
        assert asked == ["a.py", "gone.py"]
        purged.save(home.purged, purged.PurgeList(patterns=("word",)))
        assert pinned.matching(spans[:1]) == [False]
        assert asked == ["a.py", "gone.py", "a.py"]
