"""A caller of some tenants finds nothing of the others' by its UID or id: a dependency of every route.

It goes by the names of the parameters in a route's path, so that a new route is guarded by having one.
"""

from collections.abc import Callable
from typing import Any

from fastapi import Request

from services.gateway.access.caller import caller_of
from services.gateway.desk import Desk, TheDesk, unknown_study
from services.gateway.dicomweb.root import is_stow
from services.gateway.problems import ProblemError


def _study(desk: Desk, uid: str) -> None:
    if not desk.store.board.has_study(uid):
        raise unknown_study()


def _result(desk: Desk, result_id: str) -> None:
    if not desk.store.board.has_result(result_id):
        raise _unknown("result", "Unknown result", "No result has this id.")


def _object(desk: Desk, uid: str) -> None:
    if desk.store.board.result_object(uid) is None:
        raise _unknown("result", "Unknown result object", "No result object has this SOP Instance UID.")


def _workitem(desk: Desk, uid: str) -> None:
    if desk.store.workitems.get(uid) is None:
        raise _unknown("workitem", "Unknown workitem", "There is no workitem of this UID (C307).")


_CHECKS: dict[str, Callable[[Desk, str], None]] = {
    "uid": _study,
    "study": _study,
    "result_id": _result,
    "sop_instance_uid": _object,
    "workitem": _workitem,
}
"""By parameter."""


def within_tenants(request: Request, desk: TheDesk) -> None:
    """Raises ProblemError (404): what the path names is of a tenant that the caller is not of."""
    caller = caller_of(request)
    if caller is None or not caller.tenants:
        return
    parameters: dict[str, Any] = request.path_params
    tenant = parameters.get("tenant")
    if tenant is not None and tenant not in caller.tenants:
        raise _unknown("tenant", "Unknown tenant", "You are of no tenant of this name.")
    if request.method == "POST" and is_stow(request.url.path):
        return  # the study need not be here yet: the door sees to the tenant, and asks no database
    for name, check in _CHECKS.items():
        if name in parameters:
            check(desk, str(parameters[name]))


def _unknown(what: str, title: str, detail: str) -> ProblemError:
    return ProblemError(
        404, f"unknown_{what}", title, detail=detail, way_out="Look in the list for what there is, as you see it."
    )
