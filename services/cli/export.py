"""`vigie export research`: studies with results and verdicts, without identity."""

import getpass
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.backends.files import FolderStudyFiles
from services.backends.store import SqlStudyStore
from services.backends.store.archive import StoredInstance
from services.backends.store.research import Wanted
from services.cli.database import opened_store
from services.research.export import Allowed
from services.research.manifest import write_manifest
from services.research.pseudonyms import KeyRefused, fingerprint, load_key, make_key
from services.research.recipe import Option, Recipe
from services.research.study import exported_study
from services.settings import Settings
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind, AuditOutcome
from services.triage.audit_types import AuditType, audited
from services.triage.errors import StoreUnavailable

app = typer.Typer(help="Studies for others, without identity (docs/research.md).", no_args_is_help=True)

KeyFile = Annotated[
    Path,
    typer.Option(
        envvar="VIGIE_RESEARCH_KEY",
        help="File of the key of all pseudonyms ('vigie export key'); keep it, apart from what is exported.",
    ),
]


@app.command()
def key(path: Annotated[Path, typer.Argument(metavar="FILE", help="It must not be there yet.")]) -> None:
    """Make the key of all pseudonyms, for its owner's eyes alone.

    The same key gives the same patient the same pseudonym in every export. Whoever has it and the hospital's data finds
    the patients again; without it nobody does. Exit code: 0 it is written, 1 it is not.
    """
    try:
        make_key(path)
    except KeyRefused as refusal:
        typer.secho(str(refusal), err=True, fg="red")
        raise typer.Exit(1) from refusal
    typer.echo(f"{path} is written. Keep it, and keep it apart from what is exported.")


@app.command()
def research(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; it must be empty, or not there yet.")],
    key_file: KeyFile,
    study: Annotated[list[str] | None, typer.Option(metavar="UID", help="This study; may be given again.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Results of this day (UTC) on.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Results before this day (UTC).")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Results of this model; may be given again.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Studies of this hospital (VIGIE_TENANTS).")] = None,
    with_verdicts: Annotated[bool, typer.Option("--with-verdicts", help="Only studies that readers answered.")] = False,
    option: Annotated[list[Option] | None, typer.Option(help="Keep more (PS3.15 E.3); may be given again.")] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="Also series of this modality, whose machines write names into the pixels (US, XA, SC ...)."),
    ] = None,
    burned_in: Annotated[
        bool,
        typer.Option("--burned-in", help="Also where text is or may be burned in, but not for --modality: look first."),
    ] = False,
    no_faces: Annotated[
        bool, typer.Option("--no-faces", help="Leave out series of which a face could be made.")
    ] = False,
) -> None:
    """Export studies with their results and readers' answers, without identity (PS3.15 annex E).

    The Basic Application Level Confidentiality Profile with clean structured content and graphics; --option keeps more.
    Pixels are not changed: manifest.json tells what they may show. The audit trail has who took which studies.
    Exit code: 0 all that may leave is written, 1 it is not (files unreadable, a study not there), 2 wrong usage.
    """
    try:
        secret = load_key(key_file)
    except KeyRefused as refusal:
        raise typer.BadParameter(str(refusal), param_hint="--key-file") from refusal
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise typer.BadParameter(f"{output} is there, and not empty", param_hint="--output")
    settings = Settings()
    store = opened_store(settings)
    recipe = Recipe(options=frozenset(option or ()))
    wanted = Wanted(
        study_instance_uids=tuple(study or ()),
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        model_names=tuple(model or ()),
        tenant=tenant,
        with_verdicts=with_verdicts,
    )
    allowed = Allowed(
        modalities=frozenset(one.upper() for one in modality or ()), burned_in=burned_in, faces=not no_faces
    )
    try:
        uids = store.research.studies(wanted)
        _audit(store, AuditType.RESEARCH_EXPORT_BEGUN, uids, output, {"options": " ".join(sorted(recipe.options))})
        text, unreadable = _export(store, settings, uids, output, secret, recipe, allowed)
    except StoreUnavailable as error:
        typer.echo(f"The database does not answer: {error}.", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        _audit(
            store, AuditType.RESEARCH_EXPORT, uids, output, {}, failed=error.strerror or "the output cannot be written"
        )
        typer.secho(f"{output}: {error.strerror}", err=True, fg="red")
        raise typer.Exit(1) from error
    typer.echo(text)
    missing = sorted(set(wanted.study_instance_uids) - set(uids))
    for uid in missing:
        typer.secho(f"{uid}: no such study with a result that may be seen", err=True, fg="red")
    if unreadable:
        typer.secho(f"{unreadable} files cannot be read, and are not in the export", err=True, fg="red")
    if missing or unreadable:
        raise typer.Exit(1)


def _export(
    store: SqlStudyStore,
    settings: Settings,
    uids: list[str],
    output: Path,
    secret: bytes,
    recipe: Recipe,
    allowed: Allowed,
) -> tuple[str, int]:
    """Write all of it; answers what to tell, and how many files cannot be read."""
    files = FolderStudyFiles(settings.data)

    def path_of(one: StoredInstance) -> Path:
        return files.result_path(one.digest) if one.is_result else files.path(one.digest)

    output.mkdir(parents=True, exist_ok=True)
    studies = [exported_study(store, uid, output, secret, recipe, allowed, path_of) for uid in uids]
    manifest = write_manifest(output, studies, recipe=recipe, key_fingerprint=fingerprint(secret))
    instances = sum(each.instances for one in studies for each in one.series)
    left_out = sum(each.left_out is not None for one in studies for each in one.series)
    unreadable = sum(each.unreadable for one in studies for each in one.series)
    sha256 = hashlib.sha256(manifest.read_bytes()).hexdigest()
    _audit(store, AuditType.RESEARCH_EXPORT, uids, output, {"instances": str(instances), "manifest_sha256": sha256})
    text = (
        f"{output}: {len(studies)} studies, {instances} instances; {left_out} series left out, {unreadable} files "
        f"unreadable ({manifest.name} says which and why)"
    )
    return text, unreadable


def _audit(
    store: SqlStudyStore, what: AuditType, uids: list[str], output: Path, details: dict[str, str], *, failed: str = ""
) -> None:
    """Before anything is written, and when it is: one event for each study, by which each patient finds it.

    A message about an export may tell of several patients (PS3.15 A.5.3.4), and then names them to each other.
    """
    folder = AuditObject(
        kind=AuditObjectKind.FILE, object_id=str(output), details={**details, "studies": str(len(uids))}
    )
    about: list[tuple[AuditObject, ...]] = [
        (folder, AuditObject(kind=AuditObjectKind.STUDY, object_id=uid)) for uid in uids
    ]
    events = [
        audited(
            what,
            AuditActor(name=getpass.getuser()),
            objects=objects,
            outcome=AuditOutcome.SERIOUS_FAILURE if failed else AuditOutcome.SUCCESS,
            reason=failed,
        )
        for objects in about or [(folder,)]
    ]
    store.audit.record_all(events, now=datetime.now(UTC))
