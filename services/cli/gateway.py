"""`vigie gateway`: the door, the desk, or both, as a process of its own."""

from typing import Annotated

import typer

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
    WithoutSignIn,
    closed,
    gateway_settings_from,
)
from services.gateway.http_tls import http_tls
from services.gateway.role import Role
from services.gateway.tls import listener_tls
from services.logs import configure_logging
from services.parts import GATEWAY, addresses, in_service
from services.supervisor import CannotStart, supervise
from services.triage.errors import CertificatesRefused


def gateway(
    role: Annotated[
        Role,
        typer.Option(
            envvar="VIGIE_ROLE",
            help="door: C-STORE, STOW-RS, HL7, the dispatcher and what asks PACS; desk: API, work list and the rest of "
            "DICOMweb; all: both.",
        ),
    ] = Role.ALL,
    data: Data = None,
    http: Http = None,
    dicom: Dicom = None,
    hl7: Hl7 = None,
    ae_title: AeTitle = None,
    quiet_period: QuietPeriod = None,
    insecure_http_without_sign_in: WithoutSignIn = None,
    insecure_http_without_tls: HttpWithoutTls = None,
    insecure_dicom_any_caller: AnyCaller = None,
    insecure_dicom_without_tls: DicomWithoutTls = None,
    insecure_hl7_without_mutual_tls: Hl7WithoutTls = None,
) -> None:
    """Run the gateway alone; any number may run side by side on one database and one data folder.

    It starts whether or not database and broker are there: the door keeps what comes, the rest waits, and /readyz says
    what is missing. `vigie settings` lists the VIGIE_... variables.
    """
    settings = gateway_settings_from(
        data=data,
        http=http,
        dicom=dicom,
        hl7=hl7,
        ae_title=ae_title,
        quiet_period=quiet_period,
        insecure_http_without_sign_in=insecure_http_without_sign_in,
        insecure_http_without_tls=insecure_http_without_tls,
        insecure_dicom_any_caller=insecure_dicom_any_caller,
        insecure_dicom_without_tls=insecure_dicom_without_tls,
        insecure_hl7_without_mutual_tls=insecure_hl7_without_mutual_tls,
    )
    closed(settings, http=True, dicom=role.is_door)
    configure_logging(settings.log_level)
    parts = in_service(GATEWAY[role], settings)
    try:
        if role.is_door:
            listener_tls(settings)  # said here once, and not by the door again and again
        http_tls(settings)
        supervise(parts, settings, listens_on=addresses(parts, settings))
    except (CannotStart, CertificatesRefused) as error:
        typer.secho(f"vigie gateway: {error}", err=True, fg="red")
        raise typer.Exit(1) from error
