"""`vigie models remove`: a version that nobody is served with goes from the folder of models."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.backends.inference.catalogue import Catalogue, Folder
from services.backends.inference.registration import content_sha256
from services.backends.inference.staging import remove as take_out
from services.backends.routing_file import load_rules
from services.backends.store import SqlStudyStore
from services.cli.adding import write_down
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.settings import Settings
from services.triage.audit_types import AuditType
from services.triage.errors import ModelRefused, RulesRefused, TransientError


def remove(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model; its version where it has several.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--models", help="Folder of bundles (default: VIGIE_MODELS).", show_default=False)
    ] = None,
) -> None:
    """Remove a version of a model from the folder of models, where nobody is served with it.

    Refused while it is active, canary or shadow ('vigie models rollout'), or an analysis uses it. The last version of
    a model goes once no routing rule names the model and no job of it waits. Results stay as they are: they name model,
    version and digest. Triton, where it is asked, unloads it first; its repository keeps its copy. Who removed what
    stands in the audit trail.
    Exit code: 0 it is removed, or would be; 1 it is refused, or database, Triton or disk do not do it; 2 there is no
    such bundle.
    """
    settings = settings_from()
    catalogue = Catalogue(folder or settings.models)
    name, _, version = model.partition("@")
    found = _one(catalogue, name, version)
    try:
        if (obstacle := _obstacle(settings, opened_store(settings), catalogue, name, found)) is not None:
            raise _not_done(f"{name} {found.version} is not removed: {obstacle}")
        digest = content_sha256(found.bundle)
        if not dry_run:
            _unload(settings, found.bundle)
            left = take_out(found.bundle)
    except (TransientError, OSError) as error:
        raise _not_done(f"{found.bundle.name} is not removed: {error}") from error
    if not dry_run:
        details = {"version": found.version, "sha256": digest}
        write_down(settings, AuditType.MODEL_REMOVED, name, details, who=getpass.getuser(), now=datetime.now(UTC))
        if left is not None:
            raise _not_done(f"{found.bundle.name} is no model any more, and not all of its files are gone: {left}")
    typer.echo(f"{name} {found.version}: {'would be removed' if dry_run else 'removed'} ({found.bundle})")
    typer.echo(f"content SHA-256: {digest}; results of it stay")
    if settings.triton is not None:
        typer.echo(f"The folder {found.bundle.name} of Triton's repository stays: remove it there by hand")


def _one(catalogue: Catalogue, name: str, version: str) -> Folder:
    """Raises BadParameter."""
    folders = catalogue.folders(name)
    found = [each for each in folders if version in ("", each.version)]
    if len(found) != 1:
        versions = ", ".join(each.version for each in folders) or "none"
        raise typer.BadParameter(f"there must be one bundle of this name and version; there are: {versions}")
    return found[0]


def _obstacle(settings: Settings, store: SqlStudyStore, catalogue: Catalogue, name: str, found: Folder) -> str | None:
    """Why it must stay; None: nothing stands in the way. Raises StoreUnavailable."""
    rollout, in_work = store.rollouts.of(name), store.rollouts.in_work(name)
    needed = rollout.needed("")  # but for the standing version
    versions = {each.version for each in catalogue.folders(name)}
    # one that says no version may be any that is needed and not found
    may_be = {found.version} if found.version else (needed | in_work) - versions - {None}
    stands = False
    if found.bundle not in catalogue.undescribed() and (rollout.active is None or None in in_work):
        try:
            stands = catalogue.bundle(name) == found.bundle
        except ModelRefused as refusal:
            return str(refusal)
    if may_be & in_work or (stands and None in in_work):
        return "an analysis uses it"
    is_active = rollout.active in may_be or (stands and rollout.active is None)
    if is_active and len(versions) == 1:
        return _still_asked_for(settings, store, name)
    if is_active or may_be & needed:
        return "it has a part: see vigie models rollout"
    return None


def _still_asked_for(settings: Settings, store: SqlStudyStore, name: str) -> str | None:
    """Who asks for the last version of a model."""
    try:
        rules = [rule.name for rule in load_rules(settings.routing) if rule.model_name == name]
    except RulesRefused as refusal:
        return f"it cannot be told whether a rule names it: {refusal}"
    if rules:
        return f"it is the last version, and the routing rule '{rules[0]}' names the model"
    return "jobs of the model wait, or are in work" if store.rollouts.is_awaited(name) else None


def _unload(settings: Settings, bundle: Path) -> None:
    if settings.triton is not None:
        from services.backends.inference.loading import unload_versions

        unload_versions(settings.triton, [bundle])


def _not_done(text: str) -> typer.Exit:
    typer.echo(text, err=True)
    return typer.Exit(1)
