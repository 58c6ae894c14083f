"""`vigie models off|switch-off|switch-on|recall`: what must not be believed is taken out of service."""

import getpass
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.backends.senders import tenants_in_force
from services.backends.store import SqlStudyStore
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.gateway.switching import known_models, require_known
from services.triage.errors import SwitchRefused, TransientError
from services.triage.switch import EVERY, Campaign, Kept, ModelScope, Period

Name = Annotated[str, typer.Argument(help="A model's name.")]
Version = Annotated[str, typer.Option(help="This version of it only.", show_default="every")]
Tenant = Annotated[str, typer.Option(help="For this tenant's studies only.", show_default="all")]
Why = Annotated[str, typer.Option("--reason", help="For the history; no patient data.")]
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
Since = Annotated[
    datetime | None, typer.Option("--from", formats=_FORMATS, help="Frozen from (local time); default: the first.")
]
Until = Annotated[datetime | None, typer.Option("--until", formats=_FORMATS, help="Frozen before; default: now.")]
_LOOK_EVERY_S = 1.0


def off() -> None:
    """List what is switched off, and every recall of a period with how far it is."""
    store = opened_store(settings_from())
    table = Table("Model", "Version", "Tenant", "Since", "By", "Why")
    for each in store.switches.off():
        since = f"{each.at.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(each.scope.model_name, each.scope.version, each.scope.tenant, since, each.actor, each.reason)
    Console(width=None if Console().is_terminal else 200).print(table)
    for campaign in store.campaigns.listed():
        typer.echo(f"recall {campaign.campaign_id} of {campaign.scope.model_name}: {_progress(campaign)}")


def switch_off(name: Name, reason: Why, version: Version = EVERY, tenant: Tenant = EVERY) -> None:
    """Switch a model off at once: new studies are not analysed (model_switched_off), and the list and the PACS say so.

    What is in work is finished, kept, and not sent. Its flags move no study up any more.
    Exit code: 0 it is off, 1 the database does not answer, 2 wrong usage.
    """
    store, scope = _known(name, version, tenant)
    try:
        changed = store.switches.switch_off(scope, reason=_why(reason), actor=getpass.getuser(), now=_now())
    except TransientError as error:
        raise _not_done(error) from error
    typer.echo(f"{name} is switched off" if changed else f"{name} was switched off before; nothing changed")


def switch_on(
    name: Name,
    reason: Why,
    kept: Annotated[Kept, typer.Option(help="What becomes of the results that were kept back.")],
    version: Version = EVERY,
    tenant: Tenant = EVERY,
) -> None:
    """Switch on again what was switched off, under the version and tenant that it was switched off under.

    Exit code: 0 it is on, 1 the database does not answer, 2 wrong usage.
    """
    store, scope = _known(name, version, tenant)
    if scope not in [each.scope for each in store.switches.off()]:
        raise typer.BadParameter("nothing is switched off under this name, version and tenant: see vigie models off")
    try:
        campaign = store.switches.switch_on(scope, kept=kept, reason=_why(reason), actor=getpass.getuser(), now=_now())
    except TransientError as error:
        raise _not_done(error) from error
    typer.echo(f"{name} is switched on")
    if campaign is not None:
        typer.echo(f"recall {campaign.campaign_id}: {_progress(campaign)}")


def recall(
    name: Name,
    reason: Why,
    since: Since = None,
    until: Until = None,
    version: Version = EVERY,
    tenant: Tenant = EVERY,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all are recalled.")] = False,
) -> None:
    """Recall every result of a period in which the model looked, each as `vigie results recall` does it.

    A door (`vigie gateway`, `standalone`) does it in the background, and goes on after a restart.
    Exit code: 0 it is done, or asked for; 1 the database does not answer; 2 wrong usage.
    """
    store, scope = _known(name, version, tenant)
    now = _now()
    period = Period(since=since.astimezone() if since else None, until=min(until.astimezone() if until else now, now))
    try:
        count = store.campaigns.count(scope, period)
        if dry_run or not count:
            typer.echo(f"{count} results would be recalled" if dry_run else "there is nothing to recall")
            return
        campaign = store.campaigns.ask(scope, period, reason=_why(reason), actor=getpass.getuser(), now=now)
        typer.echo(f"recall {campaign.campaign_id}: {_progress(campaign)}")
        while wait and campaign.finished_at is None:
            time.sleep(_LOOK_EVERY_S)
            campaign = store.campaigns.get(campaign.campaign_id) or campaign
            typer.echo(f"recall {campaign.campaign_id}: {_progress(campaign)}")
    except TransientError as error:
        raise _not_done(error) from error


def _known(name: str, version: str, tenant: str) -> tuple[SqlStudyStore, ModelScope]:
    settings = settings_from()
    store, scope = opened_store(settings), ModelScope(model_name=name, version=version, tenant=tenant)
    try:
        require_known(scope, known_models(settings, store), [one.name for one in tenants_in_force(settings).tenants])
    except SwitchRefused as refusal:
        raise typer.BadParameter(str(refusal)) from refusal
    return store, scope


def _why(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    return reason.strip()


def _progress(campaign: Campaign) -> str:
    state = "done" if campaign.finished_at else f"{campaign.left} to do"
    return f"{campaign.recalled} recalled, {state}" + (f" ({campaign.trouble})" if campaign.trouble else "")


def _not_done(error: TransientError) -> typer.Exit:
    typer.echo(f"It was not done, or it is not known: {error}. Look with: vigie models off", err=True)
    return typer.Exit(1)


def _now() -> datetime:
    return datetime.now(UTC)
