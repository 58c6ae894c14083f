"""Who somebody is here, by the claims of a checked token. Pure; `Oidc` says which claims, and what they mean."""

import re
from collections.abc import Mapping
from typing import Any

from services.backends.oidc.file import PREFIX, Claim, Oidc
from services.triage.errors import TokenRefused
from services.triage.person import Machine, Person

Claims = Mapping[str, Any]

_LONGEST = 63
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]*")
_DISPLAYED = 64


def person_of(oidc: Oidc, claims: Claims) -> Person:
    """Raises TokenRefused: no_name, no_role, no_tenant."""
    values = _values(claims, oidc.roles_claim)
    roles = frozenset(role for role, given in oidc.roles.items() if values & set(given))
    if not roles:
        raise TokenRefused("no_role", "none of the roles that the provider tells has a meaning here")
    shown = _at(claims, oidc.display_name_claim)
    return Person(
        name=_name(claims, oidc.name_claim),
        roles=roles,
        display_name=shown[:_DISPLAYED] if isinstance(shown, str) and shown.isprintable() else "",
        tenants=_tenants(oidc, claims, oidc.tenants_claim),
    )


def machine_of(oidc: Oidc, claims: Claims) -> Machine:
    """Raises TokenRefused: no_machine, no_name, no_task, no_tenant."""
    machines = oidc.machines
    if machines is None or any(claims.get(name) != value for name, value in machines.must_have.items()):
        raise TokenRefused("no_machine", "the token is none of a machine's")
    scope = _at(claims, machines.tasks_claim)
    # a scope is one string (RFC 6749 3.3); a list has each by itself
    values = set(scope.split(" ")) if isinstance(scope, str) else _values(claims, machines.tasks_claim)
    may = frozenset(task for task, given in machines.tasks.items() if values & set(given))
    if not may:
        raise TokenRefused("no_task", "the token lets its machine do nothing here")
    tenants_claim = machines.tenants_claim or oidc.tenants_claim
    return Machine(name=_name(claims, machines.name_claim), may=may, tenants=_tenants(oidc, claims, tenants_claim))


def _tenants(oidc: Oidc, claims: Claims, claim: Claim | None) -> frozenset[str]:
    """Empty: of all. Whoever is to be kept to some, and is of none that is known, is not let in to all."""
    if claim is None:
        return frozenset()
    values = _values(claims, claim)
    if values & set(oidc.every_tenant):
        return frozenset()
    found = frozenset(tenant for tenant, given in oidc.tenants.items() if values & set(given))
    if not found:
        raise TokenRefused("no_tenant", "none of the hospitals that the provider tells is one here")
    return found


def _name(claims: Claims, claim: Claim) -> str:
    """As it stands in histories and documents for good; in small letters, for providers do not tell them apart."""
    told = _at(claims, claim)
    name = f"{PREFIX}{told}".lower()
    if not isinstance(told, str) or not _NAME.fullmatch(told) or len(name) > _LONGEST:
        raise TokenRefused("no_name", f"the claim {'.'.join(claim)} is no name of letters, digits, @, ., _, + and -")
    return name


def _values(claims: Claims, claim: Claim) -> set[str]:
    told = _at(claims, claim)
    each = told if isinstance(told, list) else [told]
    return {value for value in each if isinstance(value, str)}


def _at(claims: Claims, claim: Claim) -> Any:
    found: Any = claims
    for name in claim:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
