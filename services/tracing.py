"""Traces: which piece of work a log line and a message belong to, from the association to the delivered result.

Identifiers are always made, and stand in the log (`trace_id`, `span_id`), in the database and in messages. Spans are
exported where the environment names a collector (OTEL_EXPORTER_OTLP_ENDPOINT) and the extra `telemetry` is installed.
Attributes are identifiers, counts and codes, never patient data; of an error they tell the type, never the text.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Protocol

import structlog

from services.triage.trace import TraceContext

log = structlog.get_logger(__name__)

Value = str | bool | int | float


class Kind(StrEnum):
    """What a span is to those around it (OpenTelemetry's SpanKind)."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(Protocol):
    """One piece of work."""

    @property
    def context(self) -> TraceContext:
        """Its place in the trace."""

    @property
    def traceparent(self) -> str:
        """The same, as others are told of it."""

    def tell(self, **attributes: Value) -> None:
        """Add attributes; each name gets `vigie.` before it."""

    def failed(self, error_type: str) -> None:
        """It did not do what it should."""

    def end(self) -> None:
        """It is over."""


class Recorder(Protocol):
    """Makes spans."""

    def start(
        self,
        name: str,
        *,
        parent: TraceContext | None,
        links: Sequence[TraceContext],
        kind: Kind,
        start_ns: int | None,
        attributes: dict[str, Value],
    ) -> Span:
        """Begin a span; without a parent it begins a trace."""

    def flush(self) -> None:
        """Export what has ended; waits for a moment at most."""


class _Unrecorded:
    """A span of which only the identifiers are made."""

    def __init__(self, context: TraceContext) -> None:
        self.context = context

    @property
    def traceparent(self) -> str:
        return self.context.traceparent

    def tell(self, **attributes: Value) -> None:
        """Nowhere to tell it."""

    def failed(self, error_type: str) -> None:
        """Nowhere to tell it."""

    def end(self) -> None:
        """Nothing to do."""


class _Unrecording:
    """Makes identifiers only."""

    def start(
        self,
        name: str,  # noqa: ARG002
        *,
        parent: TraceContext | None,
        links: Sequence[TraceContext],  # noqa: ARG002
        kind: Kind,  # noqa: ARG002
        start_ns: int | None,  # noqa: ARG002
        attributes: dict[str, Value],  # noqa: ARG002
    ) -> Span:
        # sampled, whoever may record: a part of this release or of the next may export while this one does not
        trace_id, sampled = (parent.trace_id, parent.sampled) if parent else (os.urandom(16).hex(), True)
        return _Unrecorded(TraceContext(trace_id=trace_id, span_id=os.urandom(8).hex(), sampled=sampled))

    def flush(self) -> None:
        """Nothing to do."""


_current: ContextVar[TraceContext | None] = ContextVar("vigie_trace", default=None)
_recorder: Recorder = _Unrecording()


def begin(part: str, *, threads: bool = True) -> None:
    """Export the spans of this process from now on, where the environment asks for it. Call it after a fork.

    threads: False where this process must have no other thread, because it forks: spans then leave with `flush`.
    """
    global _recorder
    _recorder = _Unrecording()
    if not is_asked_for():
        return
    try:
        from services.telemetry import OpenTelemetry
    except ImportError:
        log.warning("telemetry_not_installed", way_out="pip install '.[telemetry]'")
        return
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        log.warning("telemetry_protocol_not_spoken", protocol=protocol, spoken="http/protobuf")
        return
    _recorder = OpenTelemetry(part, threads=threads)


def is_asked_for() -> bool:
    """Whether the environment names a collector (OpenTelemetry's own variables)."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    named = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return bool(named) and not off


def flush() -> None:
    """Export what has ended; waits for two seconds at most. Without a collector it does nothing."""
    _recorder.flush()


def current() -> TraceContext | None:
    """The place of what goes on here, None outside of any trace."""
    return _current.get()


def start(
    name: str,
    *,
    parent: str | None = None,
    links: Sequence[str | None] = (),
    kind: Kind = Kind.INTERNAL,
    start_ns: int | None = None,
    **attributes: Value,
) -> Span:
    """Begin a span that is ended elsewhere.

    parent: a traceparent; without one, or for one that is none, it is a child of what goes on here, and else begins a
    trace. links: traceparents of others that it has to do with. start_ns: Unix time, if it began before.
    """
    known = [found for one in links if (found := TraceContext.parse(one))]
    above = TraceContext.parse(parent) or _current.get()
    return _recorder.start(name, parent=above, links=known, kind=kind, start_ns=start_ns, attributes=attributes)


@contextmanager
def within(place: TraceContext | str | None) -> Iterator[None]:
    """What goes on in the block belongs there, its log lines too. None, or a traceparent that is none: no change."""
    context = TraceContext.parse(place) if isinstance(place, str) else place
    if context is None:
        yield
        return
    token = _current.set(context)
    try:
        with structlog.contextvars.bound_contextvars(trace_id=context.trace_id, span_id=context.span_id):
            yield
    finally:
        _current.reset(token)


@contextmanager
def span(
    name: str,
    *,
    parent: str | None = None,
    links: Sequence[str | None] = (),
    kind: Kind = Kind.INTERNAL,
    **attributes: Value,
) -> Iterator[Span]:
    """A span as long as the block; see `start`."""
    made = start(name, parent=parent, links=links, kind=kind, start_ns=None, **attributes)
    try:
        with within(made.context):
            yield made
    except BaseException as error:
        made.failed(type(error).__name__)
        raise
    finally:
        made.end()


@contextmanager
def step(name: str, *, kind: Kind = Kind.INTERNAL, model: str = "") -> Iterator[Span | None]:
    """A span below what goes on here; nothing (None) outside of any trace."""
    if _current.get() is None:
        yield None
        return
    with span(name, kind=kind) as made:
        if model:
            made.tell(model=model)
        yield made
