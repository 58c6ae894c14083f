"""`vigie tenants list|move`: hospitals that are kept apart, and studies that came to the wrong one."""

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from services.backends.files import FolderStudyFiles
from services.backends.senders import tenants_in_force
from services.cli.database import opened_store
from services.cli.flags import settings_from
from services.cli.tables import print_table
from services.settings import Settings
from services.triage.errors import TransientError
from services.triage.tenant import Tenant, Tenants

app = typer.Typer(help="Hospitals that are kept apart (VIGIE_TENANTS).", no_args_is_help=True)


@app.command("list")
def list_tenants() -> None:
    """List the tenants as the file in force has them, with how many studies each has."""
    settings, tenants = _in_force()
    studies = opened_store(settings).board.studies_by_tenant()
    table = Table("Tenant", "Called", "Calling", "STOW-RS", "Issuer", "Destinations", "Studies")
    for tenant in tenants.tenants:
        table.add_row(*_told(tenant), str(studies.pop(tenant.name, 0)))
    for name, count in sorted(studies.items()):
        table.add_row(name or "(none)", *["not in the file"] * 5, str(count))
    print_table(table)


@app.command()
def move(
    study: Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID.")],
    tenant: Annotated[str, typer.Argument(help="Name of the tenant whose study it is.")],
) -> None:
    """Give a study to another tenant, because it came by the wrong AE title, or is to be theirs.

    All of it is theirs then: images, results, history. What of its results has not gone out is given up, and what went
    out stays where it is. The new tenant gets results of its own once the study is analysed again: POST
    /api/studies/UID/analyse.
    Exit code: 0 it is theirs, 1 it was not moved, 2 wrong usage.
    """
    settings, tenants = _in_force()
    theirs = tenants.named(tenant)
    if theirs is None:
        raise typer.BadParameter(f"there is no tenant '{tenant}'; there are {', '.join(_names(tenants))}")
    try:
        # the store first: it has the last word, and the door is set right by whoever finds it wrong
        known = opened_store(settings).move(study, theirs, actor=getpass.getuser(), now=datetime.now(UTC))
        FolderStudyFiles(settings.data).assign(study, tenant)
    except TransientError as error:
        typer.echo(f"It was not moved, or not wholly: {error}. Move it again.", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{study} is of tenant {tenant}" + ("" if known else "; no instance of it is recorded yet"))


def _in_force() -> tuple[Settings, Tenants]:
    settings = settings_from()
    tenants = tenants_in_force(settings)
    if not tenants:
        raise typer.BadParameter("there are no tenants: VIGIE_TENANTS names no file")
    return settings, tenants


def _told(tenant: Tenant) -> tuple[str, ...]:
    called, calling = (", ".join(sorted(titles)) for titles in (tenant.called_ae_titles, tenant.calling_ae_titles))
    by_dicom = bool(called or calling)
    return (
        tenant.name,
        called or ("any" if by_dicom else ""),
        calling or ("any" if by_dicom else ""),
        "yes" if tenant.stow else "no",
        tenant.issuer_of_patient_id,
        ", ".join(sorted(tenant.destinations)) or "none",
    )


def _names(tenants: Tenants) -> list[str]:
    return [one.name for one in tenants.tenants]
