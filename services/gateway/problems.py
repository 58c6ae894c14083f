"""Errors of the HTTP API as application/problem+json (RFC 9457): what happened, why, and the way out."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from services.gateway.language import noted
from services.gateway.templates import pages
from services.triage.errors import StoreUnavailable

RETRY_AFTER_S = 5


class Problem(BaseModel):
    """An error as RFC 9457 has it, with two members of our own: `code` for machines, `way_out` for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unknown study",
                    "status": 404,
                    "code": "unknown_study",
                    "detail": "No instance of this study was kept.",
                    "way_out": "Check the Study Instance UID, or send the study by C-STORE or STOW-RS.",
                }
            ]
        }
    )

    type: str = Field("about:blank", description="Always about:blank: `code` tells the kinds apart.")
    title: str = Field(description="The kind of problem, in a few words.")
    status: int = Field(description="The HTTP status code.")
    code: str = Field(description="The kind of problem, stable, for machines.")
    detail: str = Field(description="The cause. Never patient data.")
    way_out: str = Field(description="What the caller can do now.")


class ProblemError(Exception):
    """Raised by an endpoint to answer with a problem."""

    def __init__(self, status: int, code: str, title: str, *, detail: str, way_out: str) -> None:
        super().__init__(f"{title}: {detail}")
        self.problem = Problem(title=title, status=status, code=code, detail=detail, way_out=way_out)


def problem_response(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """A problem as a response; as a page when a browser asked for one. Its code is left for the audit trail."""
    request.state.problem = problem.code
    is_for_programs = request.url.path.startswith(("/api/", "/dicomweb", "/dicom-web", "/t/"))
    if not is_for_programs and "text/html" in request.headers.get("accept", ""):
        return pages.TemplateResponse(request, "problem.html", {"problem": problem}, problem.status, headers)
    return JSONResponse(
        jsonable_encoder(problem),
        status_code=problem.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


MEDIA_TYPE = "application/problem+json"

TOLD = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
"""What OpenAPI tells of an answer that is a problem; `openapi` adds the schema to the document."""


def documented(**causes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entries for an endpoint's own errors: s404='...' stands for status 404. `openapi` tells the others."""
    return {int(status[1:]): {"description": cause, "content": TOLD} for status, cause in causes.items()}


STORE_UNAVAILABLE = Problem(
    title=noted("The store does not answer"),
    status=503,
    code="store_unavailable",
    detail=noted("The database that holds studies and results cannot be reached."),
    way_out=noted(
        "Try again in a few seconds; if it lasts, look at /readyz and at the database server. "
        "Images are still received; read the studies in the PACS as usual."
    ),
)


TOO_LARGE = Problem(
    title=noted("Too large"),
    status=413,
    code="too_large",
    detail=noted("The body of the request is larger than what is taken here."),
    way_out=noted("Send less at once. Images are sent by STOW-RS or C-STORE."),
)


_NOTHING_HERE = Problem(
    title=noted("Nothing is here"),
    status=404,
    code="http_error",
    detail=noted("No page and no part of the API has this address."),
    way_out=noted("/openapi.json lists every path and its methods; the work list is at /."),
)


INTERNAL_ERROR = Problem(
    title=noted("Internal error"),
    status=500,
    code="internal_error",
    detail=noted("A fault in Vigie; its type and place are in the log."),
    way_out=noted("Report it with the log's line. Received images are safe: read the studies as usual."),
)


def invalid_request(causes: str) -> Problem:
    """The answer to parameters or a body that are not as OpenAPI tells; causes: which, and what is wrong with them."""
    return Problem(
        title=noted("Invalid request"),
        status=422,
        code="invalid_request",
        detail=causes,
        way_out=noted("Correct the parameters named; /openapi.json describes them."),
    )


def _methods(request: Request) -> list[str]:
    """All that the path of a request takes (RFC 9110 10.2.1); Starlette names those of its first route alone."""
    taken: set[str] = set()
    for method in ("DELETE", "GET", "HEAD", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            taken.add(method)
    return sorted(taken)


def install_problem_handlers(app: FastAPI, not_here: Callable[[str, str, int], Problem | None]) -> None:
    """Answer every error of the API with a problem; none echoes what was sent, which may be patient data.

    not_here: for method, path and status (404 or 405), a better text than that nothing is there.
    """

    @app.exception_handler(ProblemError)
    def _problem(request: Request, error: ProblemError) -> Response:
        return problem_response(request, error.problem)

    @app.exception_handler(StoreUnavailable)
    def _store_unavailable(request: Request, _error: StoreUnavailable) -> Response:
        return problem_response(request, STORE_UNAVAILABLE, {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        causes = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return problem_response(request, invalid_request(causes))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        problem = TOO_LARGE if error.status_code == 413 else None
        if error.status_code == 400:  # FastAPI's word for a body that is no text; of text that is no JSON it says 422
            problem = invalid_request(str(error.detail))
        if error.status_code in (404, 405):
            problem = not_here(request.method, request.url.path, error.status_code)
        if error.status_code == 404:
            problem = problem or _NOTHING_HERE
        problem = problem or Problem(
            title=str(error.detail),
            status=error.status_code,
            code="http_error",
            detail=f"The server answered {error.status_code} ({error.detail}) to this path and method.",
            way_out=noted("/openapi.json lists every path and its methods; the work list is at /."),
        )
        headers = dict(error.headers) if error.headers else None
        if error.status_code == 405:
            headers = {"Allow": ", ".join(_methods(request))}
        return problem_response(request, problem, headers)

    @app.exception_handler(Exception)
    def _unexpected(request: Request, _error: Exception) -> Response:
        return problem_response(request, INTERNAL_ERROR)
