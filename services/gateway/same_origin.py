"""Who may have a browser send a change: our own pages, and no other site's.

A browser says where a request comes from (Fetch Metadata, or Origin); programs that are none say nothing, and carry no
one's session that another site could ride on.
"""

from urllib.parse import urlsplit

from fastapi import Request

from services.gateway.problems import ProblemError

_JSON = "application/json"


def same_origin(request: Request) -> None:
    """A dependency. Raises ProblemError (403): another site's page asks."""
    told = request.headers.get("sec-fetch-site")
    if told is not None:
        allowed = told == "same-origin"
    else:
        origin = request.headers.get("origin")
        allowed = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not allowed:
        raise ProblemError(
            403,
            "cross_site",
            "Another site asks",
            detail="The browser says that this request was made by a page of another site.",
            way_out="Answer on this server's own pages. A proxy must pass on the Host that the browser asked for.",
        )


def json_of_ours(request: Request) -> None:
    """A dependency: also, the body says that it is JSON, as no form of another site can. Raises ProblemError (415)."""
    same_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise ProblemError(
            415,
            "not_json",
            "Not JSON",
            detail="The body must be JSON, and its Content-Type must say so.",
            way_out=f"Send Content-Type: {_JSON}.",
        )
