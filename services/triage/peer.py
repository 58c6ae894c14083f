"""Peers: the DICOM AEs that may open an association with us, how each proves who it is, and what it may do."""

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from services.triage.job import OrderPriority

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PeerTask(StrEnum):
    """What a peer may ask of us; the words of the file of peers."""

    ECHO = "echo"
    """Verification (PS3.4 annex A)"""
    STORE = "store"
    """every storage class (PS3.4 annex B)"""
    COMMITMENT = "commitment"
    """ask us for Storage Commitment (PS3.4 annex J), if VIGIE_COMMITMENT has it, too"""
    REPORT = "report"
    """report on the Storage Commitment that we asked it for"""
    SIGNALS = "signals"
    """MPPS and Instance Availability Notification (PS3.4 annexes F and R), with VIGIE_COMPLETION_SIGNALS"""


class NotRecognised(StrEnum):
    """Why a caller is not the peer that it says to be, or none at all."""

    UNKNOWN_TITLE = "unknown_title"
    WRONG_ADDRESS = "wrong_address"
    WRONG_CERTIFICATE = "wrong_certificate"
    NO_TLS = "no_tls"


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What a peer's certificate says, once TLS has found it good.

    names: CN and subject alternative names, in lower case. sha256: of the whole, hexadecimal.
    """

    names: frozenset[str]
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who calls. title: as it is claimed. address: of the network. certificate: the one shown; None: none was."""

    title: str
    address: str
    over_tls: bool = False
    certificate: Certificate | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What a peer may take up at most, at one door. associations: at the same time. None: as much as all."""

    associations: int | None = None
    instances_per_minute: int | None = None
    mb_per_minute: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One AE, by any of its titles. Each proof that it has is asked for; it has one at least.

    addresses: those it may come from; none: any. certificates: names or SHA-256; over TLS it must show a certificate
    with one of them. tls: never on the plain port, where addresses are its only proof. priority: of the orders whose
    images it sends.
    """

    name: str
    titles: frozenset[str]
    addresses: tuple[Network, ...] = ()
    certificates: frozenset[str] = frozenset()
    tls: bool = False
    may: frozenset[PeerTask] = frozenset({PeerTask.ECHO, PeerTask.STORE})
    quota: Quota = field(default_factory=Quota)
    priority: OrderPriority | None = None

    def doubt(self, caller: Caller) -> NotRecognised | None:
        """Why a caller with one of its titles is not it; None: it is."""
        if not caller.over_tls and (self.tls or not self.addresses):
            return NotRecognised.NO_TLS
        if self.addresses and not _within(caller.address, self.addresses):
            return NotRecognised.WRONG_ADDRESS
        if caller.over_tls and self.certificates and not self._shows(caller.certificate):
            return NotRecognised.WRONG_CERTIFICATE
        return None

    def _shows(self, certificate: Certificate | None) -> bool:
        return certificate is not None and bool(self.certificates & {*certificate.names, certificate.sha256})


@dataclass(frozen=True, kw_only=True, slots=True)
class Peers:
    """All peers in force, by title."""

    by_title: Mapping[str, Peer]

    def recognise(self, caller: Caller) -> Peer | NotRecognised:
        """The peer that calls, or why it is none."""
        peer = self.by_title.get(caller.title)
        if peer is None:
            return NotRecognised.UNKNOWN_TITLE
        return peer.doubt(caller) or peer

    def priorities(self) -> dict[str, OrderPriority]:
        """Title -> priority of the orders whose images it sends."""
        return {title: peer.priority for title, peer in self.by_title.items() if peer.priority is not None}


def _within(address: str, networks: Collection[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:  # an IPv4 caller of a listener at [::]
        found = found.ipv4_mapped
    return any(found in network for network in networks)
