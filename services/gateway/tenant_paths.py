"""DICOMweb of one tenant, below /t/{tenant}: a path tells who asks, where no AE title does.

Without VIGIE_PEOPLE a path is a claim, as an AE title is; with it, whoever is of some tenants reaches theirs alone.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import Path, Request

from services.gateway.access.caller import person_of
from services.gateway.desk import the_desk
from services.gateway.problems import ProblemError
from services.triage.errors import InstanceRefused
from services.triage.tenant import NO_TENANT, Tenant, Tenants

PREFIX = "/t/{tenant}"

InPath = Annotated[str, Path(description="Name of the tenant, as VIGIE_TENANTS has it.")]


def tenant_of(request: Request) -> str:
    """The tenant of the path; NO_TENANT where it names none."""
    return str(request.path_params.get("tenant", NO_TENANT))


def asked_for(request: Request) -> str | None:
    """Whose studies are asked for, by the path or else by the query; None: everybody's."""
    return tenant_of(request) or request.query_params.get("tenant")


def known(tenants: Tenants) -> Callable[[str], None]:
    """A dependency: the path names a tenant. Raises ProblemError (404)."""

    def check(tenant: InPath) -> None:
        _named(tenants, tenant)

    return check


def sending(tenants: Tenants) -> Callable[[str], None]:
    """A dependency: the path names a tenant that may send by STOW-RS. Raises ProblemError (403, 404)."""

    def check(tenant: InPath) -> None:
        if not _named(tenants, tenant).stow:
            raise ProblemError(
                403,
                "no_stow",
                "Not for this tenant",
                detail="This tenant does not send by STOW-RS.",
                way_out="Send by C-STORE, or have stow = true set in its table of the file that VIGIE_TENANTS names.",
            )

    return check


def of_path(request: Request) -> Callable[[str], str]:
    """Whose the instances of a request are, by their study: the path's tenant's."""
    tenant = tenant_of(request)
    return lambda _study_instance_uid: tenant


def of_study(request: Request) -> Callable[[str], str]:
    """The same where the path names no tenant: a person may add to a study that they see, as a viewer does.

    Raises ProblemError (403): it is a machine. What it returns raises InstanceRefused: no such study; StoreUnavailable.
    """
    if person_of(request) is None:
        raise ProblemError(
            403,
            "tenant_needed",
            "Whose are the instances?",
            detail="Several hospitals are kept apart here, and this path names none.",
            way_out="POST to /t/{tenant}/dicomweb/studies.",
        )
    store = the_desk(request).store

    def tenant(study_instance_uid: str) -> str:
        told = store.tenant(study_instance_uid) if store.board.has_study(study_instance_uid) else NO_TENANT
        if told == NO_TENANT:
            text = "of no study that is seen, and the path names no tenant: POST to /t/{tenant}/dicomweb/studies"
            raise InstanceRefused("tenant_needed", text, status=InstanceRefused.NOT_AUTHORIZED)
        return told

    return tenant


def _named(tenants: Tenants, name: str) -> Tenant:
    tenant = tenants.named(name)
    if tenant is None:
        raise ProblemError(
            404,
            "unknown_tenant",
            "Unknown tenant",
            detail="No tenant has this name.",
            way_out="Look at the names in the file that VIGIE_TENANTS names.",
        )
    return tenant
