"""`vigie audit list|show|export|verify|prune`: the audit trail. Whoever reads it is in it from then on."""

import getpass
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services.backends.audit_message import Source, audit_message
from services.backends.store import SqlStudyStore
from services.backends.store.audit import AuditQuery, event_of
from services.backends.store.audit_check import check, read_anchors
from services.backends.store.audit_feed import SYSLOG
from services.backends.store.audit_pruning import SHORTEST
from services.cli.database import opened_store
from services.cli.tables import print_table
from services.settings import Settings
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind, AuditRecord
from services.triage.audit_types import AuditType, audited
from services.triage.errors import StoreUnavailable

app = typer.Typer(help="The audit trail: who did what (docs/audit.md).", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
Person = Annotated[str, typer.Option(help="Of this person, machine or AE title.")]
Study = Annotated[str, typer.Option(metavar="UID", help="Of this study.")]
Patient = Annotated[str, typer.Option(metavar="ID", help="Of this patient; the trail itself holds no ID.")]
Issuer = Annotated[str, typer.Option(help="Issuer of that patient ID, where images or tenants name one.")]
Kind = Annotated[str, typer.Option("--type", help="Of this type: docs/audit.md lists them.")]
Since = Annotated[datetime | None, typer.Option(formats=_FORMATS, help="From then on (local time).")]
Until = Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Before then (local time).")]


@app.command("list")
def list_(
    person: Person = "",
    study: Study = "",
    patient: Patient = "",
    issuer: Issuer = "",
    type_: Kind = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List records, the newest first.

    Of a patient: also what was done with a study that was theirs at any time.
    Exit code: 0 there are some, 1 there are none or the database does not answer, 2 wrong usage.
    """
    with _answering():
        store = opened_store()
        query = _query(store, person, study, patient, issuer, type_, since, until)
        found = store.audit.find(query, limit=limit)
        _note(store, "list", person=person, study=study, type=type_, patient=query.patient)
    table = Table("Record", "When", "Type", "Who", "From", "Study", "Outcome")
    for record in found:
        event = event_of(record.document)
        who = next(iter(event.actors), AuditActor(name=""))
        when = (event.happened_at or record.recorded_at).astimezone()
        outcome = "" if not event.outcome else f"{event.outcome.value} {event.reason}".strip()
        uid = event.first(AuditObjectKind.STUDY) or ""
        table.add_row(
            str(record.sequence), f"{when:%Y-%m-%d %H:%M:%S}", event.type, who.name, who.address, uid, outcome
        )
    print_table(table)
    if not found:
        raise typer.Exit(1)


@app.command()
def show(record: Annotated[int, typer.Argument(help="Its number, as `vigie audit list` tells it.")]) -> None:
    """Show one record with all that it tells. Exit code: 0 it is shown, 1 it is unknown, 2 wrong usage."""
    with _answering():
        store = opened_store()
        found = store.audit.get(record)
        _note(store, "show", record=str(record))
    if found is None:
        typer.echo(f"there is no record {record}", err=True)
        raise typer.Exit(1)
    typer.echo(json.dumps({**json.loads(found.document), "digest": found.digest}, indent=2, ensure_ascii=False))


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file; - for standard output.")],
    xml: Annotated[bool, typer.Option("--xml", help="DICOM Audit Messages (PS3.15 A.5), one a line.")] = False,
    person: Person = "",
    study: Study = "",
    patient: Patient = "",
    issuer: Issuer = "",
    type_: Kind = "",
    since: Since = None,
    until: Until = None,
) -> None:
    """Write records to a file, the oldest first: JSON with digest, a line each, from which the chain can be verified.

    Exit code: 0 it is written, 1 the database does not answer, 2 wrong usage.
    """
    settings = Settings()
    source = Source(source_id=settings.audit_source, site_id=settings.audit_site)
    with _answering():
        store = opened_store(settings)
        query = _query(store, person, study, patient, issuer, type_, since, until)
        _note(store, "export", person=person, study=study, type=type_, patient=query.patient)
        written = 0
        with sys.stdout if str(output) == "-" else output.open("w", encoding="utf-8") as file:
            for record in store.audit.found(query):
                file.write(_as_xml(record, source) if xml else _as_json(record))
                written += 1
    typer.echo(f"{output}: {written} records", err=True)


@app.command()
def verify(
    since: Since = None,
    anchor: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Anchors, as they were kept.")
    ] = None,
) -> None:
    """Verify that no record was changed, taken out or put in, and with --anchor that none is missing at the end.

    Exit code: 0 the trail is whole, 1 it is broken, or the database does not answer, 2 wrong usage.
    """
    try:
        anchors = read_anchors(anchor.read_text(encoding="utf-8").splitlines()) if anchor else []
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--anchor") from error
    with _answering():
        store = opened_store()
        at_least = max((one.sequence for one in store.audit_feeds.states()), default=0)
        began = since.astimezone() if since else None
        checked = check(store.audit, anchors=anchors, since=began, at_least=at_least)
        _note(store, "verify", records=str(checked.records), breaks=str(len(checked.breaks)))
    for each in checked.breaks:
        typer.echo(f"BROKEN at record {each.sequence}: {each.what}")
    if checked.breaks:
        raise typer.Exit(1)
    span = f"{checked.first} to {checked.last}, head {checked.head}" if checked.records else "none"
    seen = sum(checked.first <= one.sequence <= checked.last for one in anchors)
    against = f"; {seen} of {len(anchors)} anchors lie in it, and agree" if anchors else ""
    typer.echo(f"whole: {checked.records} records ({span}){against}")


@app.command()
def prune(
    before: Annotated[datetime, typer.Option(formats=_FORMATS, help="Take away what is older (local time).")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take away the oldest records; the digest of the last of them stays, and the rest is verified from it.

    None is taken away that is younger than six months, or that a receiver still lacks. Export them first.
    Exit code: 0 it is done, 1 there is nothing to take away, or the database does not answer, 2 wrong usage.
    """
    wanted, now = before.astimezone(), datetime.now(UTC)
    if now - wanted < SHORTEST:
        raise typer.BadParameter(f"records stay for {SHORTEST.days} days", param_hint="--before")
    if not yes:
        typer.confirm("What is taken away is gone. Go on?", abort=True)
    settings = Settings()
    with _answering():
        store = opened_store(settings)
        if settings.audit_syslog is None:
            store.audit_feeds.forget(SYSLOG)  # who is set up no more lacks nothing
        gone = store.prune_audit(before=wanted, actor=getpass.getuser(), now=now)
    if gone is None:
        typer.echo("there is nothing to take away", err=True)
        raise typer.Exit(1)
    typer.echo(f"taken away up to record {gone.sequence}, whose digest was {gone.digest}")


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        typer.echo(f"The database does not answer: {error}.", err=True)
        raise typer.Exit(1) from error


def _query(
    store: SqlStudyStore,
    person: str,
    study: str,
    patient: str,
    issuer: str,
    type_: str,
    since: datetime | None,
    until: datetime | None,
) -> AuditQuery:
    return AuditQuery(
        asked_by=person,
        study_instance_uid=study,
        patient=store.audit.patient(patient, issuer) if patient else "",
        type=type_,
        since=since.astimezone() if since else None,
        until=until.astimezone() if until else None,
    )


def _note(store: SqlStudyStore, command: str, **told: str) -> None:
    """That the trail was read, by whom, and what was looked for: of a patient the digest."""
    asked = {name: value for name, value in told.items() if value}
    what = AuditObject(kind=AuditObjectKind.RECORD, object_id=f"vigie audit {command}", details=asked)
    who = AuditActor(name=getpass.getuser(), address=socket.gethostname())
    store.audit.record(audited(AuditType.TRAIL_READ, who, objects=(what,)), now=datetime.now(UTC))


def _as_json(record: AuditRecord) -> str:
    """The text as it stands in the chain is a string in it: it must not change by a byte."""
    told = {"sequence": record.sequence, "digest": record.digest, "document": record.document}
    return json.dumps(told, ensure_ascii=False) + "\n"


def _as_xml(record: AuditRecord, source: Source) -> str:
    return audit_message(record, source).decode().replace("\n", " ") + "\n"
