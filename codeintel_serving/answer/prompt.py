"""The prompt: numbered snippets, quoted line by line between random marks, within the model's own limit of tokens.

What does not fit is cut by rank (later snippets are left out) and by span (a snippet loses whole lines at its end).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError
from codeintel_core.injection import signs
from codeintel_core.models.chat import ChatModel, Message
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.retrieval.engine import Hit
from codeintel_serving.answer import template
from codeintel_serving.display import inline, printable

_BYTES_PER_TOKEN = 3  # of code; prose has more, so this errs on the safe side
_UNKNOWN_CONTEXT_TOKENS = 4_096
_ANSWER_SHARE = 4  # the answer gets at most this part of the context
_MIN_LINES = 3
_SURE_SHARE = 0.6  # an estimate below this share of the limit needs no counting
_RECOUNTS = 2


class PromptTooLong(CodeIntelError):
    """Not even one snippet fits beside the question; always caught, since there is a fallback."""

    slug = "prompt-too-long"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages and what they hold."""

    messages: Sequence[Message]
    numbers: frozenset[int]
    """Numbers of the snippets that were given; nothing else may be cited."""
    cut: int
    """Snippets that lost lines."""
    left_out: int
    """Snippets that are not in it."""
    tokens: int
    """Tokens, counted by the server or estimated."""
    answer_tokens: int
    """Most tokens that the answer may have."""


async def prepare(chat: ChatModel, question: str, hits: Sequence[Hit], max_tokens: int, deadline: Deadline) -> Prompt:
    """A prompt that fits the chat model; snippet n is `hits[n - 1]`.

    Raises:
        PromptTooLong: not even one snippet fits.
        EndpointFailed, DeadlineExceeded: the endpoint cannot be asked.
    """
    context = await _context(chat, deadline)
    answer_tokens = min(max_tokens, max(1, context // _ANSWER_SHARE))
    limit = room = context - answer_tokens
    prompt = build(question, hits, room, answer_tokens)
    for _ in range(_RECOUNTS):
        if prompt.tokens <= _SURE_SHARE * limit:
            break
        counted = await chat.count_tokens(prompt.messages, deadline)
        if counted is None or counted <= limit:
            break
        room = int(room * min(0.9, limit / counted * 0.95))
        prompt = build(question, hits, room, answer_tokens)
    return prompt


def build(question: str, hits: Sequence[Hit], room_tokens: int, answer_tokens: int) -> Prompt:
    """A prompt of at most `room_tokens` by estimate; raises `PromptTooLong`."""
    mark = secrets.token_hex(8)
    question = inline_question(question)
    used = _tokens(template.SYSTEM) + _tokens(template.USER.format(mark=mark, snippets="", question=question))
    snippets: list[str] = []
    numbers: set[int] = set()
    cut = 0
    whole = [_lines(hit) for hit in hits]
    texts = [_snippet(mark, number, hit, lines) for number, (hit, lines) in enumerate(zip(hits, whole, strict=True), 1)]
    fits_whole = used + sum(map(_tokens, texts)) <= room_tokens
    for number, (hit, lines, text) in enumerate(zip(hits, whole, texts, strict=True), 1):
        left = room_tokens - used
        is_last = number == len(hits)
        room = left if fits_whole or is_last else left // 2
        if _tokens(text) > room:
            kept = _leading(lines, room * _BYTES_PER_TOKEN - len(_snippet(mark, number, hit, []).encode()))
            if not kept:
                continue
            cut += len(kept) < len(lines)
            text = _snippet(mark, number, hit, kept)  # noqa: PLW2901 (cut)
        used += _tokens(text)
        numbers.add(number)
        snippets.append(text)
    if not snippets:
        raise PromptTooLong(f"no snippet fits beside the question in {room_tokens} tokens")
    user = template.USER.format(mark=mark, snippets="\n".join(snippets), question=question)
    messages = [{"role": "system", "content": template.SYSTEM}, {"role": "user", "content": user}]
    return Prompt(messages, frozenset(numbers), cut, len(hits) - len(numbers), used, answer_tokens)


def inline_question(question: str) -> str:
    """The question without control characters."""
    return printable(question).strip()


async def _context(chat: ChatModel, deadline: Deadline) -> int:
    try:
        return await chat.max_model_len(deadline) or _UNKNOWN_CONTEXT_TOKENS
    except EndpointFailed as error:
        if error.status not in (404, 405):
            raise
        return _UNKNOWN_CONTEXT_TOKENS  # a server without /v1/models


def _leading(lines: Sequence[str], room_bytes: int) -> Sequence[str]:
    """The leading lines that fit: at least three, or none."""
    kept = 0
    for line in lines:
        room_bytes -= len(line.encode()) + 1
        if room_bytes < 0:
            break
        kept += 1
    return lines[:kept] if kept >= _MIN_LINES else []


def _lines(hit: Hit) -> list[str]:
    """The lines of a hit, each behind its number: nothing in a file can start a line of the prompt."""
    chunk = hit.chunk
    width = len(str(chunk.end_line))
    return [
        f"{chunk.start_line + at:>{width}} | {line}".rstrip()
        for at, line in enumerate(printable(chunk.text).split("\n"))
    ]


def _snippet(mark: str, number: int, hit: Hit, lines: Sequence[str]) -> str:
    chunk = hit.chunk
    shown = f"{chunk.start_line}-{chunk.start_line + len(lines) - 1}" if lines else str(chunk.start_line)
    place = f"{inline(chunk.path)} lines {shown}" + (f" ({inline(chunk.symbol)})" if chunk.symbol else "")
    told = signs(chunk.text)
    note = template.SUSPICIOUS.format(signs=", ".join(told)) if told else ""
    return template.SNIPPET.format(mark=mark, number=number, place=place, note=note, lines="\n".join(lines))


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
