"""Who may open an association, which tenant's it is, and what it may ask (PS3.8 7.1.1, 9.3.4).

With VIGIE_PEERS a caller proves by address or certificate that it is the peer of its title. Without, AE titles are
claims: they keep apart senders that are set up rightly, and stop no one who means harm.
"""

import hashlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE

from services.backends.peers_file import reread_peers
from services.backends.reread import Reread
from services.backends.senders import routes, tenants_in_force
from services.backends.senders.destinations import DICOM, split_address
from services.gateway.quotas import Places, Rates
from services.gateway.refusals import Refusal, RefusedFor
from services.gateway.scp import LOCAL_LIMIT_EXCEEDED, reject, turn_away
from services.gateway.signals import SIGNALS
from services.logs import where
from services.settings import Settings
from services.triage.peer import Caller, Certificate, NotRecognised, Peer, Peers, PeerTask
from services.triage.tenant import NO_TENANT, NO_TENANTS, Tenants

log = structlog.get_logger(__name__)

# rejected-permanent, by the service user, and why (PS3.8 table 9-21)
_CALLING_AE_TITLE_NOT_RECOGNIZED = (0x01, 0x01, 0x03)
_CALLED_AE_TITLE_NOT_RECOGNIZED = (0x01, 0x01, 0x07)
_VERIFICATION = UID("1.2.840.10008.1.1")
_ALL = frozenset(PeerTask)
_OF_A_REPORTER = _ALL - {PeerTask.STORE}


@dataclass(frozen=True, kw_only=True)
class Admission:
    """By peers where there are any; by tenants where there are any, else by AE titles; none of a kind: any.

    reporters: (called, calling) as destinations call us, to verify and to report on Storage Commitment.
    tell: is told of each caller that is turned away. own_title: by which our own process asks whether the door answers.
    """

    tenants: Tenants = NO_TENANTS
    called_ae_titles: frozenset[str] = frozenset()
    calling_ae_titles: frozenset[str] = frozenset()
    reporters: frozenset[tuple[str, str]] = frozenset()
    peers: Reread[Peers] | None = None
    places: Places
    rates: Rates
    tell: Callable[[Refusal], None]
    own_title: str = ""

    def tenant(self, event: evt.Event) -> str:
        """Whose the instances of an association are."""
        tenant = self.tenants.sender(*_titles(event))
        return tenant.name if tenant else NO_TENANT

    def tasks(self, event: evt.Event) -> frozenset[PeerTask]:
        """What an association may ask by now: a peer that was taken out of the file may ask nothing."""
        called, calling = _titles(event)
        asked_for = _ALL if self._sends(called, calling) else _OF_A_REPORTER
        if self.peers is None:
            return asked_for
        peer = self.peers.in_force().by_title.get(calling)
        return peer.may & asked_for if peer else frozenset()

    def look_again(self) -> None:
        """Read what has changed: in the door's parent, so that each association begins with the newest."""
        if self.peers is not None:
            self.peers.in_force()

    def within_quota(self, event: evt.Event, size_bytes: int) -> bool:
        """Whether an instance of this size may be taken now; it is counted then."""
        peer = self._peer(event)
        if peer is None or self.rates.spend(peer, size_bytes):
            return True
        self.tell(Refusal(reason=RefusedFor.QUOTA, caller=peer.name, address=str(event.assoc.requestor.address)))
        return False

    def admit(self, event: evt.Event) -> None:
        """Reject an association before anything is negotiated, or leave it what it may ask."""
        try:
            self._decide(event)
        except Exception as error:  # noqa: BLE001 - the border: pynetdicom would go on, and let in who was not judged
            log.error("association_not_judged", **where(error))  # noqa: TRY400 - no values
            reject(event, LOCAL_LIMIT_EXCEEDED, "an error that nobody foresaw")

    def _decide(self, event: evt.Event) -> None:
        called, calling = _titles(event)
        reports = (called, calling) in self.reporters
        if not self._is_called(called) and not reports:
            self._refuse(event, RefusedFor.CALLED_TITLE, _CALLED_AE_TITLE_NOT_RECOGNIZED)
            return
        found = self.peers.in_force().recognise(_caller(event)) if self.peers else None
        if isinstance(found, NotRecognised):
            self._refuse(event, RefusedFor(found.value), _CALLING_AE_TITLE_NOT_RECOGNIZED)
        elif not self._sends(called, calling) and not reports:
            self._refuse(event, RefusedFor.CALLING_TITLE, _CALLING_AE_TITLE_NOT_RECOGNIZED)
        elif found and not self.places.take(f"peer {found.name}", found.quota.associations):
            self._refuse(event, RefusedFor.QUOTA, LOCAL_LIMIT_EXCEEDED)
        else:
            _leave(event, self.tasks(event))

    def _refuse(self, event: evt.Event, why: RefusedFor, rejection: tuple[int, int, int]) -> None:
        called, calling = _titles(event)
        if called == calling == self.own_title and _from_this_machine(event):
            turn_away(event, rejection)  # `service_levels.answers`, twice a minute: a refusal is an answer, too
            return
        address = str(event.assoc.requestor.address)
        if reject(event, rejection, _TEXTS[rejection], why=why, peer=address, called=called, calling=calling):
            self.tell(Refusal(reason=why, caller=calling, address=address))

    def _peer(self, event: evt.Event) -> Peer | None:
        return self.peers.in_force().by_title.get(_titles(event)[1]) if self.peers else None

    def _is_called(self, called: str) -> bool:
        if self.tenants:
            return any(one.is_called(called) for one in self.tenants.tenants)
        return not self.called_ae_titles or called in self.called_ae_titles

    def _sends(self, called: str, calling: str) -> bool:
        if self.tenants:
            return self.tenants.sender(called, calling) is not None
        return self._is_called(called) and (not self.calling_ae_titles or calling in self.calling_ae_titles)


