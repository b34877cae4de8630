"""`answer`: a cited answer to a question."""

from __future__ import annotations

import asyncio

from codeintel_core.errors import DeadlineExceeded
from codeintel_serving.answer import orchestrator
from codeintel_serving.budgeting import Rung, tokens_of, trimmed
from codeintel_serving.display import inline
from codeintel_serving.models import AnswerRequest, AnswerResponse, Budget, Citation, Detail
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools.tool import Tool, Watch


async def _run(services: Services, request: AnswerRequest, caller: Caller, watch: Watch | None) -> AnswerResponse:
    try:
        async with asyncio.timeout(request.deadline_ms / 1000 if request.deadline_ms else None):
            found = await orchestrator.answer(services, request, caller, watch)
    except TimeoutError:
        raise DeadlineExceeded(f"the answer took longer than its deadline of {request.deadline_ms} ms") from None
    return within_budget(found, request)


def within_budget(found: AnswerResponse, request: AnswerRequest) -> AnswerResponse:
    """The answer with its citations' snippets shortened to `max_tokens` and `detail`; the text itself is never cut."""
    rungs = {Detail.FULL: Rung.FULL, Detail.CONCISE: Rung.TRIMMED, Detail.IDS: Rung.PLACE}
    shown = [_shorter(cited, rungs[request.detail]) for cited in found.citations]
    shortened = set[int]()
    for rung in Rung:
        for i in reversed(range(len(shown))):
            shorter = _shorter(found.citations[i], rung)
            if _tokens(found.answer, shown) > request.max_tokens and len(shorter.snippet) < len(shown[i].snippet):
                shown[i] = shorter
                shortened.add(i)
    hint = f"{len(shortened)} snippets are shortened: `read` the citations, or raise max_tokens" if shortened else ""
    budget = Budget(
        tokens=_tokens(found.answer, shown),
        truncated=bool(shortened),
        shortened=len(shortened),
        how_to_narrow=hint,
    )
    return found.model_copy(update={"citations": shown, "budget": budget})


def _shorter(cited: Citation, rung: Rung) -> Citation:
    lines = {Rung.FULL: cited.snippet, Rung.TRIMMED: trimmed(cited.snippet), Rung.SIGNATURE: trimmed(cited.snippet, 1)}
    return cited.model_copy(update={"snippet": lines.get(rung, "")})


def _tokens(answer: str, cited: list[Citation]) -> int:
    return tokens_of(answer) + sum(tokens_of(citation.model_dump_json()) for citation in cited)


def _text(found: AnswerResponse) -> str:
    cited = [
        f"[{c.id}] {c.repo}:{inline(c.path)}:{c.start_line}-{c.end_line} @ {c.commit[:12]}"
        + (f" (suspicious: it {', '.join(c.suspicious)})" if c.suspicious else "")
        for c in found.citations
    ]
    return "\n".join([found.answer, *cited])


TOOL = Tool(
    name="answer",
    avoid="Do not use it for a list of places (`search` is faster) or to read code you can already name (`read`).",
    request=AnswerRequest,
    response=AnswerResponse,
    run=_run,
    text=_text,
    path="/answer",
    positional=("question",),
    needs_models=True,
    tells_progress=True,
)
