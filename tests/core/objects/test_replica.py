"""Another machine serves what was published into the bucket: the same answers, the same history, verified."""

from __future__ import annotations

import pytest

from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.library import Library
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.repository.git import GitRepository
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.scope import Scope
from tests.conftest import Repo
from tests.core import specimen
from tests.core.objects.conftest import MORE, Machine

pytestmark = pytest.mark.e2e


def answers(machine: Machine, query: str) -> list[tuple[int, float, bool]]:
    """Chunk, score and whether its text equals the pinned commit, of every hit."""
    library = Library(machine.home)
    encoder = specimen.HashEncoder()
    engine = SearchEngine(machine.settings.model_copy(update={"retrieval_budget_ms": 30_000}), lambda: encoder)
    try:
        with library.pin(["demo"]) as (generation,):
            hits = engine.search(query, [generation], scope=Scope(), limit=10).hits
            verified = generation.matching([hit.chunk for hit in hits])
            return [(hit.chunk.chunk_id, hit.score, proof) for hit, proof in zip(hits, verified, strict=True)]
    finally:
        engine.close()
        library.close()


def refs(machine: Machine) -> bytes:
    return GitRepository(machine.demo.mirror).git("for-each-ref", "refs/heads", "refs/tags", "refs/codeintel")


def test_a_machine_with_nothing_serves_the_same_answers_with_verified_citations(
    builder: Machine, reader: Machine, source: Repo, first: manifests.Manifest
) -> None:
    assert reader.replica().follow() == ["demo"]
    assert current_id(reader.demo) == first.gen_id
    for query in ("append a line to the ledger", "drainQueue"):
        found = answers(reader, query)
        assert found == answers(builder, query)
        assert found
        assert all(proof for _, _, proof in found)
    assert refs(reader) == refs(builder)
    log = GitRepository(reader.demo.mirror).git("log", "-p", first.commit)
    assert log == GitRepository(builder.demo.mirror).git("log", "-p", first.commit)
    assert reader.demo.registration.read_bytes() == builder.demo.registration.read_bytes()
    assert reader.demo.registration.stat().st_mode & 0o077 == 0


def test_the_next_generation_travels_as_what_it_adds(
    builder: Machine, reader: Machine, source: Repo, first: manifests.Manifest
) -> None:
    follower = reader.replica()
    follower.follow()
    source.git("tag", "v1")
    source.git("branch", "feature")
    second = builder.publish(source, MORE)
    assert follower.follow() == ["demo"]
    assert current_id(reader.demo) == second.gen_id
    assert kept(reader.demo) == [first.gen_id, second.gen_id]
    assert refs(reader) == refs(builder)
    assert b"refs/tags/v1" in refs(reader)
    packs = list((reader.demo.mirror / "objects" / "pack").glob("*.pack"))
    assert len(packs) == 2
    shared_files = [name for name, file in second.files.items() if first.files.get(name) == file]
    assert shared_files
    for name in shared_files:  # the same inode: downloaded once
        old, new = (reader.demo.generation(gen_id) / name for gen_id in (first.gen_id, second.gen_id))
        assert old.samefile(new)
    assert follower.problem == ""
    assert follower.follow() == []
