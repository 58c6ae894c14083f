"""Bodies that must say that they are JSON, as no form of another site can."""

from fastapi import Request

from services.gateway.problems import ProblemError

_JSON = "application/json"


def json_body(request: Request) -> None:
    """A dependency. Raises ProblemError (415): the body does not say that it is JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise ProblemError(
            415,
            "not_json",
            "Not JSON",
            detail="The body must be JSON, and its Content-Type must say so.",
            way_out=f"Send Content-Type: {_JSON}.",
        )
