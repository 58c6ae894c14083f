"""Spans to an OpenTelemetry collector by OTLP over HTTP; the extra `telemetry`. The environment says where and how.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables: OTEL_EXPORTER_OTLP_*, OTEL_BSP_*,
OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES hold.
"""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from functools import cached_property

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as OpenTelemetrySpan

from services import __version__
from services.logs import Conditions
from services.tracing import Kind, Span, Value
from services.triage.trace import TraceContext

log = structlog.get_logger(__name__)

FLUSH_S = 2.0
"""So long a process that ends, or an association's, waits for the collector."""

BATCH = 512
"""Spans in one request; an association may bring thousands of studies."""

_EXPORT_S = "OTEL_EXPORTER_OTLP_TIMEOUT"


class OpenTelemetry:
    """`tracing.Recorder`. threads: False: no thread of its own, spans leave with `flush` alone."""

    def __init__(self, part: str, *, threads: bool = True) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what matters is said by `_Told`
        self._ours = {"service.version": __version__, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
        if "OTEL_SERVICE_NAME" not in os.environ:
            self._ours["service.name"] = f"vigie-{part}"
        self._threads = threads
        self._processor: SpanProcessor | None = None

    @cached_property
    def _tracer(self) -> Tracer:
        """Made with the first span: a process that forks before it has no thread of ours."""
        exporter = _Told(OTLPSpanExporter(timeout=float(os.environ.get(_EXPORT_S, FLUSH_S))))
        self._processor = BatchSpanProcessor(exporter) if self._threads else _Held(exporter)
        # ended by `flush`; at exit there is nothing to wait for
        provider = TracerProvider(resource=Resource.create(self._ours), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return provider.get_tracer("vigie", __version__)

    def start(
        self,
        name: str,
        *,
        parent: TraceContext | None,
        links: Sequence[TraceContext],
        kind: Kind,
        start_ns: int | None,
        attributes: Mapping[str, Value],
    ) -> Span:
        """See `tracing.Recorder`."""
        above = set_span_in_context(NonRecordingSpan(_as_theirs(parent)), Context()) if parent else Context()
        made = self._tracer.start_span(
            name,
            context=above,
            kind=SpanKind[kind.name],
            attributes=_named(attributes),
            links=[Link(_as_theirs(one)) for one in links],
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        return _Recorded(made)

    def flush(self) -> None:
        """See `tracing.Recorder`."""
        if self._processor is not None:
            self._processor.force_flush(int(FLUSH_S * 1000))


class _Recorded:
    """`tracing.Span`."""

    def __init__(self, span: OpenTelemetrySpan) -> None:
        self._span = span
        told = span.get_span_context()
        self.context = TraceContext(
            trace_id=f"{told.trace_id:032x}", span_id=f"{told.span_id:016x}", sampled=told.trace_flags.sampled
        )

    @property
    def traceparent(self) -> str:
        return self.context.traceparent

    def tell(self, **attributes: Value) -> None:
        self._span.set_attributes(_named(attributes))

    def failed(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()


class _Held(SpanProcessor):
    """Holds what has ended until `force_flush`, in the caller's own thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._ended.append(span)

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002 - the exporter has its own
        ended, self._ended = self._ended, []
        batches = [ended[start : start + BATCH] for start in range(0, len(ended), BATCH)]
        return all(self._exporter.export(one) is SpanExportResult.SUCCESS for one in batches)


class _Told(SpanExporter):
    """An exporter of which the log says when it begins and ends to fail."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._conditions = Conditions(log)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - the border: nothing of telemetry may harm the work
            self._conditions.begins("telemetry_unreachable", error=type(error).__name__)
            return SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._conditions.ends("telemetry_unreachable")
        else:
            self._conditions.begins("telemetry_unreachable", spans=len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _as_theirs(one: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if one.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(one.trace_id, 16), int(one.span_id, 16), is_remote=True, trace_flags=flags)


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {f"vigie.{name}": value for name, value in attributes.items()}
