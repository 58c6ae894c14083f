"""A door that speaks TLS, and dcmtk's clients before it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Certificate
from tests.support.peers import free_port
from tests.support.scu import Door, open_door


@dataclass(frozen=True, kw_only=True)
class TlsDoor:
    """A door with a TLS port beside the plain one; its log."""

    door: Door
    port: int
    log: Path

    def failures(self) -> list[str]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line["reason"] for line in lines if line["event"] == "tls_handshake_failed"]


@contextmanager
def tls_door(folder: Path, its: Certificate, ca: Path | None) -> Iterator[TlsDoor]:
    """ca: of the clients; without one they need no certificate."""
    port, log = free_port(), folder / "log"
    files = {"dicom_tls_certificate": str(its.certificate), "dicom_tls_key": str(its.key)}
    files |= {"dicom_tls_ca": str(ca)} if ca else {}
    with (
        log.open("wb") as stderr,
        open_door(folder / "data", stderr=stderr, dicom_tls=f"127.0.0.1:{port}", **files) as door,
    ):
        yield TlsDoor(door=door, port=port, log=log)


def dcmtk(program: str, port: int, *words: str, ca: Path, own: Certificate | None) -> bool:
    """Run one of dcmtk's clients over TLS; whether it succeeded."""
    shown = ["+tls", str(own.key), str(own.certificate)] if own else ["+tla"]
    command = [program, *shown, "+cf", str(ca), "127.0.0.1", str(port), *words]
    return subprocess.run(command, env=os.environ | {"TCP_NODELAY": "1"}, timeout=60, check=False).returncode == 0
