"""A collector: takes OTLP over HTTP, and keeps every span by the message format's own library."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, kw_only=True)
class Received:
    """One span as it came. `links`: (trace id, span id)."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    failed: bool
    start_ns: int
    end_ns: int


@dataclass
class Collector:
    """What came so far; `raw`: the bytes of every request."""

    endpoint: str
    spans: list[Received] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def named(self, name: str) -> list[Received]:
        return [one for one in self.spans if one.name == name]

    def settings(self) -> dict[str, str]:
        """The environment of a process that exports here, at once."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}


@contextmanager
def collector() -> Iterator[Collector]:
    """Run one until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.raw.append(body)
            is_json = self.headers["Content-Type"].startswith("application/json")
            found.spans.extend(_spans_of_json(body) if is_json else _spans(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Collector(endpoint=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _spans_of_json(body: bytes) -> list[Received]:
    """OTLP in JSON, with identifiers in hex, as Triton speaks it; of its attributes none are kept."""
    return [
        Received(
            service=_service_of_json(of_resource),
            name=one["name"],
            trace_id=one["traceId"].lower(),
            span_id=one["spanId"].lower(),
            parent_id=one.get("parentSpanId", "").lower(),
            links=(),
            attributes={},
            failed=False,
            start_ns=int(one["startTimeUnixNano"]),
            end_ns=int(one["endTimeUnixNano"]),
        )
        for of_resource in json.loads(body)["resourceSpans"]
        for of_scope in of_resource["scopeSpans"]
        for one in of_scope["spans"]
    ]


def _service_of_json(of_resource: dict[str, Any]) -> str:
    attributes = {one["key"]: one["value"] for one in of_resource["resource"]["attributes"]}
    return str(attributes["service.name"]["stringValue"])


def _spans(body: bytes) -> list[Received]:
    received = []
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {one.key: one.value.string_value for one in of_resource.resource.attributes}
        for of_scope in of_resource.scope_spans:
            received += [
                Received(
                    service=resource["service.name"],
                    name=one.name,
                    trace_id=one.trace_id.hex(),
                    span_id=one.span_id.hex(),
                    parent_id=one.parent_span_id.hex(),
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in one.links),
                    attributes={a.key: getattr(a.value, a.value.WhichOneof("value")) for a in one.attributes},
                    failed=one.status.code == 2,
                    start_ns=one.start_time_unix_nano,
                    end_ns=one.end_time_unix_nano,
                )
                for one in of_scope.spans
            ]
    return received
