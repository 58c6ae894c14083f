"""HL7 v2 messages, and MLLP clients that send them."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MLLP_SEND = Path(sys.executable).parent / "mllp_send"


def adt_message(
    *segments: str,
    event: str = "A08",
    control_id: str = "1",
    recorded: str = "20260301120000",
    character_set: str = "UNICODE UTF-8",
    codec: str = "utf-8",
) -> bytes:
    """A message as a hospital's information system sends it; `segments` follow EVN."""
    msh = f"MSH|^~\\&|HIS|HOSP|VIGIE|RAD|{recorded}||ADT^{event}|{control_id}|P|2.5||||||{character_set}"
    return "".join(f"{line}\r" for line in (msh, f"EVN||{recorded}", *segments)).encode(codec)


def framed(message: bytes) -> bytes:
    return b"\x0b" + message + b"\x1c\r"


def fields(answer: bytes, name: str) -> list[str]:
    """The fields of the first segment of this name, the name itself first; none without such a segment."""
    lines = answer.decode("latin-1").split("\r")
    return next((line.split("|") for line in lines if line.startswith(name)), [])


def code(answer: bytes) -> str:
    """MSA-1."""
    return fields(answer, "MSA")[1]


def condition(answer: bytes) -> str:
    """ERR-3.1."""
    return fields(answer, "ERR")[3].partition("^")[0]


def mllp_send(port: int, message: bytes, folder: Path) -> bytes:
    """python-hl7's own command sends a message; answers the acknowledgement."""
    file = folder / "message.hl7"
    file.write_bytes(message)
    command = [str(MLLP_SEND), "--loose", "--file", str(file), "--port", str(port), "127.0.0.1"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.strip(b"\x0b\x1c\r\n")


class Mllp:
    """One connection; `context` for TLS."""

    def __init__(self, port: int, *, context: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain
        self._received = b""

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def answer(self) -> bytes | None:
        """The next acknowledgement; None when the connection is closed."""
        while b"\x1c\r" not in self._received:
            try:
                part = self._socket.recv(4096)
            except ConnectionResetError:
                return None
            if not part:
                return None
            self._received += part
        block, _, self._received = self._received.partition(b"\x1c\r")
        assert block.startswith(b"\x0b")
        return block[1:]

    def ask(self, message: bytes) -> bytes | None:
        self.send(framed(message))
        return self.answer()

    def ask_all(self, messages: Sequence[bytes]) -> list[bytes | None]:
        """Send all at once, then read the answers."""
        self.send(b"".join(map(framed, messages)))
        return [self.answer() for _ in messages]

    def end_of_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()
