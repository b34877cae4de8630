"""The budget of one answer: one deadline to the first token, shares of what is left for the stages before it."""

from __future__ import annotations

from dataclasses import dataclass

from codeintel_core.deadline import Deadline
from codeintel_core.models.chat import Limits
from codeintel_core.settings import Settings
from codeintel_serving.models import AnswerRequest

_RERANK_SHARE = 1 / 3
_PROMPT_SHARE = 0.2
_RESERVE_SHARE, _RESERVE_MOST_S = 0.1, 0.1
_WRAP_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class AnswerBudget:
    """Deadlines on the monotonic clock. A caller's own budget bounds the whole answer, the server's its first token."""

    total_ms: int
    total: Deadline
    reserve_s: float
    """Kept back from the models, so that a fallback still comes in time."""
    answer: Deadline
    """End of a generated answer that started in time."""
    idle_s: float
    rerank_s: float

    @classmethod
    def start(cls, request: AnswerRequest, settings: Settings) -> AnswerBudget:
        """The budget of a request that starts now."""
        total_ms = min(request.time_budget_ms or settings.answer_budget_ms, settings.answer_budget_ms)
        total = Deadline.after(total_ms / 1000)
        reserve_s = min(_RESERVE_MOST_S, _RESERVE_SHARE * total_ms / 1000)
        if request.time_budget_ms is None:
            answer = Deadline.after(max(total_ms, settings.chat_answer_ms) / 1000)
        else:
            answer = Deadline(total.at_s - reserve_s)
        return cls(total_ms, total, reserve_s, answer, settings.chat_idle_ms / 1000, settings.rerank_budget_ms / 1000)

    @property
    def models(self) -> Deadline:
        """Until when the models may keep the answer from starting."""
        return Deadline(self.total.at_s - self.reserve_s)

    def rerank(self) -> Deadline:
        """Deadline of the reranker."""
        return self.models.within(min(self.rerank_s, _RERANK_SHARE * self.models.remaining_s))

    def prompt(self) -> Deadline:
        """Deadline for preparing the prompt."""
        return self.models.within(_PROMPT_SHARE * self.models.remaining_s)

    def chat(self) -> Limits:
        """Deadlines of the generated answer."""
        return Limits(first_token=self.models, total=self.answer, idle_s=self.idle_s)

    def wrap_up(self) -> Deadline:
        """Deadline of what follows the text: the total, or a moment more when a long answer is past it."""
        return self.total if not self.total.is_over else Deadline.after(_WRAP_UP_S)
