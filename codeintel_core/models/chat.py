"""Streaming chat completions: text as it comes, and one typed end state; `[DONE]` alone is no success.

Three deadlines of its own, because keep-alive comments keep a read timeout from ever firing: to the first token,
between two tokens, and in total. The response is closed however the stream is left, which stops the generation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx
import orjson

from codeintel_core.deadline import Deadline
from codeintel_core.models import failures
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.models.sse import SseParser
from codeintel_core.models.transport import FAIR_S, Endpoint, Exchange

Message = Mapping[str, str]
_MODELS_TTL_S = 300.0
_TAIL_S = 0.05  # a new connection takes longer only where the endpoint is far away


class End(StrEnum):
    """How a stream ended."""

    COMPLETE = "complete"
    LENGTH = "length"
    ERROR_FRAME = "error_frame"
    TRUNCATED = "truncated"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines of one stream."""

    first_token: Deadline
    total: Deadline
    idle_s: float


class ChatStream:
    """One completion on its way; read `end` after `texts` is exhausted or left.

    Attributes:
        end: how it ended; `cancelled` until it ended otherwise.
        reason: why, '' when complete.
        model: first served name of the model that answered, '' when unknown.
        tokens_in, tokens_out: from the server's usage when it was sent, else chunks counted for `tokens_out`.
        first_token_at_s, ended_at_s: monotonic times, 0 when it did not happen.
    """

    def __init__(self, endpoint: Endpoint, body: dict[str, Any], limits: Limits) -> None:
        self._endpoint, self._body, self._limits = endpoint, body, limits
        self.end = End.CANCELLED
        self.reason = ""
        self.model = ""
        self.tokens_in = self.tokens_out = 0
        self.first_token_at_s = self.ended_at_s = 0.0
        self._progress_at_s = 0.0
        self._finish = ""
        self._error = ""

    async def texts(self) -> AsyncGenerator[str]:
        """Pieces of the text, none of them empty; close the generator to stop (`contextlib.aclosing`).

        Raises:
            EndpointFailed, DeadlineExceeded: before anything was received.
        """
        deadline = Deadline(min(self._limits.first_token.at_s, self._limits.total.at_s))
        is_fair = deadline.remaining_s >= FAIR_S
        try:
            async with self._endpoint.open("POST", "/v1/chat/completions", self._body, deadline) as exchange:
                async with aclosing(self._deltas(exchange)) as deltas:
                    async for text in deltas:
                        yield text
                is_silent = not self.first_token_at_s and self.end in (End.TIMED_OUT, End.TRUNCATED)
                exchange.failed = (is_silent and is_fair) or self.end is End.ERROR_FRAME
        finally:
            self.ended_at_s = time.monotonic()

    async def _deltas(self, exchange: Exchange) -> AsyncGenerator[str]:
        parser = SseParser()
        async with aclosing(_raw(exchange.response)) as chunks:
            while True:
                try:
                    async with asyncio.timeout(self._patience.remaining_s):
                        chunk = await anext(chunks, None)
                    events = parser.feed(chunk) if chunk is not None else []
                except TimeoutError:
                    self._finished(End.TIMED_OUT, self._what_timed_out())
                    return
                except httpx.HTTPError as error:
                    self._finished(End.TRUNCATED, f"the connection broke ({type(error).__name__})")
                    return
                except ValueError as error:
                    self._finished(End.TRUNCATED, str(error))
                    return
                for event in events:
                    if event == "[DONE]":
                        self._finished(*self._verdict())
                        await _to_the_end(chunks)
                        return
                    if text := self._text(event):
                        yield text
                    if self._error:
                        self._finished(*self._verdict())
                        return
                if chunk is None:
                    self._finished(*self._verdict())
                    return

    @property
    def _patience(self) -> Deadline:
        """Until when the next bytes are waited for."""
        if not self.first_token_at_s:
            wanted = self._limits.first_token.at_s
        else:
            wanted = self._progress_at_s + self._limits.idle_s
        return Deadline(min(wanted, self._limits.total.at_s))

    def _what_timed_out(self) -> str:
        if not self.first_token_at_s:
            return "no first token in time"
        return "the answer was not finished in time" if self._limits.total.is_over else "no token came for too long"

    def _text(self, event: str) -> str:
        """The text of one frame; takes over what else it says."""
        try:
            frame = orjson.loads(event)
        except orjson.JSONDecodeError:
            self._error = "a frame of the stream is not JSON"
            return ""
        if not isinstance(frame, dict) or "error" in frame:
            error = frame.get("error") if isinstance(frame, dict) else frame
            self._error = self._endpoint.redacted(failures.message(error)) or "an error without a message"
            return ""
        self.model = str(frame.get("model") or self.model)
        self._usage(frame.get("usage"))
        text = ""
        for choice in frame.get("choices") or ():
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            text += str(delta.get("content") or "")
            if text or delta.get("reasoning_content") or delta.get("reasoning"):
                self._progress_at_s = time.monotonic()
            self._finish = str(choice.get("finish_reason") or self._finish)
        if text:
            self.first_token_at_s = self.first_token_at_s or self._progress_at_s
            self.tokens_out += 1
        return text

    def _usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self.tokens_in = int(usage.get("prompt_tokens") or 0)
            self.tokens_out = int(usage.get("completion_tokens") or 0)

    def _verdict(self) -> tuple[End, str]:
        if self._error:
            return End.ERROR_FRAME, self._error
        if self._finish == "stop":
            return End.COMPLETE, ""
        if self._finish == "length":
            return End.LENGTH, "the model reached its limit of tokens"
        said = f"finish_reason was '{self._endpoint.redacted(self._finish)}'" if self._finish else "no finish_reason"
        return End.TRUNCATED, f"the stream ended early: {said}"

    def _finished(self, end: End, reason: str) -> None:
        self.end, self.reason = end, reason


