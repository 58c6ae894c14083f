"""A path of DICOMweb: its endpoints for GET and HEAD, and what OpenAPI tells of it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from services.gateway.desk import Desk, the_desk
from services.gateway.problems import TOLD

Answer = Callable[[Request, Desk], Response]


def add_read(
    router: APIRouter, path: str, answer: Answer, *, desk_of: Callable[..., Desk] = the_desk, **about: Any
) -> None:
    """GET and HEAD of a path. desk_of: the dependency that answers the desk. about: as the route takes it."""

    def dicomweb(request: Request, desk: Annotated[Desk, Depends(desk_of)]) -> Response:
        return answer(request, desk)

    def head(request: Request, desk: Annotated[Desk, Depends(desk_of)]) -> Response:
        """What GET would answer, without its body: none of it is read but the first piece (RFC 9110 9.3.2)."""
        answered = answer(request, desk)
        told = Response(status_code=answered.status_code, headers=dict(answered.headers))
        if "content-length" not in answered.headers:  # the length of what is streamed is not known, and not 0
            del told.headers["content-length"]
        return told

    router.add_api_route(path, dicomweb, methods=["GET"], **about)
    router.add_api_route(path, head, methods=["HEAD"], include_in_schema=False)


def described(
    path: str,
    *,
    media_types: Sequence[str],
    problems: Mapping[int, str],
    parameters: Mapping[str, str] | None = None,
    description: str = "",
    body: str = "",
    status: int = 200,
    also: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """What OpenAPI tells of a path.

    parameters: those of the query. body: what is sent, '' for none. problems, also: the endpoint's own answers, those
    that are problems and others.
    """
    in_path = [(name, "path", "") for name in re.findall(r"{(\w+)", path)]
    in_query = [(name, "query", text) for name, text in (parameters or {}).items()]
    extra: dict[str, Any] = {
        "parameters": [
            {
                "name": name,
                "in": place,
                "description": text,
                "required": place == "path",
                "schema": {"type": "string"},
            }
            for name, place, text in in_path + in_query
        ]
    }
    if body:
        extra["requestBody"] = {"description": body, "content": {"application/dicom+json": {}}}
    return {
        "description": description,
        "response_class": Response,
        "status_code": status,
        "responses": {
            status: {"description": "As negotiated.", "content": {each: {} for each in media_types}},
            **{code: {"description": text} for code, text in (also or {}).items()},
            **{code: {"description": text, "content": TOLD} for code, text in problems.items()},
        },
        "openapi_extra": extra,
    }
