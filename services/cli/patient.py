"""`vigie patient find|erase`: all that is kept here of one patient, and its erasure (GDPR, article 17)."""

import getpass
import json
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from services.backends.files import FolderStudyFiles
from services.backends.person_name import words
from services.backends.store import SqlStudyStore
from services.backends.store.audit import AuditQuery, event_of
from services.cli.backup import only_one
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.cli.tables import print_table
from services.gateway.erasure import Erasure, Found
from services.settings import Settings
from services.triage.audit import AuditObjectKind
from services.triage.audit_types import AuditType
from services.triage.errors import BackupRefused, ErasureRefused, TransientError
from services.triage.retention import Traces

app = typer.Typer(
    help="All that is kept here of one patient, and its erasure (docs/operations/erasure.md).", no_args_is_help=True
)

PatientId = Annotated[str, typer.Option("--id", metavar="ID", help="PatientID, as the images or HL7 ADT tell it.")]
Issuer = Annotated[
    str | None, typer.Option(metavar="ISSUER", help="Who gave it (IssuerOfPatientID); default: whoever did.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, every UID and digest in it.")]
WAIT_S = 15.0
BEYOND = (
    "Beyond the reach of this command: what PACS, receivers and exports for research have (above), backups made "
    "before, the database's own logs and standbys, and the reports of the observatory that were printed."
)


@app.command()
def find(patient_id: PatientId, issuer: Issuer = None, as_json: AsJson = False) -> None:
    """Show all that is kept of a patient, by every ID that a registry has merged with this one. Nothing is changed.

    It prints identifiers: mind where the output goes. Exit code: 0 there is something, 1 nothing is kept.
    """
    erasure = _erasure(settings_from())
    found = erasure.find(patient_id, issuer)
    _tell(found, _exports(erasure.store, found), as_json=as_json)
    if found.is_nothing:
        raise typer.Exit(1)


@app.command()
def erase(
    patient_id: PatientId,
    reason: Annotated[str, typer.Option(help="Why, for the audit trail, such as a number of the request; no name.")],
    issuer: Issuer = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase all that is kept of a patient: images, results, verdicts, their documents, rows, and what registries told.

    It cannot be taken back. What is being analysed or sent is waited for, and nothing is erased while it lasts. After a
    kill, type it again: it goes on. What was sent to a PACS is only named: that is for the PACS to delete. Of the
    studies the audit trail keeps the UIDs, and nothing else is left.
    Exit code: 0 nothing is left here, 1 something is (it says what), 2 wrong usage.
    """
    settings = settings_from()
    erasure = _erasure(settings)
    found = erasure.find(patient_id, issuer)
    names = erasure.store.erasing.names(found.traces.study_instance_uids)
    if tells_who(reason, names, {patient_id, *(key.patient_id for key in found.keys)}):
        raise typer.BadParameter("--reason tells who the patient is, and it is kept: leave that out")
    _tell(found, _exports(erasure.store, found), as_json=as_json)
    if found.is_nothing:
        return
    if not yes:
        typer.confirm("All of this is deleted for good. Go on?", abort=True)
    try:
        with only_one(erasure.store) as claim:  # no backup is made meanwhile
            gone = replace(erasure, confirm=claim.confirm).erase_found(found, actor=getpass.getuser(), reason=reason)
            scrubbed = erasure.store.erasing.scrub()
    except (BackupRefused, ErasureRefused, TransientError, OSError) as error:
        text = type(error).__name__ if isinstance(error, OSError) else error.reason.text
        typer.echo(f"Not all of it is erased: {text}. Type the same again.", err=True)
        raise typer.Exit(1) from error
    left = erasure.find(patient_id, issuer)
    if not left.is_nothing or not scrubbed:
        typer.echo("Something is left, or is in use at this moment: type the same again.", err=True)
        raise typer.Exit(1)
    counts = f"{len(gone.study_instance_uids)} studies, {len(gone.images)} images, {len(gone.results)} result objects"
    typer.echo(f"erased: {counts}", err=as_json)
    typer.echo(BEYOND, err=True)


def _erasure(settings: Settings) -> Erasure:
    return Erasure(store=opened_store(settings), files=FolderStudyFiles(settings.data), wait_s=WAIT_S)


def tells_who(reason: str, names: frozenset[str], patient_ids: set[str]) -> bool:
    """Whether it has an ID in it, or a word of a name or accession number that is no initial, however it is spelled.

    A word of four letters and more is found at the beginning of others, too: Mueller's.
    """
    told, own = words(reason), {word for name in names for word in words(name) if len(word) > 1}
    return any(each.casefold() in reason.casefold() for each in patient_ids if len(each) > 2) or any(
        one == word or (len(word) > 3 and one.startswith(word)) for one in told for word in own
    )


def _exports(store: SqlStudyStore, found: Found) -> list[tuple[datetime, str]]:
    """When and to which folder something of theirs may have gone for research, by the audit trail, oldest first."""
    whose = [AuditQuery(patient=store.audit.patient(key.patient_id, key.issuer)) for key in found.keys]
    whose += [AuditQuery(study_instance_uid=uid) for uid in found.traces.study_instance_uids]
    begun = {
        (record.recorded_at, event_of(record.document).first(AuditObjectKind.FILE) or "")
        for query in whose
        for record in store.audit.found(replace(query, type=AuditType.RESEARCH_EXPORT_BEGUN))
    }
    return sorted(begun)


def _tell(found: Found, exports: list[tuple[datetime, str]], *, as_json: bool) -> None:
    if as_json:
        for_research = [{"at": at.isoformat(), "folder": folder} for at, folder in exports]
        typer.echo(json.dumps({**_as_json(found), "research_exports": for_research}, indent=2))
        return
    table = Table("What", "How many")
    for name, count in _counts(found).items():
        table.add_row(name, str(count))
    print_table(table)
    for uid in found.traces.study_instance_uids:
        typer.echo(f"study {uid}")
    for destination, address, uids in found.traces.sent:
        told = f"{len(uids)} objects: {', '.join(uids)}" if uids else "messages"
        typer.echo(f"may be at {destination} ({address}): {told}")
    for at, folder in exports:
        typer.echo(f"may be in the export for research of {at.astimezone():%Y-%m-%d %H:%M}, without identity: {folder}")


def _counts(found: Found) -> dict[str, int]:
    traces: Traces = found.traces
    return {
        "IDs of the patient": len(found.keys),
        "IDs in the patient registry (HL7)": found.in_registry,
        "studies": len(traces.study_instance_uids),
        "images and other received instances": len(traces.images),
        "objects of results and of verdicts": len(traces.results),
        **{name: count for name, count in traces.counts.items() if count},
        "instances that were just received": len(found.waiting),
        "refused files in quarantine": len(found.quarantined),
    }


def _as_json(found: Found) -> dict[str, object]:
    return {
        "ids": [{"id": key.patient_id, "issuer": key.issuer} for key in found.keys],
        "studies": found.traces.study_instance_uids,
        "image_digests": found.traces.images,
        "result_sha256": found.traces.results,
        "counts": _counts(found),
        "sent": [
            {"destination": name, "address": address, "sop_instance_uids": uids}
            for name, address, uids in found.traces.sent
        ],
        "quarantined": [path.name for path in found.quarantined],
    }
