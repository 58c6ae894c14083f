"""The edge of the HTTP server: headers that keep a page with patient data to itself, and the time of each request."""

import time

from prometheus_client import Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.dicomweb.root import is_stow
from services.gateway.problems import TOO_LARGE, problem_response

# No inline script or style anywhere, nothing from other hosts, no framing.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

OF_ENDPOINTS = ("Content-Security-Policy", "X-Frame-Options")
"""An endpoint may say these itself: the viewer does."""

STRICT_TRANSPORT = "max-age=31536000"
"""A browser that was here once asks by https alone for a year (RFC 6797); nothing is said of the site's other hosts."""


class SecurityHeaders:
    """ASGI middleware: the headers above on every response; no cache may keep one unless its endpoint says so.

    https: a proxy speaks TLS for us.
    """

    def __init__(self, app: ASGIApp, *, https: bool = False) -> None:
        self.app = app
        self.https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.https:  # whether or not X-Forwarded-Proto is believed; URLs that we tell are the proxy's
            scope["scheme"] = "https"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = {name: headers[name] for name in OF_ENDPOINTS if name in headers}
                headers.update(SECURITY_HEADERS | own)
                headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class BodyLimit:
    """ASGI middleware: a body of over `most` bytes is answered 413, declared or not; STOW-RS has its own limits."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or (scope["method"] == "POST" and is_stow(scope["path"])):
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.most:
            await problem_response(Request(scope), TOO_LARGE)(scope, receive, send)
            return
        read = 0

        async def receive_and_count() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                raise HTTPException(413)  # in the endpoint that reads it, and answered as its other errors are
            return message

        await self.app(scope, receive_and_count, send)


class RequestDurations:
    """ASGI middleware: observes each request under its method, route template (never the path) and status."""

    def __init__(self, app: ASGIApp, *, histogram: Histogram) -> None:
        self.app = app
        self.histogram = histogram

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, is_stream = 500, False

        async def send_and_note(message: Message) -> None:
            nonlocal status
            nonlocal is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            await send(message)

        began = time.perf_counter()
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            if not is_stream:  # it lasts as long as somebody listens
                self.histogram.labels(_known_method(scope["method"]), _route(scope), str(status)).observe(
                    time.perf_counter() - began
                )


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "other"))


def _known_method(method: str) -> str:
    # A client can send any word as a method: each would be a new time series.
    return method if method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} else "other"
