"""What of a configuration would be open to others by oversight: a listener refuses to start then, unless told by name.

Loopback is nobody else's. Each exposure has a flag, and a setting of the same name, that says: this is meant.
"""

import ipaddress
from dataclasses import dataclass

from services.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """setting: by which it is allowed, without VIGIE_, lower case. text: what is open, and the way out of it."""

    setting: str
    text: str

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return f"--{self.setting.replace('_', '-')}"


def dicom_exposures(settings: Settings) -> list[Exposure]:
    """Of the DICOM listener, those that are not allowed by name."""
    found = []
    reachable = [address for address in settings.dicom_addresses() if not is_loopback(address)]
    named = settings.peers or settings.calling_ae_titles or settings.tenants
    if reachable and not named and not settings.insecure_dicom_any_caller:
        found.append(
            Exposure(
                setting="insecure_dicom_any_caller",
                text=f"the DICOM listener at {reachable[0]} would take images from whoever reaches it: name the "
                "callers in the file of VIGIE_PEERS (deploy/peers.toml)",
            )
        )
    if not is_loopback(settings.dicom) and not settings.insecure_dicom_without_tls:
        found.append(
            Exposure(
                setting="insecure_dicom_without_tls",
                text=f"the DICOM listener at {settings.dicom} would take patient data in the clear: have "
                "VIGIE_DICOM on 127.0.0.1, and VIGIE_DICOM_TLS at the address that senders know",
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
            text=f"the HL7 listener at {settings.hl7} would let whoever reaches it say whose a study is, in the clear: "
            "set VIGIE_HL7_CERTIFICATE, VIGIE_HL7_KEY and VIGIE_HL7_CA",
        )
    ]


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT is reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def told(exposures: list[Exposure]) -> str:
    """For the person who started it."""
    return "\n".join(
        f"Not started: {each.text}. Where that is meant: {each.flag}, or VIGIE_{each.setting.upper()}=true."
        for each in exposures
    )
