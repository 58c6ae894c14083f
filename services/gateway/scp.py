"""A DICOM listener in which each association has a process of its own (PS3.8).

One Python process serves one association well and several badly; and a crash, a leak or a bomb in one association
harms no other. The parent only accepts and forks: it has one thread, so that a fork is clean, and nothing that a peer
does or leaves undone holds it up. So it is the child that shakes hands where TLS is spoken.
"""

import gc
import os
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from socketserver import ForkingMixIn
from types import FrameType
from typing import Any, cast

import structlog
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import AE, _config, evt, sop_class
from pynetdicom.transport import AssociationServer, RequestHandler

from services.gateway.quotas import Places
from services.gateway.refusals import Refusal, RefusalDesk, RefusedFor
from services.gateway.tls import ListenerTls
from services.gateway.upper_layer import make_waiting
from services.logs import where
from services.triage.errors import CertificatesRefused

log = structlog.get_logger(__name__)

# Every storage class, private ones included, in every transfer syntax: one refused context can make a sender give up
# the whole study. All other services are among the AE's supported contexts.
_config.UNRESTRICTED_STORAGE_SERVICE = True
# What it does not know it takes for storage, Modality Worklist and many retired classes among it: it is told of these.
for _uid, (_, _kind, _, _, _keyword) in UID_dictionary.items():
    _is_storage = "Storage" in _keyword and not _keyword.startswith("StorageCommitment")
    if _kind in ("SOP Class", "Meta SOP Class") and _keyword and not _is_storage:
        vars(sop_class).setdefault(_keyword, UID(_uid))
# pynetdicom's own handlers format every PDU
_config.LOG_HANDLER_LEVEL = "none"

_POLL_S = 0.25
_ABORT_S = 3.0
_ARTIM_S = 30.0
_HANDSHAKE_S = 10.0
_TOO_MANY = 16  # connections above the limit that are answered with a rejection; more than these are just closed
LOCAL_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)
"""Rejected-transient, by the presentation provider (PS3.8 table 9-21)."""


class _Handler(RequestHandler):
    """Serves one association to its end."""

    def handle(self) -> None:
        """Run the association in this process; returns when it is over."""
        association = self._create_association()
        make_waiting(association, max_message_bytes=cast(Listener, self.server).max_message_bytes)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        # told to stop: an instance not yet acknowledged is the sender's to send again
        signal.signal(signal.SIGTERM, lambda _number, _frame: association.abort())
        association.start()
        association.join()