class ChatModel:
    """A chat endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._max_len = 0
        self._max_len_until_s = 0.0
        self._can_tokenize = True

    @property
    def model(self) -> str:
        """Name of the model as configured."""
        return self.endpoint.model

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, limits: Limits, extra: Mapping[str, Any] | None = None
    ) -> ChatStream:
        """A completion of `messages`; nothing is sent before its `texts` are read."""
        body = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **(extra or {}),
        }
        return ChatStream(self.endpoint, body, limits)

    async def max_model_len(self, deadline: Deadline) -> int:
        """Tokens that prompt and answer may have together, 0 when the endpoint does not say; kept for five minutes.

        Raises:
            EndpointFailed, DeadlineExceeded: it cannot be asked.
        """
        if not self._max_len_until_s or time.monotonic() > self._max_len_until_s:
            found = await self.endpoint.json("GET", "/v1/models", None, deadline)
            self._max_len = _max_len(found, self.endpoint.model)
            self._max_len_until_s = time.monotonic() + _MODELS_TTL_S
        return self._max_len

    async def count_tokens(self, messages: Sequence[Message], deadline: Deadline) -> int | None:
        """Tokens of a prompt as the server's chat template writes it, or None where there is no `/tokenize`.

        Raises:
            EndpointFailed, DeadlineExceeded: it cannot be asked.
        """
        if not self._can_tokenize:
            return None
        body = {"model": self.endpoint.model, "messages": list(messages)}
        try:
            found = await self.endpoint.json("POST", "/tokenize", body, deadline)
        except EndpointFailed as error:
            if error.status not in (401, 403, 404, 405, 501):
                raise
            self._can_tokenize = False
            return None
        count = found.get("count") if isinstance(found, dict) else None
        return count if isinstance(count, int) else None


async def _raw(response: httpx.Response) -> AsyncGenerator[bytes]:
    async for chunk in response.aiter_bytes():
        yield chunk


async def _to_the_end(chunks: AsyncIterator[bytes]) -> None:
    """Read what comes after the last event: an empty chunk, without which the connection cannot be used again."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_TAIL_S):
            async for _ in chunks:
                pass


def _max_len(found: Any, model: str) -> int:
    rows = found.get("data") if isinstance(found, dict) else None
    lengths = {
        str(row.get("id")): row["max_model_len"]
        for row in rows or ()
        if isinstance(row, dict) and isinstance(row.get("max_model_len"), int)
    }
    return lengths.get(model) or next(iter(lengths.values()), 0)
