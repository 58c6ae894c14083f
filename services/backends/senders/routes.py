"""The destinations in force: those of VIGIE_SEND_TO, and those of the file that VIGIE_DESTINATIONS names.

deploy/destinations.toml explains every key of the file.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from services.backends.senders.destinations import DICOM, parse_destination
from services.backends.senders.link import PLAIN, Link
from services.backends.senders.toml_file import PeerTable, read_tables, told
from services.backends.tenants_file import load_tenants
from services.settings import Settings
from services.triage.errors import DestinationsRefused
from services.triage.result import ALWAYS, Destination, ObjectKind
from services.triage.tenant import NO_TENANTS, Tenants


@dataclass(frozen=True, kw_only=True, slots=True)
class Commitment:
    """How proof is asked for that a destination keeps what it took (Storage Commitment, PS3.4 annex J).

    wait_s: for the answer on the association of the request. answer_within_s: without an answer for so long it is asked
    again. max_requests: asked so often, a delivery is given up.
    """

    wait_s: float = 2.0
    answer_within_s: float = 3600.0
    max_requests: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A destination and how it is reached. `calling_ae_title`: ours, None for that of the settings."""

    destination: Destination
    calling_ae_title: str | None = None
    link: Link = PLAIN
    commitment: Commitment | None = None


def route_to(address: str) -> Route:
    """The way to a destination of which nothing but its address is said. Raises ValueError."""
    return Route(destination=parse_destination(address))


def routes(settings: Settings) -> tuple[Route, ...]:
    """Every destination in force, each once, with the tenants whose results it gets.

    Raises ValueError (VIGIE_SEND_TO), DestinationsRefused: unreadable_destinations (no such file, not TOML),
    invalid_destinations (the text names file, destination and field), and TenantsRefused.
    """
    tenants = tenants_in_force(settings)
    return tuple(replace(one, destination=serving(one.destination, tenants)) for one in _in_force(settings))


def tenants_in_force(settings: Settings) -> Tenants:
    """The tenants of VIGIE_TENANTS. Raises as `routes`."""
    if settings.tenants is None:
        return NO_TENANTS
    return load_tenants(settings.tenants, [*_names(_in_force(settings)), *_receivers(settings)])


def serving(destination: Destination, tenants: Tenants) -> Destination:
    """A destination, or a receiver, with the tenants that name it."""
    if not tenants:
        return destination
    served = frozenset(one.name for one in tenants.tenants if destination.name in one.destinations)
    return replace(destination, tenants=served)


def _receivers(settings: Settings) -> list[str]:
    """The names of those who are told of results; what is wrong with their file is said where it is read."""
    try:
        return list(read_tables(settings.notifications)) if settings.notifications else []
    except (OSError, ValueError):
        return []


def _names(found: tuple[Route, ...]) -> list[str]:
    return [route.destination.name for route in found]


def _in_force(settings: Settings) -> tuple[Route, ...]:
    plain = tuple(dict.fromkeys(route_to(text) for text in settings.send_to))
    if settings.destinations is None:
        return plain
    chosen = _read(settings.destinations)
    _require_different(settings.destinations, plain, chosen)
    return (*plain, *chosen)


def _object_kind(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


def _address(text: str) -> str:
    parse_destination(text)
    return text


Address = Annotated[str, AfterValidator(_address)]
Kind = Annotated[ObjectKind, BeforeValidator(_object_kind)]


class _Entry(PeerTable):
    """One destination's table."""

    address: Address
    objects: list[Kind] = Field(sorted(ALWAYS), min_length=1)
    verdicts: bool = False
    storage_commitment: bool = False
    commitment_wait_s: float = Field(Commitment().wait_s, ge=0, le=20)
    commitment_answer_within_s: float = Field(Commitment().answer_within_s, gt=0)
    commitment_max_requests: int = Field(Commitment().max_requests, ge=1)

    @field_validator("objects")
    @classmethod
    def _one_form(cls, objects: list[ObjectKind]) -> list[ObjectKind]:
        if ObjectKind.SEG in objects and ObjectKind.LABELMAP in objects:
            raise ValueError("SEG or LABELMAP, not both: they are the same lesions in two forms")
        return objects

    @model_validator(mode="after")
    def _fields_suit_the_address(self) -> "_Entry":
        is_dicom = parse_destination(self.address).kind == DICOM
        if not is_dicom and (odd := sorted(self.model_fields_set - {"address", "objects", "verdicts"})):
            raise ValueError(f"{', '.join(odd)}: only for a destination AET@HOST:PORT")
        return self

    def route(self, name: str, folder: Path) -> Route:
        commitment = Commitment(
            wait_s=self.commitment_wait_s,
            answer_within_s=self.commitment_answer_within_s,
            max_requests=self.commitment_max_requests,
        )
        return Route(
            destination=replace(
                parse_destination(self.address),
                name=name,
                objects=frozenset(self.objects),
                verdicts=self.verdicts,
            ),
            calling_ae_title=self.calling_ae_title,
            link=self.link(folder),
            commitment=commitment if self.storage_commitment else None,
        )


def _read(path: Path) -> tuple[Route, ...]:
    try:
        content = read_tables(path)
    except (OSError, ValueError) as error:
        raise DestinationsRefused("unreadable_destinations", f"{path}: {error}") from error
    return tuple(_route(path, name, table) for name, table in content.items())


def _route(path: Path, name: str, table: Any) -> Route:
    if not isinstance(table, dict):
        raise _refused(path, name, f"it is no table: begin it with [{name}]")
    try:
        named = None if "address" in table else _address_in(name)
        entry = _Entry.model_validate({"address": named, **table} if named else table)
        return entry.route(named or name, path.parent)
    except ValidationError as error:
        raise _refused(path, name, told(error)) from error


def _address_in(name: str) -> str | None:
    """A table named by its address need not repeat it; moved here from VIGIE_SEND_TO, a destination keeps its name."""
    try:
        return parse_destination(name).name
    except ValueError:
        return None


def _require_different(path: Path, plain: tuple[Route, ...], chosen: tuple[Route, ...]) -> None:
    """Each address once, under one name and one set of choices; and each name once."""
    taken = {route.destination.address: "VIGIE_SEND_TO" for route in plain}
    for route in chosen:
        name, address = route.destination.name, route.destination.address
        for what in {name, address}:
            if what in taken:
                raise _refused(path, name, f"field 'address': {what} is in {taken[what]} too")
            taken[what] = f"destination '{name}'"


def _refused(path: Path, name: str, wrong: str) -> DestinationsRefused:
    return DestinationsRefused("invalid_destinations", f"{path}: destination '{name}': {wrong}")
