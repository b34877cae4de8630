"""Languages: from names, extensions and interpreters; every grammar loads and its queries compile."""

from __future__ import annotations

import pytest

from codeintel_core.chunking.languages import LANGUAGES, grammar_of, language_of


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("a/b.py", b"", "python"),
        ("B.PY", b"", "python"),
        ("Dockerfile", b"", "dockerfile"),
        ("Dockerfile.dev", b"", "dockerfile"),
        ("Makefile", b"", "make"),
        ("bin/tool", b"#!/usr/bin/env python3\n", "python"),
        ("bin/tool", b"#!/bin/sh -e\n", "bash"),
        ("bin/tool", b"#!/usr/bin/env -S node --harmony\n", "javascript"),
        ("bin/tool", b"ELF", ""),
        ("list.h", b"struct a;", "c"),
        ("list.h", b"namespace a {}", "cpp"),
        (".gitignore", b"", "gitignore"),
        ("a.unknown", b"", ""),
        ("", b"", ""),
    ],
)
def test_language_of(path: str, data: bytes, expected: str) -> None:
    assert language_of(path, data).name == expected


@pytest.mark.parametrize("name", sorted({language.grammar for language in LANGUAGES.values()} - {""}))
def test_grammars_load(name: str) -> None:
    assert grammar_of(name) is grammar_of(name)