_TEXTS = {
    _CALLING_AE_TITLE_NOT_RECOGNIZED: "calling AE title not recognized",
    _CALLED_AE_TITLE_NOT_RECOGNIZED: "called AE title not recognized",
    LOCAL_LIMIT_EXCEEDED: "too many associations of this peer",
}


def admission(settings: Settings, *, places: Places, rates: Rates, tell: Callable[[Refusal], None]) -> Admission:
    """As the settings have it. Raises as `senders.routes`, and PeersRefused."""
    return Admission(
        tenants=tenants_in_force(settings),
        called_ae_titles=frozenset({settings.ae_title.strip()} if settings.check_called_ae_title else ()),
        calling_ae_titles=frozenset(settings.calling_ae_titles),
        reporters=frozenset(
            ((route.calling_ae_title or settings.ae_title).strip(), split_address(route.destination.address)[0])
            for route in routes(settings)
            if route.destination.kind == DICOM
        ),
        peers=reread_peers(settings),
        places=places,
        rates=rates,
        tell=tell,
        own_title=settings.ae_title.strip(),
    )


def _leave(event: evt.Event, tasks: frozenset[PeerTask]) -> None:
    """Offer the services of these tasks only; Storage Commitment is offered apart (`door`)."""
    if PeerTask.STORE not in tasks:
        _config.UNRESTRICTED_STORAGE_SERVICE = False  # of this process, which serves no other association
    withheld: set[UID] = set() if PeerTask.ECHO in tasks else {_VERIFICATION}
    withheld |= set() if PeerTask.SIGNALS in tasks else set(SIGNALS)
    acceptor = event.assoc.acceptor
    acceptor.supported_contexts = [
        context for context in acceptor.supported_contexts if context.abstract_syntax not in withheld
    ]


def _caller(event: evt.Event) -> Caller:
    """Who calls, with all that it has shown."""
    connection = event.assoc.dul.socket and event.assoc.dul.socket.socket
    return Caller(
        title=_titles(event)[1],
        address=str(event.assoc.requestor.address),
        over_tls=isinstance(connection, ssl.SSLSocket),
        certificate=_shown(connection) if isinstance(connection, ssl.SSLSocket) else None,
    )


def _shown(connection: ssl.SSLSocket) -> Certificate | None:
    """What the peer's certificate says; OpenSSL has checked it by our authorities."""
    told: dict[str, Any] | None = connection.getpeercert()
    if not told:
        return None
    names = [value for part in told.get("subject", ()) for key, value in part if key == "commonName"]
    names += [value for _, value in told.get("subjectAltName", ())]
    encoded = connection.getpeercert(binary_form=True) or b""
    return Certificate(names=frozenset(name.lower() for name in names), sha256=hashlib.sha256(encoded).hexdigest())


def _from_this_machine(event: evt.Event) -> bool:
    """Both ends have one address: no other machine's, whatever it claims."""
    connection = cast(socket.socket | None, event.assoc.dul.socket and event.assoc.dul.socket.socket)
    return connection is not None and connection.getsockname()[0] == str(event.assoc.requestor.address)


def _titles(event: evt.Event) -> tuple[str, str]:
    """Called and calling AE title; spaces around one are no part of it (PS3.5 6.2)."""
    request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
    return request.called_ae_title.strip(), request.calling_ae_title.strip()
