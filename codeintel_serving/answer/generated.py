"""A generated answer on its way: the chat model's stream, filtered, with its citations and how it ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from codeintel_core.models.chat import ChatModel, ChatStream, End, Limits
from codeintel_core.telemetry import Status, metrics
from codeintel_serving.answer import template
from codeintel_serving.answer.cited_text import CitedText, statements
from codeintel_serving.answer.prompt import Prompt

_STATUS = {End.COMPLETE: Status.COMPLETED, End.LENGTH: Status.COMPLETED, End.TIMED_OUT: Status.TIMED_OUT}


class Draft:
    """One generated answer; its properties are final once `pieces` is exhausted.

    Attributes:
        text: what was shown so far.
        stream: the model's side: end state, tokens, times.
    """

    def __init__(self, chat: ChatModel, prompt: Prompt, limits: Limits) -> None:
        self.text = ""
        self.stream: ChatStream = chat.stream(prompt.messages, max_tokens=prompt.answer_tokens, limits=limits)
        self._filter = CitedText(prompt.numbers)
        self._declined = False
        self._chat = chat

    async def pieces(self) -> AsyncGenerator[str]:
        """Pieces of the text that may be shown; none when the model says that it found no answer.

        Raises:
            EndpointFailed, DeadlineExceeded: before anything was received.
        """
        head: str | None = ""
        async with aclosing(self.stream.texts()) as texts:
            async for text in texts:
                if head is not None:
                    head += text
                    if template.NOT_FOUND.startswith(head.strip()[: len(template.NOT_FOUND)]):
                        continue  # it may become a refusal
                    text, head = head, None  # noqa: PLW2901 (held back until now)
                if shown := self._shown(self._filter.feed(text)):
                    yield shown
        if head is not None:
            self._declined = head.strip() == template.NOT_FOUND
            if head.strip() and not self._declined and (shown := self._shown(self._filter.feed(head))):
                yield shown
        if shown := self._shown(self._filter.close()):
            yield shown

    @property
    def cited(self) -> list[int]:
        """Snippets cited so far, in the order of their first mention."""
        return self._filter.cited

    @property
    def unknown(self) -> int:
        """Citations of snippets that were not given."""
        return self._filter.unknown

    @property
    def declined(self) -> bool:
        """Whether the model said that the snippets hold no answer."""
        return self._declined and self.stream.end is End.COMPLETE

    @property
    def model(self) -> str:
        """The name the server gave, else the one configured."""
        return self.stream.model or self._chat.model

    @property
    def status(self) -> tuple[Status, str]:
        """How the step ends."""
        return _STATUS.get(self.stream.end, Status.FAILED), self.stream.reason

    @property
    def tokens_per_second(self) -> float:
        """Tokens by the time from the first one to the end; NaN when that says nothing."""
        seconds = self.stream.ended_at_s - self.stream.first_token_at_s
        if self.stream.tokens_out < 2 or not self.stream.first_token_at_s or seconds <= 0:
            return float("nan")
        return round((self.stream.tokens_out - 1) / seconds, 2)

    def limits(self) -> list[str]:
        """What the reader should know, in words."""
        found = []
        if self.stream.end is not End.COMPLETE:
            found.append(f"the generated answer was cut: {self.stream.reason}")
        if self.unknown:
            found.append(f"{self.unknown} citations of snippets that do not exist were dropped")
        total, cited = statements(self.text)
        if total > cited:
            found.append(f"{total - cited} of {total} statements of the generated answer carry no citation")
        return found

    def count(self) -> None:
        """Add the stream to the metrics."""
        metrics.SYNTHESES.labels(self.stream.end.value).inc()
        metrics.TOKENS.labels("in").inc(self.stream.tokens_in)
        metrics.TOKENS.labels("out").inc(self.stream.tokens_out)
        metrics.CITATIONS.labels("unknown").inc(self.unknown)

    def _shown(self, text: str) -> str:
        if not self.text:
            text = text.lstrip()
        self.text += text
        return text
