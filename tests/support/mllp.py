"""An MLLP server (python-hl7's) that acknowledges as told, in a thread of its own."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import hl7
from hl7.mllp import start_hl7_server
from hl7.mllp.streams import HL7StreamReader, HL7StreamWriter

from tests.support.peers import free_port


@dataclass
class Ris:
    """What it got, as bytes, and how it answers: an acknowledgement code, or the whole answer from the message.

    hold: while it is set, nothing is answered.
    """

    port: int
    code: str = "AA"
    error_code: str = ""
    answer: Callable[[hl7.Message], str] | None = None
    blocks: list[bytes] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def messages(self) -> list[hl7.Message]:
        return [hl7.parse(block.decode()) for block in self.blocks]

    def acknowledge(self, message: hl7.Message) -> str:
        """HL7 chapter 2, ACK."""
        if self.answer is not None:
            return self.answer(message)
        control = message.segment("MSH")[10]
        lines = [f"MSH|^~\\&|RIS||VIGIE||20260301120000||ACK^R01^ACK|A1|P|2.5.1\rMSA|{self.code}|{control}"]
        lines += [f"ERR|||{self.error_code}|E"] if self.error_code else []
        return "\r".join(lines) + "\r"


@contextmanager
def mllp_server(port: int | None = None, *, tls: ssl.SSLContext | None = None, **choices: object) -> Iterator[Ris]:
    """Listen until the end of the block."""
    ris = Ris(port=port or free_port(), **choices)  # type: ignore[arg-type]

    async def serve(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            while True:
                block = await reader.readblock()
                ris.blocks.append(block)
                while ris.hold.is_set():
                    await asyncio.sleep(0.02)
                writer.writeblock(ris.acknowledge(hl7.parse(block.decode("utf-8", "replace"))).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        server = await start_hl7_server(serve, "127.0.0.1", ris.port, ssl=tls)
        started.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield ris
    finally:
        ris.hold.clear()
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()
