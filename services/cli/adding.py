"""`vigie models add|describe`: a bundle is brought, and it is said what its classes mean."""

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer

from services.backends.audit_spool import AuditSpool
from services.backends.files import durable
from services.backends.inference.bundle_files import TRIAGE
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.describing import draft, missing
from services.backends.inference.registry import Brought, State, bring
from services.backends.inference.survey import NAME
from services.backends.inference.triage_metadata import wrong_in
from services.settings import Settings
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited
from services.triage.errors import ModelRefused, OutOfResources
from services.triage.organ import NO_TUMOUR_CLASS

log = structlog.get_logger(__name__)
Folder = Annotated[Path | None, typer.Option("--models", help="Folder of bundles (default: VIGIE_MODELS).")]
_WRITTEN = {State.ADDED: AuditType.MODEL_ADDED, State.TRUSTED: AuditType.MODEL_TRUSTED}


def add(
    source: Annotated[Path, typer.Argument(exists=True, help="A bundle: its folder, or a ZIP of it.")],
    trust: Annotated[
        bool, typer.Option("--trust", help="Its code (docs/models.md) was read, and you answer for it; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why it is trusted; stands in its registration.")] = "",
    name: Annotated[str | None, typer.Option("--name", help="Name of the model (default: its folder's).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    folder: Folder = None,
) -> None:
    """Look a MONAI bundle over, and take it into the folder of models as NAME@VERSION.

    What is wrong is told all at once. Adding the same again changes nothing; another bundle under a version that is
    there is refused. A trusted bundle whose code is outside the allow-list runs in Triton only.
    Exit code: 0 it is there, or would be; 1 it is refused; 2 wrong usage.
    """
    if trust and not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    settings, now = Settings(), datetime.now(UTC)
    who = getpass.getuser()
    try:
        brought = bring(
            source,
            folder or settings.models,
            by=who,
            now=now,
            name=name,
            trust=reason.strip() if trust else None,
            dry_run=dry_run,
        )
    except ModelRefused as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(1) from refusal
    if not dry_run:
        _write_down(settings, brought, who, now)
    _tell(brought, dry_run=dry_run, trust=trust)
    raise typer.Exit(1 if brought.state is State.REFUSED else 0)


def _tell(brought: Brought, *, dry_run: bool, trust: bool) -> None:
    told = brought.survey
    for note in told.notes:
        typer.echo(f"note: {note}", err=True)
    if brought.state is State.REFUSED:
        typer.echo(f"{told.name} {told.version} is refused:", err=True)
        for refusal in brought.refusals:
            typer.echo(f"- {refusal}", err=True)
        return
    states = {
        State.ADDED: "would be added" if dry_run else "added",
        State.TRUSTED: "its code would be trusted" if dry_run else "its code is trusted from now on",
        State.THERE: "is there already; nothing changed",
    }
    typer.echo(f"{told.name} {told.version}: {states[brought.state]} ({brought.place})")
    typer.echo(f"licence: {told.licence}; content SHA-256: {told.sha256}")
    if trust:
        typer.echo(f"trusted: {'; '.join(map(str, told.outside)) or 'nothing, it runs no code of its own'}")
    typer.echo(f"What its classes mean: vigie models describe {told.name} --version {told.version}")


def _write_down(settings: Settings, brought: Brought, who: str, now: datetime) -> None:
    type_ = _WRITTEN.get(brought.state)
    if type_ is None:
        return
    told = brought.survey
    details = {"version": told.version, "sha256": told.sha256, "licence": told.licence}
    if told.outside:
        details["outside"] = str(len(told.outside))
    write_down(settings, type_, told.name, details, who=who, now=now)


def write_down(
    settings: Settings, type_: AuditType, name: str, details: dict[str, str], *, who: str, now: datetime
) -> None:
    """What was done with a model, for the audit trail. One that finds no room is logged, and undoes nothing."""
    model = AuditObject(kind=AuditObjectKind.MODEL, object_id=name, details=details)
    try:
        AuditSpool(settings.data).add(audited(type_, AuditActor(name=who), objects=(model,)), now=now)
    except OutOfResources as error:
        log.warning("audit_event_lost", type=type_.value, reason=str(error))


def describe(
    name: Annotated[str, typer.Argument(help="A model's name.")],
    version: Annotated[str, typer.Option(help="Of this version.", show_default="the only one")] = "",
    write: Annotated[bool, typer.Option("--write", help="Write it into the bundle, for you to complete.")] = False,
    folder: Folder = None,
) -> None:
    """Print what a bundle's classes mean to Vigie, drafted from its metadata, and what a person must still decide.

    Until that is decided (no value is null) the model is not used.
    Exit code: 0 nothing is missing or wrong; 1 something is, or the bundle cannot be read or written; 2 there is none.
    """
    try:
        bundle = _bundle(folder or Settings().models, name, version)
        told = draft(bundle)
        text = json.dumps(told, indent=2) + "\n"
        typer.echo(text, nl=False)
        if write:
            _write(text, bundle)
    except (ModelRefused, OutOfResources) as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(1) from refusal
    wrong, lacking = wrong_in(told), missing(told)
    for each in wrong:
        typer.echo(f"wrong: {each}", err=True)
    for key, hint in lacking.items():
        typer.echo(f"to be decided: {key}: {hint}", err=True)
    if (classes := told["classes"]) and {one["kind"] for one in classes.values()}.isdisjoint({"tumour", None}):
        typer.echo(f"note: no class is a tumour: every study is not_analysed [{NO_TUMOUR_CLASS.code}]", err=True)
    raise typer.Exit(1 if wrong or lacking else 0)


def _bundle(models: Path, name: str, version: str) -> Path:
    """The one bundle of that name and version; or what lies in its place, so that it is said what is wrong with it."""
    try:
        any(models.iterdir())
    except OSError as error:
        raise ModelRefused("unreadable", f"{models} cannot be read: {error.strerror}") from error
    folders = Catalogue(models).folders(name)
    found = [each.bundle for each in folders if version in ("", each.version)]
    if not folders and NAME.fullmatch(name) and (models / name).exists():
        return models / name
    if len(found) != 1:
        versions = ", ".join(each.version for each in folders) or "none"
        raise typer.BadParameter(f"there must be one bundle of this name and version; there are: {versions}")
    return found[0]


def _write(text: str, bundle: Path) -> None:
    try:
        durable.replace(text.encode(), bundle / TRIAGE, via=bundle)
    except OSError as error:
        raise ModelRefused("unwritable", f"{TRIAGE} of '{bundle.name}' cannot be written: {error.strerror}") from error
    typer.echo(f"written: {bundle / TRIAGE}", err=True)
