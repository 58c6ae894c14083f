"""`vigie models rollout|canary|shadow|promote|rollback|load|unload`: which version of a model looks at what."""

import getpass
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.backends.inference.catalogue import Catalogue
from services.backends.store import SqlStudyStore
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.triage.errors import ModelRefused, RolloutRefused, TransientError
from services.triage.model import Model
from services.triage.rollout import Canary, Rollout

Name = Annotated[str, typer.Argument(help="A model's name.")]
Version = Annotated[str, typer.Argument(help="A version of it, as 'vigie models rollout' lists them.")]
Ends = Annotated[bool, typer.Option("--end", help="End it instead.")]
Why = Annotated[str, typer.Option("--reason", help="For the history; no patient data.")]


@dataclass(frozen=True, kw_only=True)
class _Site:
    """Where a decision is made: the folder of models, the store, and Triton's HOST:PORT where there is one."""

    name: str
    catalogue: Catalogue
    store: SqlStudyStore
    triton: str | None

    def model(self, version: str | None = None) -> Model:
        """Of that version, or the standing one. Raises BadParameter."""
        try:
            return self.catalogue.get(self.name, version)
        except ModelRefused as refusal:
            raise typer.BadParameter(str(refusal)) from refusal

    @property
    def standing(self) -> str:
        """The version that stands while nothing is decided."""
        return self.model().identity.version


def show(name: Annotated[str | None, typer.Argument(help="A model's name; without, all.")] = None) -> None:
    """List the versions of a model and the part that each has; and who decided on it, when and why.

    Exit code: 0, 1 the database does not answer, or one of all models cannot be read; 2 there is no such model.
    """
    settings = settings_from()
    catalogue, store = Catalogue(settings.models), opened_store(settings)
    names = [name] if name else list(catalogue.names())
    table = Table("Model", "Version", "Part")
    unreadable = False
    history = Table("When", "Model", "Step", "By", "Why")
    try:
        for each in names:
            site = _Site(name=each, catalogue=catalogue, store=store, triton=None)
            try:
                standing = site.standing
            except typer.BadParameter as refusal:
                if name:
                    raise
                typer.echo(f"{each}: {refusal}", err=True)
                unreadable = True
                continue
            rollout = store.rollouts.of(each)
            for version in catalogue.versions(each):
                table.add_row(each, version, _part(version, rollout, standing))
            for one in store.rollouts.history(each):
                when = f"{one.at.astimezone():%Y-%m-%d %H:%M}"
                history.add_row(when, each, one.step.value, one.actor, one.reason)
    except TransientError as error:
        raise _not_done(error) from error
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    if history.row_count:
        console.print(history)
    if unreadable:
        raise typer.Exit(1)


def promote(name: Name, version: Version, reason: Why) -> None:
    """Make a version the active one: it looks at all that is queued and all that comes. A canary ends with it.

    The version must be in the models folder; Triton, where it is asked, has it loaded and warm first, and unloads
    afterwards what no part needs and no analysis uses. An analysis in work ends with the version it began with.
    Exit code: 0 it is active, 1 database or Triton does not answer, 2 wrong usage, or the version cannot be used.
    """
    site = _site(name)
    _load(site, site.model(version))
    _decide(site, lambda given: site.store.rollouts.promote(name, version, **given), reason)


def canary(
    name: Name,
    reason: Why,
    version: Annotated[str, typer.Argument(help="A version of it; none with --end.")] = "",
    share: Annotated[float, typer.Option(help="Share of the studies, more than 0 and less than 1.")] = 0.1,
    end: Ends = False,
) -> None:
    """Let a version look at a share of the studies in place of the active one; its results are sent as all are.

    Which studies is a matter of their UID: a study always gets the same answer, and a larger share only adds studies.
    Exit code: as of promote.
    """
    site = _site(name)
    _require_one(version, end)
    if end:
        _decide(site, lambda given: site.store.rollouts.canary(name, None, **given), reason)
        return
    try:
        wanted = Canary(version=version, share=share)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--share") from error
    _load(site, site.model(version))
    _decide(site, lambda given: site.store.rollouts.canary(name, wanted, **given), reason)


def shadow(
    name: Name,
    reason: Why,
    version: Annotated[str, typer.Argument(help="A version of it; none with --end.")] = "",
    end: Ends = False,
) -> None:
    """Let a version look at every study that is answered from now on; what it says is compared, kept and never sent.

    Workers do it while no job is due. The observatory's page of versions shows how the two compare.
    Exit code: as of promote.
    """
    site = _site(name)
    _require_one(version, end)
    if not end:
        _load(site, site.model(version))
    _decide(site, lambda given: site.store.rollouts.shadow(name, None if end else version, **given), reason)


