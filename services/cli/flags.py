"""Flags that several commands share. A flag wins over its VIGIE_... variable."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from services.backends.blind_file import load_blind
from services.backends.oidc.file import load_oidc
from services.backends.pacs import load_pacs
from services.backends.peers_file import load_peers
from services.backends.people_file import load_people
from services.backends.receivers import addressees
from services.backends.senders import requesters, tenants_in_force
from services.exposure import refuse_exposure
from services.settings import Settings
from services.triage.errors import (
    BlindRefused,
    DestinationsRefused,
    ExposureRefused,
    OidcRefused,
    PacsRefused,
    PeersRefused,
    PeopleRefused,
    RequestersRefused,
    TenantsRefused,
)

Data = Annotated[Path | None, typer.Option(help="Folder of everything that is kept.", file_okay=False)]
Http = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The work list, the API, probes and metrics.")]
Dicom = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The DICOM listener.")]
Hl7 = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where HL7 v2 ADT (A08, A40) is taken over MLLP; off without.")
]
AeTitle = Annotated[str | None, typer.Option(help="Our AE title.")]
WithoutSignIn = Annotated[
    bool | None,
    typer.Option("--insecure-http-without-sign-in", help="Serve HTTP beyond this machine though nobody must sign in."),
]
HttpWithoutTls = Annotated[
    bool | None,
    typer.Option("--insecure-http-without-tls", help="Serve HTTP beyond this machine though nothing speaks TLS."),
]
QuietPeriod = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="A study is complete when nothing arrived for so long.")
]
AnyCaller = Annotated[
    bool | None,
    typer.Option("--insecure-dicom-any-caller", help="Whoever reaches the DICOM listener from elsewhere may send."),
]
DicomWithoutTls = Annotated[
    bool | None,
    typer.Option("--insecure-dicom-without-tls", help="The DICOM listener is reached from elsewhere without TLS."),
]
Hl7WithoutTls = Annotated[
    bool | None,
    typer.Option(
        "--insecure-hl7-without-mutual-tls",
        help="The HL7 listener is reached from elsewhere without certificates of both ends.",
    ),
]
SendTo = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DESTINATION",
        help="Where results go: AET@HOST:PORT, https://HOST/PATH (STOW-RS), or a folder; may be given many times.",
    ),
]


def settings_from(
    *,
    data: Path | None = None,
    quiet_period: float | None = None,
    send_to: list[str] | None = None,
    **flags: Any,
) -> Settings:
    """The settings in force with these flags. Raises BadParameter (exit code 2)."""
    flags |= {
        "data": data.resolve() if data else None,
        "quiet_period_s": quiet_period,
        "send_to": tuple(send_to) if send_to else None,
    }
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
        addressees(settings)
        requesters(settings)
        tenants = tenants_in_force(settings)
        load_blind(settings.blind, tenants)
        load_peers(settings)
        if settings.people is not None:
            load_people(settings.people, [one.name for one in tenants.tenants])
        if settings.oidc is not None:
            load_oidc(settings.oidc, [one.name for one in tenants.tenants])
    except ValidationError as error:
        raise typer.BadParameter(told(error)) from error
    except (
        ValueError,
        BlindRefused,
        DestinationsRefused,
        OidcRefused,
        PeersRefused,
        PeopleRefused,
        RequestersRefused,
        TenantsRefused,
    ) as error:
        raise typer.BadParameter(str(error)) from error
    return settings


def told(error: ValidationError) -> str:
    """What is wrong with the settings, by their variables; never what they hold."""
    wrong = []
    for each in error.errors(include_input=False):
        variable = f"VIGIE_{each['loc'][0]}: ".upper() if each["loc"] else ""
        wrong.append(variable + each["msg"].removeprefix("Value error, "))
    return "; ".join(wrong)


def gateway_settings_from(**flags: Any) -> Settings:
    """As `settings_from`, for the commands that ask PACS. Raises BadParameter (exit code 2)."""
    settings = settings_from(**flags)
    try:
        load_pacs(settings)
    except PacsRefused as error:
        raise typer.BadParameter(str(error)) from error
    return settings


def closed(settings: Settings, *, http: bool, dicom: bool) -> None:
    """No listener is left open by accident. Raises BadParameter (exit code 2)."""
    try:
        refuse_exposure(settings, http=http, dicom=dicom)
    except ExposureRefused as error:
        raise typer.BadParameter(error.reason.text) from error
