"""What the faces speak: requests and responses of REST, MCP and the CLI, one model each."""

from codeintel_serving.models.answer import MAX_CITATIONS, AnswerRequest, AnswerResponse, Citation, Confidence
from codeintel_serving.models.base import MAX_REPOS, MAX_TIME_BUDGET_MS, AsOf, Model, Suspicious, example
from codeintel_serving.models.envelope import Budget, Coverage, Envelope, IndexEntry, StageModel
from codeintel_serving.models.files import MAX_LINE, MAX_READ_LINES, FileText
from codeintel_serving.models.problem import FieldError, Problem
from codeintel_serving.models.request import (
    MAX_CURSOR_CHARS,
    MAX_TOKENS,
    MIN_TOKENS,
    Detail,
    PagedRequest,
    ScopeModel,
    ToolRequest,
)
from codeintel_serving.models.scope import GetScopeRequest, ScopedRepository, ScopeResponse, SetScopeRequest
from codeintel_serving.models.search import (
    MODES,
    ChannelScore,
    Explanation,
    Lines,
    SearchHit,
    SearchRequest,
    SearchResponse,
)
from codeintel_serving.models.status import (
    Check,
    FileStatus,
    Readiness,
    RepositoryStatus,
    StatusRequest,
    StatusResponse,
)

__all__ = [
    "MAX_CITATIONS",
    "MAX_CURSOR_CHARS",
    "MAX_LINE",
    "MAX_READ_LINES",
    "MAX_REPOS",
    "MAX_TIME_BUDGET_MS",
    "MAX_TOKENS",
    "MIN_TOKENS",
    "MODES",
    "AnswerRequest",
    "AnswerResponse",
    "AsOf",
    "Budget",
    "ChannelScore",
    "Check",
    "Citation",
    "Confidence",
    "Coverage",
    "Detail",
    "Envelope",
    "Explanation",
    "FieldError",
    "FileStatus",
    "FileText",
    "GetScopeRequest",
    "IndexEntry",
    "Lines",
    "Model",
    "PagedRequest",
    "Problem",
    "Readiness",
    "RepositoryStatus",
    "ScopeModel",
    "ScopeResponse",
    "ScopedRepository",
    "SearchHit",
    "SearchRequest",
    "SearchResponse",
    "SetScopeRequest",
    "StageModel",
    "StatusRequest",
    "StatusResponse",
    "Suspicious",
    "ToolRequest",
    "example",
]