def rollback(name: Name, reason: Why) -> None:
    """Take back the newest change of who answers: the canary where there is one, else the last promotion.

    What is queued goes by it at once; to go back further, say it again. Results that were sent stay: recall them by
    'vigie models recall'.
    Exit code: as of promote; 2 also where there is nothing to take back.
    """
    site = _site(name)
    try:
        wanted = site.store.rollouts.planned_back(name, standing=site.standing)
    except RolloutRefused as refusal:
        raise typer.BadParameter(str(refusal)) from refusal
    except TransientError as error:
        raise _not_done(error) from error
    _load(site, site.model(wanted.active))
    _decide(site, lambda given: site.store.rollouts.roll_back(name, **given), reason)


def load(name: Name, version: Version) -> None:
    """Have Triton load a version, and wait until it is warm.

    Exit code: 0 it is ready, 1 Triton does not answer, 2 wrong usage, or the version cannot be loaded.
    """
    site = _with_triton(name)
    _load(site, site.model(version))
    typer.echo(f"{name} {version} is loaded")


def unload(name: Name, version: Version) -> None:
    """Have Triton unload a version; a worker that needs it has it loaded again.

    Exit code: 0 it is not loaded, 1 Triton does not answer, 2 wrong usage, or the version has a part or is in use.
    """
    site = _with_triton(name)
    site.model(version)
    try:
        if version in _used(site):
            raise typer.BadParameter(f"version {version} has a part, or an analysis uses it: see vigie models rollout")
        _unload(site, [version])
    except TransientError as error:
        raise _not_done(error) from error
    typer.echo(f"{name} {version} is not loaded")


def _site(name: str) -> _Site:
    settings = settings_from()
    return _Site(name=name, catalogue=Catalogue(settings.models), store=opened_store(settings), triton=settings.triton)


def _with_triton(name: str) -> _Site:
    site = _site(name)
    if site.triton is None:
        raise typer.BadParameter("models run in the workers' own processes here: set VIGIE_TRITON where Triton serves")
    return site


def _decide(site: _Site, decide: Callable[..., Rollout], reason: str) -> None:
    standing = site.standing
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    given = {
        "standing": standing,
        "actor": getpass.getuser(),
        "reason": reason.strip(),
        "now": datetime.now(UTC),
    }
    try:
        rollout = decide(given)
    except RolloutRefused as refusal:
        raise typer.BadParameter(str(refusal)) from refusal
    except TransientError as error:
        raise _not_done(error) from error
    for version in site.catalogue.versions(site.name):
        if part := _part(version, rollout, standing):
            typer.echo(f"{site.name} {version}: {part}")
    _tidy(site)


def _tidy(site: _Site) -> None:
    """Unload what nobody needs. That it cannot be done now undoes no decision."""
    try:
        used = _used(site)
        for bundle in _unload(site, [one for one in site.catalogue.versions(site.name) if one not in used]):
            typer.echo(f"{bundle.name} is unloaded")
    except TransientError as error:
        typer.echo(f"What is needed no more is still loaded: {error}. See vigie models unload.", err=True)


def _used(site: _Site) -> frozenset[str]:
    """Versions that have a part, or that an analysis in work began with."""
    standing = site.standing
    in_work = {version or standing for version in site.store.rollouts.in_work(site.name)}
    return site.store.rollouts.of(site.name).needed(standing) | in_work


def _load(site: _Site, model: Model) -> None:
    if site.triton is None:
        return
    from services.backends.inference.loading import load_version

    try:
        load_version(site.triton, site.catalogue, model)
    except ModelRefused as refusal:
        raise typer.BadParameter(str(refusal)) from refusal
    except TransientError as error:
        raise _not_done(error) from error


def _unload(site: _Site, versions: Iterable[str]) -> list[Path]:
    if site.triton is None:
        return []
    from services.backends.inference.loading import unload_versions

    return unload_versions(site.triton, [site.catalogue.bundle(site.name, version) for version in versions])


def _part(version: str, rollout: Rollout, standing: str) -> str:
    parts = []
    if version == (rollout.active or standing):
        parts.append("active")
    if rollout.canary is not None and version == rollout.canary.version:
        parts.append(f"canary, {rollout.canary.share:.3g} of studies")
    if version == rollout.shadow:
        parts.append("shadow")
    return "; ".join(parts)


def _require_one(version: str, end: bool) -> None:
    if bool(version) == end:
        raise typer.BadParameter("name a version, or say --end")


def _not_done(error: TransientError) -> typer.Exit:
    typer.echo(f"It was not done, or it is not known: {error}. Look with: vigie models rollout", err=True)
    return typer.Exit(1)
