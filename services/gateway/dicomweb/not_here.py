"""DICOMweb that is not served here: by design, or because door and desk are deployed apart."""

from services.gateway.dicomweb.root import is_dicomweb
from services.gateway.problems import Problem
from services.gateway.role import Role

_BY_METHOD = "A reverse proxy can route by method: POST to .../studies goes to the door, everything else to the desk."


def not_here(role: Role, method: str, path: str, status: int) -> Problem | None:
    """What is told instead of a bare 404 or 405; None: nothing better is known."""
    if not is_dicomweb(path):
        return None
    if method == "DELETE":
        return _problem(
            status,
            "nothing_is_deleted",
            "Nothing is deleted by DICOMweb.",
            "A wrong result is recalled: POST /api/results/{id}/recall. Images are deleted in the archive.",
        )
    if role is Role.DOOR:
        return _problem(
            status,
            "served_by_the_desk",
            "This is a door: it stores instances (POST .../studies) and nothing else.",
            f"Search, retrieve and ask for workitems at a desk (vigie gateway --role desk). {_BY_METHOD}",
        )
    if role is Role.DESK and method == "POST" and "/workitems" not in path:
        return _problem(
            status,
            "served_by_the_door",
            "This is a desk: it stores no instances.",
            f"Send them to the same path at a door (vigie gateway --role door). {_BY_METHOD}",
        )
    return _problem(
        status,
        "no_such_service",
        "DICOMweb has no such path and method here.",
        "docs/conformance.md and /openapi.json list the services.",
    )


def _problem(status: int, code: str, detail: str, way_out: str) -> Problem:
    title = "Not found" if status == 404 else "Method not allowed"
    return Problem(title=title, status=status, code=code, detail=detail, way_out=way_out)
