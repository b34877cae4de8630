"""Writing the answer: by the chat model when there is one and it starts in time, else quoted from the index.

Every reason for the fallback is a step with its status, and a line of `limits`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from codeintel_core.errors import CodeIntelError
from codeintel_core.generations.generation import Generation
from codeintel_core.models.chat import ChatModel
from codeintel_core.retrieval.engine import TUNING, Hit, SearchResult
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, Step, note, step
from codeintel_serving.answer import citations, prompt, synthesis, template
from codeintel_serving.answer.budget import AnswerBudget
from codeintel_serving.answer.cited_text import statements
from codeintel_serving.answer.events import CitationEvent, Event, TokenEvent
from codeintel_serving.answer.generated import Draft
from codeintel_serving.display import without_server_paths

_NAN = float("nan")


@dataclass(slots=True)
class Written:
    """The answer's text and how it came about."""

    text: str = ""
    model: str = synthesis.MODEL
    prompt_version: str = ""
    cited: list[Hit] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    """Number of each cited chunk in the answer, by chunk id."""
    unknown_citations: int = 0
    cited_share: float | None = None
    """Share of the statements that carry a citation; None when nothing was generated."""
    tokens_in: int = 0
    tokens_out: int = 0
    first_token_at_s: float = 0.0
    """Monotonic time of the first piece, 0 when there is none."""
    tokens_per_second: float = _NAN
    finish: str = ""
    """End state of the generated answer, '' when nothing was generated."""
    found_nothing: bool = False
    limits: list[str] = field(default_factory=list)


class Writer:
    """Writes one answer; emits its tokens and citations.

    Attributes:
        written: the answer so far; also right when the work was cancelled halfway.
    """

    def __init__(
        self, settings: Settings, chat: ChatModel | None, emit: Callable[[Event], None], budget: AnswerBudget
    ) -> None:
        self._settings, self._chat, self._emit, self._budget = settings, chat, emit, budget
        self.written = Written()

    async def write(
        self, question: str, found: SearchResult, hits: Sequence[Hit], generations: Sequence[Generation]
    ) -> Written:
        """Write an answer from verified hits; without any, say what was searched."""
        owners = {generation.manifest.gen_id: generation for generation in generations}
        written = self.written
        if not hits:
            self._not_found(found, generations)
            return written
        if self._chat is None:
            reason = "no chat model is configured"
            note("synthesize", Status.SKIPPED, reason, writer="chat")
        else:
            reason = await self._generate(self._chat, question, hits, owners)
            if not reason:
                if not written.text:
                    written.limits.append("the chat model found no answer in the snippets")
                    self._not_found(found, generations)
                return written
            written = self.written
        written.limits.append(f"the answer is extractive: {reason}")
        with step("synthesize", writer=synthesis.MODEL, citations=len(hits)):
            pieces = list(synthesis.pieces(question, hits))
        for number, hit in enumerate(hits, 1):
            self._cite(number, hit, owners)
        self._tell(pieces)
        return written

    async def _generate(
        self, chat: ChatModel, question: str, hits: Sequence[Hit], owners: Mapping[str, Generation]
    ) -> str:
        """Stream the generated answer; '' when there is one, else why not, and then nothing was emitted."""
        written = self.written
        try:
            with step("prompt.build", model=chat.model, prompt_version=template.VERSION) as current:
                built = await prompt.prepare(
                    chat, question, hits, self._settings.chat_max_tokens, self._budget.prompt()
                )
                current.set(snippets=len(built.numbers), cut=built.cut, left_out=built.left_out, tokens=built.tokens)
            draft = Draft(chat, built, self._budget.chat())
            with step("synthesize", writer="chat", model=chat.model, prompt_version=template.VERSION) as current:
                try:
                    async with aclosing(draft.pieces()) as pieces:
                        async for piece in pieces:
                            for number in draft.cited[len(written.cited) :]:
                                self._cite(number, hits[number - 1], owners)
                            self._tell([piece])
                except CodeIntelError:
                    raise  # nothing came, so there is nothing to take over
                except BaseException:
                    self._take_over(draft, current)
                    raise
                self._take_over(draft, current)
                status, reason = draft.status
                if not written.text and not draft.declined and status is Status.COMPLETED:
                    status, reason = Status.FAILED, "the model wrote nothing"
                current.end(status, reason)
        except CodeIntelError as error:
            return without_server_paths(str(error))
        if not written.text and not draft.declined:
            self.written = Written()
            return reason
        written.limits += draft.limits()
        if built.cut or built.left_out:
            written.limits.append(
                f"the prompt was cut to the model's context: {built.cut} snippets shortened, {built.left_out} left out"
            )
        if written.text and not written.cited:
            written.limits.append("the generated answer cites nothing: do not rely on it")
        return ""

    def _take_over(self, draft: Draft, current: Step) -> None:
        draft.count()
        written, stream = self.written, draft.stream
        written.model, written.prompt_version = draft.model, template.VERSION
        written.tokens_in, written.tokens_out = stream.tokens_in, stream.tokens_out
        written.tokens_per_second, written.finish = draft.tokens_per_second, stream.end.value
        written.unknown_citations = draft.unknown
        total, cited = statements(draft.text)
        written.cited_share = cited / total if total else float(bool(written.cited))
        current.set(
            finish=written.finish, tokens_in=written.tokens_in, tokens_out=written.tokens_out,
            citations=len(written.cited), unknown=written.unknown_citations,
        )  # fmt: skip

    def _not_found(self, found: SearchResult, generations: Sequence[Generation]) -> None:
        with step("synthesize", writer=synthesis.MODEL, citations=0):
            completed = [name for name, result in found.channels.items() if result.status is Status.COMPLETED]
            pieces = list(synthesis.not_found(generations, completed, found.hits, _shown(found.degraded)))
        self.written.found_nothing = True
        self._tell(pieces)

    def _cite(self, number: int, hit: Hit, owners: Mapping[str, Generation]) -> None:
        self.written.cited.append(hit)
        self.written.numbers[hit.chunk.chunk_id] = number
        self._emit(CitationEvent(citations.citation(number, hit, owners[hit.gen_id])))

    def _tell(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            if not self.written.first_token_at_s:
                self.written.first_token_at_s = time.monotonic()
            self.written.text += piece
            self._emit(TokenEvent(piece))


def _shown(degraded: Mapping[str, str]) -> dict[str, str]:
    return {name: without_server_paths(reason) for name, reason in degraded.items() if name != TUNING}
