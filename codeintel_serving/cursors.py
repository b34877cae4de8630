"""Cursors: where the next page of a request begins, and the generations that its pages come from."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from codeintel_core.errors import InvalidRequest
from codeintel_core.identity import fields_id
from codeintel_serving.models import ToolRequest

_MAX_BYTES = 1_000_000
_NOT_THE_QUESTION = {"cursor", "max_tokens", "detail", "deadline_ms"}
_OTHER = "the cursor belongs to another request; repeat the same arguments, or leave the cursor out"


class Cursor(BaseModel):
    """A position in the results of one question of pinned generations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    generations: dict[str, str]
    at: list[int]

    @classmethod
    def parse(cls, text: str, request: ToolRequest) -> Self:
        """The cursor that `encode` wrote; raises `InvalidRequest` for anything else, or when the question changed."""
        try:
            packed = base64.urlsafe_b64decode(text.encode("ascii"))
            unpacked = zlib.decompressobj().decompress(packed, _MAX_BYTES)
            found = cls.model_validate_json(unpacked, strict=True)
        except (UnicodeEncodeError, binascii.Error, zlib.error, ValidationError):
            raise InvalidRequest("the cursor is not one of this server; take `budget.next_cursor`") from None
        if found.question != question_of(request) or not found.at or min(found.at) < 0:
            raise InvalidRequest(_OTHER)
        return found

    def encode(self) -> str:
        """The cursor as opaque text; the same position has the same text."""
        return base64.urlsafe_b64encode(zlib.compress(self.model_dump_json().encode())).decode()


def question_of(request: ToolRequest) -> str:
    """Identifies what is asked, without how much of it is shown."""
    return fields_id(type(request).__name__, repr(request.model_dump(exclude=_NOT_THE_QUESTION)))