class Listener(ForkingMixIn, AssociationServer):
    """Accepts connections and gives each a process; more than `max_associations` at the same time are rejected.

    One address may not have more than half of them, or `_TOO_MANY`, without an association: silence costs it alone.

    tls: a second place to listen at; the limits hold for both together. max_message_bytes: of one message's data set;
    what is longer comes cut off. attend: called several times a second. around: is entered and left by the process of
    an association, around it.
    """

    block_on_close = False

    def __init__(
        self,
        ae: AE,
        address: str,
        *,
        handlers: list[Any],
        max_associations: int,
        max_message_bytes: int,
        places: Places,
        refusals: RefusalDesk,
        attend: Callable[[], None],
        tls: ListenerTls | None = None,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(
            ae, _place(address), ae.ae_title, ae.supported_contexts, evt_handlers=handlers, request_handler=_Handler
        )
        self.max_message_bytes = max_message_bytes
        self._places, self._refusals, self._attend = places, refusals, attend
        self._tls = tls
        self._tls_socket = _listening(tls.address) if tls else None
        self._sockets = [one for one in (cast(socket.socket, self.socket), self._tls_socket) if one]
        for each in self._sockets:
            each.setblocking(False)  # who has gone before we accept must not hold up the others
        self.max_children = max_associations + _TOO_MANY + 1
        self._max_associations = max_associations
        self._around = around
        self._stopping = False
        self.active_children: set[int] = set()

    def serve(self, *, grace_s: float) -> None:
        """Serve until SIGTERM or SIGINT; associations then have `grace_s` to end by themselves."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        gc.freeze()  # a collection in a child would copy every page it shares
        while not self._stopping:
            for ready in select.select(self._sockets, [], [], _POLL_S)[0]:
                self._ready = ready
                self._handle_request_noblock()  # type: ignore[attr-defined]  # socketserver's own, not in its stubs
            self.collect_children()
            self._refusals.attend(self._sockets)
            self._attend()
        self.server_close()
        self._wait(grace_s)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in self.active_children:
                os.kill(child, number)
            self._wait(_ABORT_S)
        self._refusals.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept from whichever socket is ready."""
        return self._ready.accept()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Fork; the parent only remembers the child."""
        self.collect_children()
        if len(self.active_children) >= self._max_associations + _TOO_MANY:
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection; runs in the child."""
        for each in self._sockets:
            each.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it goes to all; the parent decides
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = f"address {client_address[0]}"
        if not self._places.take(waiting, max(_TOO_MANY, self._max_associations // 2)):
            self._refuse_silently(client_address[0])
            return
        self.bind(evt.EVT_ACCEPTED, lambda _event: self._places.give_back(waiting))
        if not select.select([request], [], [], _ARTIM_S)[0] or not request.recv(1, socket.MSG_PEEK):
            return  # a probe that only connects, or a peer that says nothing
        if self._tls and self._ready is self._tls_socket:
            request = _secured(request, self._tls, client_address[0])
            if request is None:
                self._refusals.tell(Refusal(reason=RefusedFor.TLS_HANDSHAKE, caller="", address=client_address[0]))
                return
        request.settimeout(self.ae.network_timeout)
        if len(self.active_children) >= self._max_associations:
            self.bind(evt.EVT_REQUESTED, self._reject)
        with self._around():
            super().finish_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Called by socketserver when an association's process breaks."""
        error = sys.exception()
        log.error("association_broke", **(where(error) if error else {}))

    def server_close(self) -> None:
        """Listen no longer."""
        super().server_close()
        if self._tls_socket:
            self._tls_socket.close()

    def _refuse_silently(self, address: str) -> None:
        log.warning("connection_refused", reason="too many without an association", peer=address)
        self._refusals.tell(Refusal(reason=RefusedFor.TOO_MANY, caller="", address=address))

    def _reject(self, event: evt.Event) -> None:
        if reject(event, LOCAL_LIMIT_EXCEEDED, "too many associations"):
            address = str(event.assoc.requestor.address)
            self._refusals.tell(Refusal(reason=RefusedFor.TOO_MANY, caller="", address=address))

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _wait(self, patience_s: float) -> None:
        """Wait for the associations to end."""
        deadline = time.monotonic() + patience_s
        while self.active_children and time.monotonic() < deadline:
            time.sleep(0.05)
            self.collect_children()


def _secured(request: socket.socket, tls: ListenerTls, peer: str) -> ssl.SSLSocket | None:
    """The connection once both ends have shaken hands; None when they do not, and the log says why."""
    request.settimeout(_HANDSHAKE_S)  # for the handshake as a whole
    try:
        return tls.context().wrap_socket(request, server_side=True)
    except CertificatesRefused as error:
        log.error("tls_unusable", reason=error.reason.text)  # noqa: TRY400 - our own text says it all
    except ssl.SSLError as error:
        log.warning("tls_handshake_failed", peer=peer, reason=getattr(error, "verify_message", None) or error.reason)
    except OSError as error:
        log.warning("tls_handshake_failed", peer=peer, reason=type(error).__name__)
    return None


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listening(address: str) -> socket.socket:
    host, port = _place(address)
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def reject(event: evt.Event, rejection: tuple[int, int, int], reason: str, **told: str) -> bool:
    """Reject an association by result, source and diagnostic of PS3.8 table 9-21. False: it was rejected already."""
    if event.assoc.is_rejected:
        return False
    log.warning("association_rejected", reason=reason, **told)
    turn_away(event, rejection)
    return True


def turn_away(event: evt.Event, rejection: tuple[int, int, int]) -> None:
    """Reject it without a word; nothing where it was rejected already."""
    if not event.assoc.is_rejected:
        event.assoc.acse.send_reject(*rejection)
        event.assoc.kill()
