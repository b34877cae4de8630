"""Drill 14: awkward sources. Every file is indexed right or skipped under a counted reason, and history may vanish.

What single modules already prove of git, mirrors and chunking is not repeated: here a whole build, or a series of
builds, meets all of it at once.
"""

from __future__ import annotations

import shutil
import subprocess

import pyarrow.parquet as pq
import pytest

from benchmarks import plain_build
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.scope import Scope
from tests.conftest import GitRepo, Repo
from tests.drills.conftest import module, settings_for

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("_fake_encoder")]

NAME = "awkward"
BIG = b"value = 1\n" * 3_000_000  # 30 MB

INDEXED = {
    "crlf.py": b"def windows_newlines(a):\r\n    return a\r\n\r\n\r\ndef second_function(b):\r\n    return b\r\n",
    "no_newline.go": b"package x\n\nfunc NoFinalNewline() int {\n\treturn 1\n}",
    "latin1.py": 'def grüße():\n    return "Müller"\n'.encode("latin-1"),
    "bom.py": b"\xef\xbb\xbfdef after_the_mark():\n    return 1\n",
    "cr_only.txt": b"one line\rof an old machine\r",
    "utf8.md": "# Überschrift\n\nÜber 漢字 und 🎉.\n".encode(),
    "broken_utf8.js": b"function brokenText() {\n  return '\xff\xfe\xc3';\n}\n",
    "broken.py": b"def never_closed(:\n    return (\n\nclass :\n",
    "mixed.c": b"int mixed_ends(void)\n{\r\n  return 0;\n}\r\n",
    "weird name\twith tab.py": b"def odd_path():\n    return 1\n",
    "-dash.py": b"def leading_dash():\n    return 1\n",
    "no_extension": b"#!/usr/bin/env python3\nprint('hello')\n",
}
SKIPPED = {
    "logo.png": (b"\x89PNG\r\n\x1a\n\0\0", "binary"),
    "utf16.txt": ("wide text\n".encode("utf-16"), "binary"),
    "empty.py": (b"", "empty"),
    "blank.py": (b"\n \n\t\n", "empty"),
    "only_bom.py": (b"\xef\xbb\xbf", "empty"),
    "big.py": (BIG, "too_large"),
    "pointer.bin": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git_lfs_pointer"),
}


def built(home: Home, source: Repo) -> Manifest:
    """Register or refresh, and build."""
    mirror.add(home, str(source.path), name=NAME)
    return plain_build.build(home, settings_for(home, inline_rebuild_ratio=10.0), NAME)


def opened(home: Home, manifest: Manifest) -> Generation:
    at = home.repository(NAME)
    return Generation.open(at.generation(manifest.gen_id), at.mirror)


def rows(home: Home, manifest: Manifest, name: str, *columns: str) -> list[tuple[object, ...]]:
    table = pq.read_table(home.repository(NAME).generation(manifest.gen_id) / name, columns=list(columns))
    return list(zip(*(table[column].to_pylist() for column in columns), strict=True))


def all_match_source(generation: Generation) -> int:
    """Every chunk equals the bytes of its span in the commit; how many there are."""
    ids = generation.catalog.allowed_ids(Scope(paths=("**",)))
    assert ids is not None
    chunks = generation.catalog.hydrate(ids.tolist(), Scope())
    wrong = [f"{c.path}:{c.start_line}" for c in chunks.values() if not generation.matches_source(c)]
    assert not wrong
    return len(chunks)


