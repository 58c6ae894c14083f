"""The PACS that are asked, from the file that VIGIE_PACS names; deploy/pacs.toml explains every key."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from services.backends.senders.destinations import DICOM, FOLDER, parse_destination
from services.backends.senders.link import Link
from services.backends.senders.toml_file import PeerTable, read_tables, told
from services.settings import Settings
from services.triage.errors import PacsRefused


class Fetch(StrEnum):
    """How what never came is fetched."""

    NO = "no"
    MOVE = "move"
    GET = "get"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pacs:
    """One PACS. kind: DICOM or DICOMWEB. calling_ae_title: ours towards it; called_ae_title: where C-MOVE sends to.

    sent_by: those whose studies it is asked about; empty: all. reconcile_at: local time. reconcile_days: before today.
    """

    name: str
    kind: str
    address: str
    calling_ae_title: str
    called_ae_title: str
    link: Link
    sent_by: frozenset[str]
    completeness: bool
    reconcile_at: time | None
    reconcile_days: int
    fetch: Fetch
    fetch_at_most: int


def load_pacs(settings: Settings) -> tuple[Pacs, ...]:
    """All PACS, in the file's order; none without a file.

    Raises PacsRefused: unreadable_pacs (no such file, not TOML), invalid_pacs (the text names file, PACS and field).
    """
    path = settings.pacs
    if path is None:
        return ()
    try:
        content = read_tables(path)
    except (OSError, ValueError) as error:
        raise PacsRefused("unreadable_pacs", f"{path}: {error}") from error
    return tuple(_pacs(path, name, table, settings.ae_title) for name, table in content.items())


def pacs_of(senders: Collection[str], among: Sequence[Pacs]) -> Pacs | None:
    """The one that is asked whether a study of these senders is complete: the first that is set up for any of them."""
    return next((one for one in among if one.completeness and (not one.sent_by or one.sent_by & set(senders))), None)


def _address(text: str) -> str:
    if parse_destination(text).kind == FOLDER:
        raise ValueError(f"'{text}' is no PACS: write AET@HOST:PORT, or https://HOST/PATH")
    return text


class _Entry(PeerTable):
    """One PACS's table."""

    address: Annotated[str, AfterValidator(_address)]
    connect_timeout_s: float = Field(5.0, gt=0)
    answer_timeout_s: float = Field(15.0, gt=0)
    sent_by: tuple[str, ...] = ()
    completeness: bool = True
    reconcile_at: time | None = None
    reconcile_days: int = Field(1, ge=1, le=366)
    fetch: Fetch = Fetch.NO
    fetch_at_most: int = Field(20, ge=1)

    @model_validator(mode="after")
    def _fields_suit_the_address(self) -> "_Entry":
        dicom_alone = {"calling_ae_title", "tls", "fetch"} & self.model_fields_set
        if parse_destination(self.address).kind != DICOM and dicom_alone:
            raise ValueError(f"{', '.join(sorted(dicom_alone))}: only for a PACS AET@HOST:PORT")
        return self

    def pacs(self, name: str, folder: Path, ae_title: str) -> Pacs:
        place = parse_destination(self.address)
        return Pacs(
            name=name,
            kind=place.kind,
            address=place.address,
            calling_ae_title=self.calling_ae_title or ae_title,
            called_ae_title=ae_title,
            link=self.link(folder),
            sent_by=frozenset(self.sent_by),
            completeness=self.completeness,
            reconcile_at=self.reconcile_at,
            reconcile_days=self.reconcile_days,
            fetch=self.fetch,
            fetch_at_most=self.fetch_at_most,
        )


def _pacs(path: Path, name: str, table: Any, ae_title: str) -> Pacs:
    if not isinstance(table, dict):
        raise _refused(path, name, f"it is no table: begin it with [{name}]")
    try:
        return _Entry.model_validate(table).pacs(name, path.parent, ae_title)
    except ValidationError as error:
        raise _refused(path, name, told(error)) from error


def _refused(path: Path, name: str, told: str) -> PacsRefused:
    return PacsRefused("invalid_pacs", f"{path}: PACS '{name}': {told}")
