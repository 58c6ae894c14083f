"""A caller of some tenants finds nothing of the others' by its UID or id: a dependency of every route.

It goes by the names of the parameters in a route's path, so that a new route is guarded by having one. That somebody
asked for what is another tenant's stands in the audit trail; the answer is that of what is not there.
"""

from collections.abc import Callable
from typing import Any, cast

from fastapi import Request

from services.backends.store import SqlStudyStore
from services.gateway.access.caller import caller_of
from services.gateway.audit.asked import refused
from services.gateway.desk import Desk, TheDesk, unknown_study
from services.gateway.dicomweb.root import is_stow
from services.gateway.problems import ProblemError

_NOT_YOURS = "not_your_tenant"


def _unknown(what: str, title: str, detail: str) -> ProblemError:
    return ProblemError(
        404, f"unknown_{what}", title, detail=detail, way_out="Look in the list for what there is, as you see it."
    )


def _no_result() -> ProblemError:
    return _unknown("result", "Unknown result", "No result has this id.")


def _no_object() -> ProblemError:
    return _unknown("result", "Unknown result object", "No result object has this SOP Instance UID.")


def _no_workitem() -> ProblemError:
    return _unknown("workitem", "Unknown workitem", "There is no workitem of this UID (C307).")


def _has_study(store: SqlStudyStore, uid: str) -> bool:
    return store.board.has_study(uid)


_CHECKS: dict[str, tuple[Callable[[SqlStudyStore, str], bool], Callable[[], ProblemError]]] = {
    "uid": (_has_study, unknown_study),
    "study": (_has_study, unknown_study),
    "result_id": (lambda store, result_id: store.board.has_result(result_id), _no_result),
    "sop_instance_uid": (lambda store, uid: store.board.result_object(uid) is not None, _no_object),
    "workitem": (lambda store, uid: store.workitems.get(uid) is not None, _no_workitem),
}
"""By parameter: whether a store has such a thing, and the answer where it has not."""


def within_tenants(request: Request, desk: TheDesk) -> None:
    """Raises ProblemError (404): what the path names is of a tenant that the caller is not of."""
    caller = caller_of(request)
    if caller is None or not caller.tenants:
        return
    everything = cast(Desk, request.app.state.desk)
    parameters: dict[str, Any] = request.path_params
    tenant = parameters.get("tenant")
    if tenant is not None and tenant not in caller.tenants:
        if everything.tenants.named(tenant) is not None:
            refused(request.app.state.audit, request, _NOT_YOURS)
        raise _unknown("tenant", "Unknown tenant", "You are of no tenant of this name.")
    if request.method == "POST" and is_stow(request.url.path):
        return  # the study need not be here yet: the door sees to the tenant, and asks no database
    for name, (has, unknown) in _CHECKS.items():
        told = str(parameters.get(name, ""))
        if not told or has(desk.store, told):
            continue
        if has(everything.store, told):
            refused(request.app.state.audit, request, _NOT_YOURS, study=told if has is _has_study else "")
        raise unknown()