def test_everything_awkward_at_once(home: Home, git_repo: GitRepo) -> None:
    library = git_repo({"lib.py": module(1)}, name="library")
    source = git_repo({**INDEXED, **{path: data for path, (data, _) in SKIPPED.items()}}, name=NAME)
    (source.path / "inside").symlink_to("crlf.py")
    (source.path / "outside").symlink_to("/etc/passwd")
    (source.path / "loop").symlink_to("loop")
    source.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "vendored")
    source.commit({b"f\xff\xfe.py".decode("utf-8", "surrogateescape"): b"def undecodable_path():\n    return 1\n"})
    manifest = built(home, source)
    reasons = dict(rows(home, manifest, "files.parquet", "path", "skip_reason"))
    assert {path: reasons.get(path) for path in INDEXED} == dict.fromkeys(INDEXED, "")
    assert {path: reasons.get(path) for path in SKIPPED} == {path: reason for path, (_, reason) in SKIPPED.items()}
    assert [reasons[link] for link in ("inside", "outside", "loop")] == ["symlink"] * 3
    assert reasons["vendored"] == "submodule"
    listed = source.git("ls-tree", "-r", "--name-only", "-z", "HEAD").rstrip("\0").split("\0")
    assert sum(manifest.coverage.values()) == len(reasons) == len(listed)
    assert all_match_source(opened(home, manifest)) == manifest.counts.chunks
    texts = " ".join(str(text) for (text,) in rows(home, manifest, "chunks.parquet", "text"))
    assert "Müller" in texts
    assert "root:" not in texts


def test_a_renamed_folder_costs_no_embedding(home: Home, git_repo: GitRepo) -> None:
    source = git_repo({f"old/deep/m{i}.py": module(i) for i in range(8)}, name=NAME)
    first = built(home, source)
    source.git("mv", "old", "new")
    source.commit()
    cost = plain_build.Cost()
    second = plain_build.build(home, settings_for(home, inline_rebuild_ratio=10.0), NAME, cost=cost)
    assert cost.computed == 0
    assert second.counts.chunks == first.counts.chunks
    assert second.counts.tombstones == first.counts.chunks
    assert {str(path).split("/")[0] for (path,) in rows(home, second, "chunks.parquet", "path")} == {"new"}
    all_match_source(opened(home, second))


def test_a_file_becomes_a_folder_and_a_link_becomes_a_file(home: Home, git_repo: GitRepo) -> None:
    source = git_repo({"thing.py": module(1), "real.py": module(2)}, name=NAME)
    (source.path / "link.py").symlink_to("real.py")
    source.commit()
    assert built(home, source).coverage == {"indexed": 2, "symlink": 1}
    (source.path / "link.py").unlink()
    (source.path / "thing.py").unlink()
    source.commit({"thing.py/inner.py": module(3), "link.py": module(4)})
    second = built(home, source)
    assert second.coverage == {"indexed": 3}
    assert {path for (path,) in rows(home, second, "chunks.parquet", "path")} == {
        "thing.py/inner.py", "real.py", "link.py",
    }  # fmt: skip
    all_match_source(opened(home, second))


def test_history_is_rewritten_collected_and_vanishes(home: Home, git_repo: GitRepo) -> None:
    """What was published stays readable from the mirror, whatever happens to the source."""
    source = git_repo({f"m{i}.py": module(i) for i in range(4)}, name=NAME)
    first = built(home, source)
    source.git("checkout", "--quiet", "--orphan", "other")
    source.commit({"m0.py": module(50), "m1.py": None})
    source.git("branch", "-M", "main")
    source.git("reflog", "expire", "--expire=now", "--all")
    source.git("gc", "--quiet", "--prune=now")
    second = built(home, source)
    assert second.parent == first.gen_id
    assert second.reuse["files"] == 2
    shutil.rmtree(source.path)
    unchanged = plain_build.build(home, settings_for(home), NAME)
    assert unchanged.gen_id == second.gen_id
    collect = ["git", "-C", str(home.repository(NAME).mirror), "gc", "--quiet", "--prune=now"]
    subprocess.run(collect, check=True)
    for manifest in (first, second):
        all_match_source(opened(home, manifest))
    rebuilt = plain_build.build(home, settings_for(home), NAME, force=True)
    assert rebuilt.counts.chunks == second.counts.chunks
