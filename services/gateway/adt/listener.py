"""The MLLP listener: messages of each connection in their order, one at a time over all connections."""

import asyncio
import signal
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import structlog
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from services.backends.files import FolderStudyFiles
from services.backends.store import open_store
from services.gateway.adt.frames import MAX_MESSAGE_BYTES, MessageTooLong, next_message
from services.gateway.adt.intake import AdtIntake
from services.gateway.adt.message import CHARACTER_SETS
from services.gateway.tls import server_context
from services.logs import where
from services.patience import wait_for
from services.settings import Settings
from services.triage.errors import CertificatesRefused, ListenerRefused

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 64
_GRACE_S = 10.0
_KEEP_ALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 20, socket.TCP_KEEPCNT: 3}


def run_adt(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; blocks. Until the database is there for the first time, nobody is listened to.

    Raises ListenerRefused, CertificatesRefused.
    """
    context = _tls(settings)
    character_set, issuer = settings.hl7_character_set.upper(), settings.hl7_assigning_authority
    if character_set not in CHARACTER_SETS:
        text = f"VIGIE_HL7_CHARACTER_SET is none of {', '.join(sorted(CHARACTER_SETS))}"
        raise ListenerRefused("character_set", text)
    store = wait_for("database", lambda: open_store(settings.store_url(), default_issuer=issuer))
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    intake = AdtIntake(
        store=store,
        files=files,
        default_character_set=character_set,
        default_issuer=issuer,
        identifier_types=frozenset(settings.hl7_identifier_types),
    )
    asyncio.run(_Listener(intake).serve(settings.hl7 or "", context))
    store.close()


class _Listener:
    def __init__(self, intake: AdtIntake) -> None:
        self._intake = intake
        self._thread = ThreadPoolExecutor(1)  # the database is waited for there
        self._idle: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    async def serve(self, address: str, context: ssl.SSLContext | None) -> None:
        """Until a signal; messages in hand are answered."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_broken)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        host, _, port = address.rpartition(":")
        server = await start_hl7_server(
            self._connected, host.strip("[]"), int(port), limit=MAX_MESSAGE_BYTES, ssl=context
        )
        log.info("adt_open", address=address, tls=context is not None)
        await self._stop.wait()
        server.close()
        for task in self._idle:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy, timeout=_GRACE_S)
        log.info("adt_closed")

    async def _connected(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        if len(self._idle) + len(self._busy) >= MAX_CONNECTIONS:
            log.warning("adt_connection_refused", reason="too many connections")
            writer.close()
            return
        self._idle.add(task)
        try:
            _keep_alive(writer)
            await self._converse(task, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the peer has gone, or we go: what was not answered comes again
        finally:
            self._idle.discard(task)
            self._busy.discard(task)
            writer.close()

    async def _converse(self, task: asyncio.Task[None], reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        peer, loop = str(writer.get_extra_info("peername")[0]), asyncio.get_running_loop()
        while not self._stop.is_set():
            cut_short: MessageTooLong | None = None
            try:
                message = await next_message(reader)
            except MessageTooLong as error:
                message, cut_short = error.beginning, error
            if message is None:
                return
            self._idle.discard(task)
            self._busy.add(task)
            writer.writeblock(await loop.run_in_executor(self._thread, self._answer, message, peer, cut_short))
            await writer.drain()
            if cut_short is not None:
                return
            self._busy.discard(task)
            self._idle.add(task)

    def _answer(self, message: bytes, peer: str, cut_short: MessageTooLong | None) -> bytes:
        return self._intake.answer(message, received_from=peer, now=datetime.now(UTC), cut_short=cut_short)


def _log_broken(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """In place of a traceback, whose text may quote a message."""
    error = context.get("exception")
    log.error("adt_connection_broke", **(where(error) if error else {}))


def _keep_alive(writer: HL7StreamWriter) -> None:
    """A peer that is gone without a word does not hold its place for ever."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """By the settings' certificate; None without one. Raises CertificatesRefused."""
    if settings.hl7_certificate is None:
        if settings.hl7_ca is not None:
            text = "VIGIE_HL7_CA is of no use without VIGIE_HL7_CERTIFICATE"
            raise CertificatesRefused("certificate_missing", text)
        return None
    return server_context(settings.hl7_certificate, settings.hl7_key, settings.hl7_ca)
