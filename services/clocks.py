"""Whether our clocks agree: this process's, the database's, and that of a time server.

Leases, quiet periods and the order of the work list are counted by the clocks of our processes, all on one database:
who is far off takes work from others, or completes studies too early. Whether a machine's own clock is disciplined
(chrony, adjtimex) is told by node_exporter; this is what it comes to.
"""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.store import SqlStudyStore
from services.backends.store.clock import Offset
from services.triage.errors import StoreUnavailable

NTP_PORT = 123
NTP_EVERY_S = 60.0
_TIMEOUT_S = 1.0
_NTP_TO_UNIX_S = 2_208_988_800  # from 1900 to 1970 (RFC 5905 section 6)
_CLIENT_REQUEST = 0x23  # no warning, version 4, mode client (RFC 5905 section 7.3)
_SERVER, _BROADCAST = 4, 5


def ask_ntp(server: str) -> Offset | None:
    """The offset of a time server, HOST or HOST:PORT (SNTP, RFC 5905 section 14); None: no usable answer."""
    host, _, port = server.rpartition(":") if server.count(":") == 1 else (server, "", str(NTP_PORT))
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as client:
            client.settimeout(_TIMEOUT_S)
            client.connect(place)  # answers of others are not heard
            asked = time.time()
            client.send(struct.pack("!B39xQ", _CLIENT_REQUEST, _as_ntp(asked)))
            answer = client.recv(1024)
            answered = time.time()
    except OSError:
        return None
    return _offset(answer, asked, answered)


def _offset(answer: bytes, asked_s: float, answered_s: float) -> Offset | None:
    if len(answer) < 48:
        return None
    first, stratum, origin, received, sent = struct.unpack("!BB22xQQQ", answer[:48])
    unsynchronised = first >> 6 == 3 or not 1 <= stratum <= 15
    if unsynchronised or first & 7 not in (_SERVER, _BROADCAST) or origin != _as_ntp(asked_s):
        return None
    there_s, back_s = _as_unix(received) - asked_s, _as_unix(sent) - answered_s
    return Offset(seconds=(there_s + back_s) / 2, uncertainty_s=max(0.0, (there_s - back_s) / 2))


def _as_ntp(seconds: float) -> int:
    return int((seconds + _NTP_TO_UNIX_S) * 2**32)


def _as_unix(ntp: int) -> float:
    return ntp / 2**32 - _NTP_TO_UNIX_S


class ClockCollector(Collector):
    """Asks the database at each scrape, and the time server once a minute."""

    def __init__(self, store: SqlStudyStore, ntp: str | None) -> None:
        self._store = store
        self._ntp = ntp
        self._asked_at = -NTP_EVERY_S
        self._of_ntp: Offset | None = None

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Two gauges; of who does not answer nothing is told."""
        offset = GaugeMetricFamily(
            "vigie_clock_offset_seconds",
            "How far the clock of the database or of the time server is ahead of this process's. Above a second: mend "
            "the time synchronisation of the machine that differs from the others.",
            labels=["against"],
        )
        uncertainty = GaugeMetricFamily(
            "vigie_clock_offset_uncertainty_seconds",
            "By how much vigie_clock_offset_seconds may be wrong: half of the time that the answer took, or nearly so.",
            labels=["against"],
        )
        for name, one in self._offsets():
            offset.add_metric([name], one.seconds)
            uncertainty.add_metric([name], one.uncertainty_s)
        yield from (offset, uncertainty)

    def _offsets(self) -> Iterator[tuple[str, Offset]]:
        with suppress(StoreUnavailable):
            yield "database", self._store.clock_offset()
        if self._ntp is not None and time.monotonic() - self._asked_at >= NTP_EVERY_S:
            self._asked_at = time.monotonic()
            self._of_ntp = ask_ntp(self._ntp)
        if self._of_ntp is not None:
            yield "ntp", self._of_ntp
