"""The AEs for which we are a Storage Commitment SCP: those of the file that VIGIE_COMMITMENT names.

deploy/commitment.toml explains every key of the file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from services.backends.senders.destinations import check_ae_title, split_address
from services.backends.senders.link import Link
from services.backends.senders.routes import Commitment, Route, routes
from services.backends.senders.toml_file import PeerTable, read_tables, told
from services.settings import Settings
from services.triage.errors import RequestersRefused
from services.triage.result import Destination
from services.triage.tenant import NO_TENANT


@dataclass(frozen=True, kw_only=True, slots=True)
class Requester:
    """An AE that may ask us, and whose archive must have committed an instance before we do.

    tenant: whose the AE is: instances of others are none of its business.
    archive, commitment: that destination, and how it is asked. report_to: AET@HOST:PORT of the requester, reached by
    `link` under `calling_ae_title` (None: that of the settings). look_for_s: so long an instance that we do not hold is
    waited for. decide_within_s: what is undecided after so long is reported as failed. report_within_s: so long the
    report is tried.
    """

    ae_title: str
    tenant: str
    archive: Route
    commitment: Commitment
    report_to: str
    link: Link
    calling_ae_title: str | None
    look_for_s: float
    decide_within_s: float
    report_within_s: float


def requesters(settings: Settings) -> dict[str, Requester]:
    """Every AE that may ask, by its title; none without the setting.

    Raises RequestersRefused: unreadable_commitment (no such file, not TOML), invalid_commitment (the text names file,
    AE title and field); and what `routes` raises.
    """
    path = settings.commitment
    if path is None:
        return {}
    archives = {route.destination.name: route for route in routes(settings)}
    try:
        content = read_tables(path)
    except (OSError, ValueError) as error:
        raise RequestersRefused("unreadable_commitment", f"{path}: {error}") from error
    return {name: _requester(path, name, table, archives) for name, table in content.items()}


def _dicom_address(text: str) -> str:
    split_address(text)
    return text


class _Entry(PeerTable):
    """The table of one AE."""

    archive: str
    tenant: str = NO_TENANT
    report_to: Annotated[str, AfterValidator(_dicom_address)]
    look_for_s: float = Field(60.0, ge=0)
    decide_within_s: float = Field(21600.0, gt=0)
    report_within_s: float = Field(86400.0, gt=0)


def _requester(path: Path, name: str, table: Any, archives: dict[str, Route]) -> Requester:
    if not isinstance(table, dict):
        raise _refused(path, name, f"it is no table: begin it with [{name}]")
    try:
        check_ae_title(name)
        entry = _Entry.model_validate(table)
    except ValidationError as error:
        raise _refused(path, name, told(error)) from error
    except ValueError as error:
        raise _refused(path, name, str(error)) from error
    archive = archives.get(entry.archive)
    if archive is None or archive.commitment is None:
        text = f"field 'archive': '{entry.archive}' is no destination with storage_commitment = true"
        raise _refused(path, name, text)
    return Requester(
        ae_title=name,
        tenant=_tenant(path, name, entry.tenant, archive.destination),
        archive=archive,
        commitment=archive.commitment,
        report_to=entry.report_to,
        link=entry.link(path.parent),
        calling_ae_title=entry.calling_ae_title,
        look_for_s=entry.look_for_s,
        decide_within_s=entry.decide_within_s,
        report_within_s=entry.report_within_s,
    )


def _tenant(path: Path, name: str, said: str, archive: Destination) -> str:
    """That of the archive; where several share it, the one that is said."""
    served = sorted(archive.tenants or ())
    if said in served or not (said or served):
        return said
    if said == NO_TENANT and len(served) == 1:
        return served[0]
    theirs = ", ".join(filter(None, served)) or "none"
    text = f"field 'tenant': say whose this AE is, one of those of its archive: {theirs}"
    raise _refused(path, name, text)


def _refused(path: Path, name: str, wrong: str) -> RequestersRefused:
    return RequestersRefused("invalid_commitment", f"{path}: AE '{name}': {wrong}")
