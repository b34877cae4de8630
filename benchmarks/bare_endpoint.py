"""The peer of `serving`: FastAPI with one endpoint that reads a small body and answers JSON of a given size."""

from __future__ import annotations

import os
from typing import Any

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel


class Asked(BaseModel):
    query: str


app = FastAPI()
_BYTES = int(os.environ.get("BARE_BYTES", "10000"))
_HIT: dict[str, Any] = {"path": "a/b.py", "lines": [1, 20], "score": 0.5, "text": "x" * 60}
_REPLY = {"results": [_HIT] * max(1, _BYTES // len(orjson.dumps(_HIT)))}


@app.post("/search")
async def search(body: Asked) -> Response:  # noqa: ARG001 (read and checked, as ours is)
    return Response(orjson.dumps(_REPLY), media_type="application/json")
