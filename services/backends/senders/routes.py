"""The destinations in force: those of VIGIE_SEND_TO, and those of the file that VIGIE_DESTINATIONS names.

deploy/destinations.toml explains every key of the file.
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from services.backends.senders.destinations import DICOM, check_ae_title, parse_destination
from services.backends.senders.link import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, PLAIN, Link, Tls
from services.settings import Settings
from services.triage.errors import DestinationsRefused
from services.triage.result import ALWAYS, Destination, ObjectKind


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
    """Every destination in force, each once.

    Raises ValueError (VIGIE_SEND_TO), and DestinationsRefused: unreadable_destinations (no such file, not TOML),
    invalid_destinations (the text names file, destination and field).
    """
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
AeTitle = Annotated[str, AfterValidator(check_ae_title)]
Kind = Annotated[ObjectKind, BeforeValidator(_object_kind)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Tls(_Table):
    """The table `tls` of a destination."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    check_server_name: bool = True

    @model_validator(mode="after")
    def _both_or_none(self) -> "_Tls":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key come together")
        return self

    def tls(self, folder: Path) -> Tls:
        """With paths that are relative to the file's folder."""
        ca, certificate, key = (path and folder / path for path in (self.ca, self.certificate, self.key))
        return Tls(ca=ca, certificate=certificate, key=key, check_server_name=self.check_server_name)


class _Entry(_Table):
    """One destination's table."""

    address: Address
    objects: list[Kind] = Field(sorted(ALWAYS), min_length=1)
    calling_ae_title: AeTitle | None = None
    tls: _Tls | None = None
    connect_timeout_s: float = Field(CONNECT_TIMEOUT_S, gt=0)
    answer_timeout_s: float = Field(ANSWER_TIMEOUT_S, gt=0)
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
        if not is_dicom and (odd := sorted(self.model_fields_set - {"address", "objects"})):
            raise ValueError(f"{', '.join(odd)}: only for a destination AET@HOST:PORT")
        return self

    def route(self, name: str, folder: Path) -> Route:
        commitment = Commitment(
            wait_s=self.commitment_wait_s,
            answer_within_s=self.commitment_answer_within_s,
            max_requests=self.commitment_max_requests,
        )
        link = Link(
            tls=self.tls.tls(folder) if self.tls else None,
            connect_timeout_s=self.connect_timeout_s,
            answer_timeout_s=self.answer_timeout_s,
        )
        return Route(
            destination=replace(parse_destination(self.address), name=name, objects=frozenset(self.objects)),
            calling_ae_title=self.calling_ae_title,
            link=link,
            commitment=commitment if self.storage_commitment else None,
        )


def _read(path: Path) -> tuple[Route, ...]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
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
        told = "; ".join(_told(detail["loc"], detail["msg"]) for detail in error.errors())
        raise _refused(path, name, told) from error


def _address_in(name: str) -> str | None:
    """A table named by its address need not repeat it; moved here from VIGIE_SEND_TO, a destination keeps its name."""
    try:
        return parse_destination(name).name
    except ValueError:
        return None


def _told(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"field '{'.'.join(map(str, place))}': {message}" if place else message


def _require_different(path: Path, plain: tuple[Route, ...], chosen: tuple[Route, ...]) -> None:
    """Each address once, under one name and one set of choices; and each name once."""
    taken = {route.destination.address: "VIGIE_SEND_TO" for route in plain}
    for route in chosen:
        name, address = route.destination.name, route.destination.address
        for what in {name, address}:
            if what in taken:
                raise _refused(path, name, f"field 'address': {what} is in {taken[what]} too")
            taken[what] = f"destination '{name}'"


def _refused(path: Path, name: str, told: str) -> DestinationsRefused:
    return DestinationsRefused("invalid_destinations", f"{path}: destination '{name}': {told}")
