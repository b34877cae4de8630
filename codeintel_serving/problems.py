"""Errors become RFC 9457 problems here, once, for every face; nothing of the server leaks into them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from codeintel_core.errors import CodeIntelError, DeadlineExceeded, InvalidRequest
from codeintel_core.secrets import redact
from codeintel_core.telemetry import Run, Status, current_run
from codeintel_serving.display import without_server_paths
from codeintel_serving.models import FieldError, Problem

_Model = TypeVar("_Model", bound=BaseModel)
_OURS = frozenset({500, 503, 504})
_BAD = (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED)
_MOST_LIMITS = 10
_log = logging.getLogger("codeintel.serving")


def problem(code: str, title: str, status: int, detail: str, errors: Sequence[FieldError] = ()) -> Problem:
    """A problem that carries the ids of the current run."""
    run, detail = current_run(), redact(detail)[0]
    return Problem(
        type=f"/problems/{code}",
        title=title,
        status=status,
        detail=without_server_paths(detail) if status >= 500 else detail,
        code=code,
        run_id=run.run_id if run else "",
        trace_id=run.trace_id if run else "",
        runpack=run.run_id if run and is_packed(run, status) else "",
        stage=_stage(run),
        limits=_limits(run),
        errors=list(errors),
    )


def is_packed(run: Run, status: int) -> bool:
    """Whether a problem of ours leaves a runpack, whose id is that of the run: not what was refused before it began.

    Who sheds load packs nothing: it would be the work that the shedding saves, about a run that did none.
    """
    return status in _OURS and bool(run.steps)


def _stage(run: Run | None) -> str:
    """The kind of step that failed last."""
    return next((step.kind for step in reversed(run.steps) if step.status in _BAD), "") if run else ""


def _limits(run: Run | None) -> list[str]:
    """What each step that failed or was skipped said."""
    told = [s for s in run.steps if s.status in _BAD or (s.status is Status.SKIPPED and s.reason)] if run else []
    return [without_server_paths(f"{s.kind} {s.status}: {s.reason}".rstrip(": ")) for s in told[-_MOST_LIMITS:]]


def problem_of(error: BaseException) -> Problem:
    """The problem of any error; what is not expected is logged and shown only as its run id."""
    if isinstance(error, CodeIntelError):
        return problem(error.slug, error.title, error.status, str(error))
    if isinstance(error, TimeoutError):
        return problem(DeadlineExceeded.slug, DeadlineExceeded.title, DeadlineExceeded.status, "out of time")
    _log.error("unexpected error", exc_info=error)
    base = CodeIntelError
    return problem(base.slug, base.title, base.status, "something unexpected happened; the server's log names run_id")


def invalid_arguments(details: Sequence[Any]) -> Problem:
    """The problem of arguments that pydantic refused (`ValidationError.errors()`); values are not repeated."""
    errors = [
        FieldError(field=".".join(str(part) for part in d["loc"] if part != "body") or "body", message=d["msg"])
        for d in details[:20]
    ]
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors[:3])
    return problem(InvalidRequest.slug, InvalidRequest.title, InvalidRequest.status, detail, errors)


def checked(model: type[_Model], **values: Any) -> _Model:
    """`model(**values)`; raises `InvalidRequest` with one line in place of pydantic's many."""
    try:
        return model(**values)
    except ValidationError as error:
        raise InvalidRequest(invalid_arguments(error.errors()).detail) from None
