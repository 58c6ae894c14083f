"""What the settings would leave open to whoever reaches a listener: nothing listens beyond this machine by accident.

Pure: settings in, a list out. The commands that open listeners refuse to start while the list is not empty. Each
exposure has a flag, and a setting of the same name, that says: this is meant.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from services.settings import Settings
from services.triage.errors import ExposureRefused


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """setting: by which it is allowed, as a field of `Settings`. missing: what is open. remedy: what mends it."""

    setting: str
    missing: str
    remedy: str

    @property
    def way_out(self) -> str:
        """What mends it, and the flag that allows it."""
        flag, variable = f"--{self.setting.replace('_', '-')}", f"VIGIE_{self.setting.upper()}"
        return f"{self.remedy}, or say that you mean it: {flag} ({variable}=true)."

    def __str__(self) -> str:
        return f"{self.missing}. {self.way_out}"


def exposures(settings: Settings, *, http: bool, dicom: bool) -> tuple[Exposure, ...]:
    """All of them. http, dicom: which listeners the command opens; HL7's goes with DICOM's."""
    found = http_exposures(settings) if http else []
    return (*found, *dicom_exposures(settings), *hl7_exposures(settings)) if dicom else tuple(found)


def refuse_exposure(settings: Settings, *, http: bool, dicom: bool) -> None:
    """Raises ExposureRefused, naming each."""
    if found := exposures(settings, http=http, dicom=dicom):
        raise ExposureRefused("exposed", "\n".join(map(str, found)))


def http_exposures(settings: Settings) -> list[Exposure]:
    """Of the HTTP server, those that are not allowed by name."""
    if is_loopback(settings.http):
        return []
    found = []
    if settings.people is None and settings.oidc is None and not settings.insecure_http_without_sign_in:
        found.append(
            Exposure(
                setting="insecure_http_without_sign_in",
                missing=f"Whoever reaches http {settings.http} would see and do everything: nobody has to sign in",
                remedy="Name the people (VIGIE_PEOPLE) or the identity provider (VIGIE_OIDC), listen on 127.0.0.1",
            )
        )
    speaks_tls = settings.https or settings.http_certificate is not None
    if not speaks_tls and not settings.insecure_http_without_tls:
        found.append(
            Exposure(
                setting="insecure_http_without_tls",
                missing=f"Whoever listens on the network would read patients and keys on http {settings.http}: no TLS",
                remedy="Give it a certificate (VIGIE_HTTP_CERTIFICATE, VIGIE_HTTP_KEY), or have a proxy speak TLS and "
                "say so (VIGIE_HTTPS=true), listen on 127.0.0.1",
            )
        )
    return found


def dicom_exposures(settings: Settings) -> list[Exposure]:
    """Of the DICOM listener, those that are not allowed by name."""
    found = []
    reachable = [address for address in settings.dicom_addresses() if not is_loopback(address)]
    named = settings.peers or settings.calling_ae_titles or settings.tenants
    if reachable and not named and not settings.insecure_dicom_any_caller:
        found.append(
            Exposure(
                setting="insecure_dicom_any_caller",
                missing=f"The DICOM listener at {reachable[0]} would take images from whoever reaches it",
                remedy="Name the callers in the file of VIGIE_PEERS (deploy/peers.toml)",
            )
        )
    if not is_loopback(settings.dicom) and not settings.insecure_dicom_without_tls:
        found.append(
            Exposure(
                setting="insecure_dicom_without_tls",
                missing=f"The DICOM listener at {settings.dicom} would take patient data in the clear",
                remedy="Have VIGIE_DICOM on 127.0.0.1, and VIGIE_DICOM_TLS at the address that senders know",
            )
        )
    return found


def hl7_exposures(settings: Settings) -> list[Exposure]:
    """Of the HL7 listener, that which is not allowed by name."""
    mutual = settings.hl7_certificate is not None and settings.hl7_ca is not None
    open_to_others = settings.hl7 is not None and not is_loopback(settings.hl7)
    if not open_to_others or mutual or settings.insecure_hl7_without_mutual_tls:
        return []
    return [
        Exposure(
            setting="insecure_hl7_without_mutual_tls",
            missing=f"The HL7 listener at {settings.hl7} would let whoever reaches it say whose a study is, in the "
            "clear",
            remedy="Set VIGIE_HL7_CERTIFICATE, VIGIE_HL7_KEY and VIGIE_HL7_CA",
        )
    ]


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT, or a host, is reached from this machine alone; a name other than localhost may be anything."""
    host = address.rpartition(":")[0].strip("[]") if re.search(r"(^[^:]*|\]):\d*$", address) else address.strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
