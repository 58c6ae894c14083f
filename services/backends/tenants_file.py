"""The tenants in force, from the TOML file that VIGIE_TENANTS names; deploy/tenants.toml explains every key.

What could be read in two ways is refused: an association that two tenants claim, a destination that two name or none.
"""

import re
import tomllib
from collections.abc import Collection, Iterable
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.backends.senders.destinations import check_ae_title
from services.triage.errors import TenantsRefused
from services.triage.tenant import NO_TENANT, NO_TENANTS, Tenant, Tenants

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # stands in URLs and in names of files
_EARLIER, _SHARED = "earlier_studies", "shared_destinations"

AeTitle = Annotated[str, AfterValidator(lambda text: check_ae_title(text).strip())]


class _Entry(BaseModel):
    """One tenant's table."""

    model_config = ConfigDict(extra="forbid", strict=True)

    called_ae_titles: list[AeTitle] = []
    calling_ae_titles: list[AeTitle] = []
    issuer_of_patient_id: str = Field("", max_length=64)  # LO
    destinations: list[str]  # no default: where results go is never an oversight
    stow: bool = False

    @model_validator(mode="after")
    def _can_be_reached(self) -> "_Entry":
        if not (self.called_ae_titles or self.calling_ae_titles or self.stow):
            raise ValueError("nothing can reach it: give it called_ae_titles, calling_ae_titles, or stow = true")
        return self

    def tenant(self, name: str) -> Tenant:
        return Tenant(
            name=name,
            called_ae_titles=frozenset(self.called_ae_titles),
            calling_ae_titles=frozenset(self.calling_ae_titles),
            issuer_of_patient_id=self.issuer_of_patient_id.strip(),
            destinations=frozenset(self.destinations),
            stow=self.stow,
        )


def load_tenants(path: Path | None, destinations: Collection[str]) -> Tenants:
    """The tenants of a file, in its order; none without a file. destinations: the names of those in force.

    Raises TenantsRefused: unreadable_tenants (no such file, not TOML), invalid_tenants (the text names file, tenant and
    field).
    """
    if path is None:
        return NO_TENANTS
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TenantsRefused("unreadable_tenants", f"{path}: {error}") from error
    try:
        return _read(content, destinations)
    except ValueError as error:
        raise TenantsRefused("invalid_tenants", f"{path}: {error}") from error


def _read(content: dict[str, Any], destinations: Collection[str]) -> Tenants:
    earlier, shared = content.pop(_EARLIER, NO_TENANT), content.pop(_SHARED, [])
    tenants = tuple(_tenant(name, table) for name, table in content.items())
    if not tenants:
        raise ValueError("there is no tenant in it: begin one with [name]")
    for one, other in combinations(tenants, 2):
        _require_apart(one, other)
    if not isinstance(shared, list):
        raise ValueError(f"{_SHARED} is no list of names")  # noqa: TRY004 - of a file, not of this program
    _require_assigned(tenants, destinations, shared)
    names = [one.name for one in tenants]
    if earlier not in (NO_TENANT, *names):
        raise ValueError(f"{_EARLIER}: there is no tenant '{earlier}'; there are {_listed(names)}")
    return Tenants(tenants=tenants, earlier=earlier)


def _tenant(name: str, table: Any) -> Tenant:
    if not isinstance(table, dict):
        raise ValueError(f"'{name}' is no key of this file, nor a tenant, which begins with [{name}]")  # noqa: TRY004
    if not _NAME.fullmatch(name):
        raise ValueError(f"tenant '{name}': a name has 1 to 32 of a-z, 0-9 and -, and does not begin with -")
    try:
        return _Entry.model_validate(table).tenant(name)
    except ValidationError as error:
        told = "; ".join(_told(detail["loc"], detail["msg"]) for detail in error.errors())
        raise ValueError(f"tenant '{name}': {told}") from error


def _require_apart(one: Tenant, other: Tenant) -> None:
    """No association may be of both: where either names no AE titles of a kind, it takes any."""
    if not all(each.called_ae_titles or each.calling_ae_titles for each in (one, other)):
        return
    called = _common(one.called_ae_titles, other.called_ae_titles)
    calling = _common(one.calling_ae_titles, other.calling_ae_titles)
    if called is not None and calling is not None:
        raise ValueError(
            f"tenants '{one.name}' and '{other.name}': an association that calls {called or 'any AE title'} from "
            f"{calling or 'any AE title'} would be of both: tell them apart by called_ae_titles or calling_ae_titles"
        )


def _common(some: frozenset[str], others: frozenset[str]) -> str | None:
    """What both take, '' for anything; None: nothing."""
    both = some & others if some and others else some | others
    return _listed(both) if both else None if some and others else ""


def _require_assigned(tenants: Iterable[Tenant], destinations: Collection[str], shared: Collection[str]) -> None:
    """Each destination in force is named, by one tenant or as shared; and no other name is."""
    owners: dict[str, list[str]] = {}
    for tenant in tenants:
        for name in tenant.destinations:
            owners.setdefault(name, []).append(tenant.name)
    for name in [*owners, *shared]:
        if name not in destinations:
            raise ValueError(
                f"there is no destination '{name}' in VIGIE_SEND_TO or VIGIE_DESTINATIONS; "
                f"there are {_listed(destinations) or 'none'}"
            )
    for name in destinations:
        named_by = owners.get(name, [])
        if not named_by:
            raise ValueError(f"destination '{name}' gets the results of no tenant: name it in one's destinations")
        if len(named_by) > 1 and name not in shared:
            raise ValueError(
                f"destination '{name}' would get the results of {_listed(named_by)}: where that is meant, name it in "
                f"{_SHARED} at the top of the file"
            )


def _told(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"field '{'.'.join(map(str, place))}': {message}" if place else message


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
