"""New generations are served without a restart; a damaged one is refused by name while the previous one serves."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from running import running, until
from workshop import FILES, Workshop, commit, new_repository, settings_for

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.generations.publish import point_at
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e

NEW = {
    "store/rollback.py": 'def roll_back(target):\n    """Roll back to an older generation."""\n    point_at(target)\n'
}


def flip_one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_life_of_a_server(tmp_path: Path, encoder: LocalEncoder) -> None:
    source = new_repository(tmp_path / "source", FILES)
    workshop = Workshop(Home(tmp_path / "home"), encoder)
    workshop.home.root.mkdir()
    with (
        Services(settings_for(workshop.home), encoder=lambda: encoder) as services,
        running(services) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        services.start()

        def served() -> str:
            (entry,) = http.post("/search", json={"query": "roll_back"}).json()["index"]
            return str(entry["generation"])

        # Before any build: a clear refusal, and not ready.
        assert http.get("/readyz").status_code == 503
        assert http.post("/search", json={"query": "x"}).json()["code"] == "not-indexed"
        mirror.add(workshop.home, str(source), name="shop")
        assert http.post("/answer", json={"question": "x"}).json()["code"] == "not-indexed"
        assert http.get("/status").json()["repositories"][0]["index"] is None

        # The first generation appears without a restart.
        first = workshop.build("shop")
        until(lambda: http.get("/readyz").json()["state"] == "ready")
        assert served() == first.gen_id

        # So does the next, with its new file.
        commit(source, NEW)
        second = workshop.build("shop")
        until(lambda: served() == second.gen_id)
        best = http.post("/search", json={"query": "roll_back"}).json()["results"][0]
        assert best["path"] == "store/rollback.py"

        # One flipped bit in the third: refused by name, the second serves, degraded.
        commit(source, {"store/extra.py": "EXTRA = 1\n"})
        third = workshop.build("shop", tamper=lambda staging: flip_one_bit(staging / "dense" / "primary.faiss"))
        until(lambda: http.get("/readyz").json()["state"] == "degraded")
        reason = http.get("/readyz").json()["checks"]["generations"]["reason"]
        assert third.gen_id in reason
        assert "dense/primary.faiss" in reason
        assert str(tmp_path) not in reason
        assert served() == second.gen_id
        found = http.post("/search", json={"query": "roll_back"}).json()
        assert found["index"][0]["status"] == "degraded"
        assert found["warnings"]
        until(lambda: http.get("/status").json()["repositories"][0]["index"]["commits_behind"] == 1)
        assert third.gen_id in http.get("/status").json()["repositories"][0]["problem"]

        # Rolling back to what serves ends the degradation.
        point_at(workshop.home.repository("shop"), second.gen_id)
        until(lambda: http.get("/readyz").json()["state"] == "ready")
