"""Web pages of other origins at DICOMweb (CORS, Fetch Standard 3.3), such as a viewer; none by default."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.dicomweb.root import is_dicomweb


class DicomWebCors:
    """ASGI middleware: these origins may use DICOMweb; work list and API stay with their own."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        self._app = app
        self._shared = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "PUT"],
            allow_headers=["Accept", "Content-Type", "Authorization"],
            expose_headers=["Content-Location", "Warning"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        shared = scope["type"] == "http" and is_dicomweb(scope["path"])
        await (self._shared if shared else self._app)(scope, receive, send)
