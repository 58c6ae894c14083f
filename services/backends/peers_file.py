"""Who may open an association with us, from the TOML file that VIGIE_PEERS names; deploy/peers.toml explains every key.

The rule: with the file, it alone says who gets in, and what nobody proves is not believed. Settings that say the same
in another way are refused, and so are files beside it that count on a caller it does not name.
"""

import ipaddress
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from services.backends.reread import Reread
from services.backends.senders.destinations import check_ae_title
from services.backends.senders.requesters import requesters
from services.backends.senders.routes import tenants_in_force
from services.backends.senders.toml_file import Table, told
from services.settings import Settings
from services.triage.errors import PeersRefused
from services.triage.job import OrderPriority
from services.triage.peer import Network, Peer, Peers, PeerTask, Quota

_SHA256 = re.compile(r"[0-9a-f]{64}")

AeTitle = Annotated[str, AfterValidator(lambda text: check_ae_title(text).strip())]


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is no address and no network: write 192.0.2.30 or 192.0.2.0/24") from error


def _certificate(text: str) -> str:
    """A name, or a fingerprint with or without its colons."""
    plain = text.strip().lower()
    digits = plain.removeprefix("sha256:").replace(":", "")
    if _SHA256.fullmatch(digits):
        return digits
    if not plain or plain.startswith("sha256:"):
        raise ValueError("write a name of the certificate (CN or subject alternative name), or sha256:FINGERPRINT")
    return plain.removeprefix("cn=")


class _Entry(Table):
    """One peer's table."""

    ae_titles: tuple[AeTitle, ...] = ()
    addresses: tuple[str, ...] = ()
    certificates: tuple[Annotated[str, AfterValidator(_certificate)], ...] = ()
    tls: bool = False
    may: tuple[PeerTask, ...] = Field((PeerTask.ECHO, PeerTask.STORE), min_length=1)
    max_associations: int | None = Field(None, ge=1)
    instances_per_minute: int | None = Field(None, ge=1)
    mb_per_minute: int | None = Field(None, ge=1)
    priority: OrderPriority | None = None

    @field_validator("priority", mode="before")
    @classmethod
    def _priority(cls, text: object) -> object:
        if text is None or (isinstance(text, str) and text.upper() in OrderPriority.__members__):
            return text and OrderPriority[str(text).upper()]
        raise ValueError("is stat, high or routine")

    @field_validator("addresses")
    @classmethod
    def _networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            _network(text)
        return texts

    @model_validator(mode="after")
    def _can_prove_it(self) -> "_Entry":
        if not self.addresses and not self.certificates:
            raise ValueError(
                "a title is a claim: say by `addresses`, by `certificates` or by both how this peer is known "
                '(addresses = ["0.0.0.0/0", "::/0"] believes it from anywhere)'
            )
        return self

    def peer(self, name: str) -> Peer:
        quota = Quota(
            associations=self.max_associations,
            instances_per_minute=self.instances_per_minute,
            mb_per_minute=self.mb_per_minute,
        )
        return Peer(
            name=name,
            titles=frozenset(self.ae_titles or [name]),
            addresses=tuple(map(_network, self.addresses)),
            certificates=frozenset(self.certificates),
            tls=self.tls,
            may=frozenset(self.may),
            quota=quota,
            priority=self.priority,
        )


def load_peers(settings: Settings) -> Peers | None:
    """The peers in force, None without the setting.

    Raises PeersRefused: unreadable_peers (no such file, not TOML), invalid_peers (the text names file, peer and field),
    peers_conflict (another setting or file says otherwise; the text says the way out); and as `requesters`.
    """
    path = settings.peers
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PeersRefused("unreadable_peers", f"{path}: {error}") from error
    peers = _read(path, content)
    for conflict in (*_over_tls(peers, settings), *_unnamed(peers, settings)):
        raise PeersRefused("peers_conflict", f"{path}: {conflict}")
    return Peers(by_title={title: peer for peer in peers for title in peer.titles})


def reread_peers(settings: Settings) -> Reread[Peers] | None:
    """The peers, read again when their file changes; None without the setting. Raises as `load_peers`."""
    if settings.peers is None:
        return None
    return Reread(settings.peers, cast(Callable[[], Peers], partial(load_peers, settings)), name="peers")


def _read(path: Path, content: dict[str, Any]) -> list[Peer]:
    peers = [_peer(path, name, table) for name, table in content.items()]
    if not peers:
        raise _refused(path, "there is no peer in it: begin one with [AE_TITLE]")
    counted = Counter(title for peer in peers for title in peer.titles)
    if twice := sorted(title for title, count in counted.items() if count > 1):
        raise _refused(path, f"AE title '{twice[0]}' is of two peers: a caller could be either")
    return peers


def _peer(path: Path, name: str, table: Any) -> Peer:
    if not isinstance(table, dict):
        raise _refused(path, f"'{name}' is no peer, which begins with [{name}]")
    try:
        entry = _Entry.model_validate(table)
        if not entry.ae_titles:
            check_ae_title(name)
    except ValidationError as error:
        raise _refused(path, f"peer '{name}': {told(error)}") from error
    except ValueError as error:
        raise _refused(path, f"peer '{name}': {error}; or give it ae_titles") from error
    return entry.peer(name)


def _over_tls(peers: list[Peer], settings: Settings) -> list[str]:
    """Peers that could never prove what is asked of them."""
    found = []
    for peer in peers:
        if settings.dicom_tls is None and (peer.tls or not peer.addresses):
            found.append(f"peer '{peer.name}' may only come over TLS: set VIGIE_DICOM_TLS, or give it addresses")
        elif peer.certificates and settings.dicom_tls is not None and settings.dicom_tls_ca is None:
            found.append(
                f"peer '{peer.name}' must show a certificate, and nobody is asked for one: set VIGIE_DICOM_TLS_CA (a "
                "self-signed certificate is an authority of its own)"
            )
    return found


def _unnamed(peers: list[Peer], settings: Settings) -> list[str]:
    """Callers that another file counts on."""
    may = {title: peer.may for peer in peers for title in peer.titles}
    asking = {title for title, tasks in may.items() if PeerTask.COMMITMENT in tasks}
    found = [
        f'[{title}] of VIGIE_COMMITMENT may not ask: give its peer may = [..., "commitment"]'
        for title in sorted(set(requesters(settings)) - asking)
    ]
    found += [
        f"tenant '{tenant.name}' of VIGIE_TENANTS has the calling AE title '{title}', which is no peer's: add a peer"
        for tenant in tenants_in_force(settings).tenants
        for title in sorted(tenant.calling_ae_titles - set(may))
    ]
    return found


def _refused(path: Path, wrong: str) -> PeersRefused:
    return PeersRefused("invalid_peers", f"{path}: {wrong}")
