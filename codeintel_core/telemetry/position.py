"""Where the running code is in its trace: the run or step around it.

Kept by ourselves, not in OpenTelemetry's context: that costs ten times as much, and a program that embeds this one must
not find parents there that nobody will ever see. Only spans that are exported are put into that context as well.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from random import getrandbits
from typing import NamedTuple, Protocol
from uuid import UUID

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.trace.span import TraceState


class Trace(NamedTuple):
    """A trace: its id as 32 hex digits, and what W3C trace context hands on with it."""

    trace_id: str
    flags: int = 0
    state: str = ""


class Place(Protocol):
    """A span, exported or not."""

    trace: Trace
    span: Span
    """Recording where spans are exported, else invalid: then the ids are all there is."""
    span_id: str
    """16 hex digits."""


_here: ContextVar[Place | None] = ContextVar("codeintel_place", default=None)


current = _here.get
"""Where this code is, None outside of every run and step."""


def enter(place: Place) -> tuple[Token[Place | None], Token[Context] | None]:
    """Be inside a run or step until `leave`."""
    is_exported = place.span is not trace.INVALID_SPAN
    attached = contexts.attach(trace.set_span_in_context(place.span)) if is_exported else None
    return _here.set(place), attached


def leave(entered: tuple[Token[Place | None], Token[Context] | None]) -> None:
    """Be where one was before `enter`."""
    token, attached = entered
    if attached is not None:
        contexts.detach(attached)
    try:
        _here.reset(token)
    except ValueError:  # a generator that is closed in another context than it was begun in
        return


class Inside:
    """A block inside a run or step."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> None:
        self._entered = enter(self._place)

    def __exit__(self, *_: object) -> None:
        leave(self._entered)


def new_span_id() -> str:
    """16 random hex digits."""
    return f"{getrandbits(64) or 1:016x}"


def new_uuid() -> str:
    """A random UUID, of the generator of this process: to ask the system, as `uuid4` does, gives Python's lock away.

    Each process seeds its own. These ids have to differ, not to be secret.
    """
    return str(UUID(int=getrandbits(128), version=4))


def new_trace() -> Trace:
    """A trace that nobody has begun yet."""
    return Trace(f"{getrandbits(128) or 1:032x}")


def ids_of(span: Span) -> tuple[Trace, str] | None:
    """Trace and span id of a span, None when it has none."""
    found = span.get_span_context()
    if not found.is_valid:
        return None
    state = found.trace_state.to_header()
    return Trace(f"{found.trace_id:032x}", int(found.trace_flags), state), f"{found.span_id:016x}"


def context_of(place: Place) -> Context:
    """The same for OpenTelemetry."""
    of = place.trace
    state = TraceState.from_header([of.state]) if of.state else None
    ids = trace.SpanContext(int(of.trace_id, 16), int(place.span_id, 16), False, trace.TraceFlags(of.flags), state)
    return trace.set_span_in_context(trace.NonRecordingSpan(ids), Context())
