"""`vigie standalone`: all parts in one command."""

import typer
from rich.console import Console
from rich.table import Table

from services.backends.receivers import receivers
from services.backends.senders import routes, tenants_in_force
from services.cli.flags import (
    AeTitle,
    AnyCaller,
    Data,
    Dicom,
    DicomWithoutTls,
    Hl7,
    Hl7WithoutTls,
    Http,
    HttpWithoutTls,
    QuietPeriod,
    SendTo,
    WithoutSignIn,
    closed,
    gateway_settings_from,
)
from services.gateway.http_tls import http_tls
from services.gateway.tls import listener_tls
from services.settings import Settings
from services.standalone import run_standalone
from services.supervisor import CannotStart
from services.triage.errors import CertificatesRefused


def standalone(
    data: Data = None,
    http: Http = None,
    dicom: Dicom = None,
    hl7: Hl7 = None,
    ae_title: AeTitle = None,
    quiet_period: QuietPeriod = None,
    send_to: SendTo = None,
    insecure_http_without_sign_in: WithoutSignIn = None,
    insecure_http_without_tls: HttpWithoutTls = None,
    insecure_dicom_any_caller: AnyCaller = None,
    insecure_dicom_without_tls: DicomWithoutTls = None,
    insecure_hl7_without_mutual_tls: Hl7WithoutTls = None,
) -> None:
    """Run everything on this machine: DICOM listener, work list, analysis and delivery.

    A flag wins over its VIGIE_... variable; `vigie settings` lists the variables and what is in force.
    """
    settings = gateway_settings_from(
        data=data,
        http=http,
        dicom=dicom,
        hl7=hl7,
        ae_title=ae_title,
        quiet_period=quiet_period,
        send_to=send_to,
        insecure_http_without_sign_in=insecure_http_without_sign_in,
        insecure_http_without_tls=insecure_http_without_tls,
        insecure_dicom_any_caller=insecure_dicom_any_caller,
        insecure_dicom_without_tls=insecure_dicom_without_tls,
        insecure_hl7_without_mutual_tls=insecure_hl7_without_mutual_tls,
    )
    closed(settings, http=True, dicom=True)
    console = Console(stderr=True)
    try:
        listener_tls(settings)  # said here once, and not by the parts again and again
        http_tls(settings)
        run_standalone(settings, announce=lambda: console.print(_welcome(settings)))
    except (CannotStart, CertificatesRefused) as error:
        console.print(f"vigie standalone: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print("Stopped; nothing is lost.")


def _welcome(settings: Settings) -> Table:
    table = Table(box=None, show_header=False)
    table.add_row("DICOM", f"{settings.ae_title}@{settings.dicom}")
    if settings.dicom_tls:
        table.add_row("DICOM over TLS", f"{settings.ae_title}@{settings.dicom_tls}")
    if settings.hl7 is not None:
        table.add_row("HL7 ADT", settings.hl7)
    table.add_row("Work list", f"{'https' if settings.http_certificate else 'http'}://{settings.http}/")
    table.add_row("Data", str(settings.data))
    if tenants := tenants_in_force(settings).tenants:
        table.add_row("Tenants", ", ".join(one.name for one in tenants) + ": 'vigie tenants list' says who calls what")
    table.add_row("Results go to", _destinations(settings) or "nowhere else: see the work list")
    if told := ", ".join(receiver.destination.name for receiver in receivers(settings)):
        table.add_row("Told of results", told)
    table.add_row("Stop", "Ctrl+C")
    return table


def _destinations(settings: Settings) -> str:
    return ", ".join(route.destination.name for route in routes(settings))
