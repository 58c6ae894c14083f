"""Whether a caller is the peer that it says to be."""

import ipaddress

import pytest

from services.triage.peer import Caller, Certificate, NotRecognised, Peer, Peers

SHOWN = Certificate(names=frozenset({"ct1.example", "ct1"}), sha256="ab" * 32)
OTHER = Certificate(names=frozenset({"ct2.example"}), sha256="cd" * 32)


def peer(*addresses: str, certificates: tuple[str, ...] = (), tls: bool = False) -> Peer:
    networks = tuple(map(ipaddress.ip_network, addresses))
    return Peer(
        name="CT1", titles=frozenset({"CT1"}), addresses=networks, certificates=frozenset(certificates), tls=tls
    )


def calls(address: str = "192.0.2.30", *, over_tls: bool = False, shows: Certificate | None = None) -> Caller:
    return Caller(title="CT1", address=address, over_tls=over_tls, certificate=shows)


@pytest.mark.parametrize(
    ("known", "caller", "doubt"),
    [
        (peer("192.0.2.0/24"), calls(), None),
        (peer("192.0.2.0/24"), calls("::ffff:192.0.2.30"), None),
        (peer("2001:db8::/32"), calls("2001:db8::5%eth0"), None),
        (peer("192.0.2.0/24"), calls("198.51.100.1"), NotRecognised.WRONG_ADDRESS),
        (peer("192.0.2.0/24"), calls("no address"), NotRecognised.WRONG_ADDRESS),
        (peer("192.0.2.0/24", tls=True), calls(), NotRecognised.NO_TLS),
        (peer("192.0.2.0/24", tls=True), calls(over_tls=True), None),
        (peer(certificates=("ct1.example",)), calls(), NotRecognised.NO_TLS),
        (peer(certificates=("ct1.example",)), calls(over_tls=True, shows=SHOWN), None),
        (peer(certificates=("ab" * 32,)), calls(over_tls=True, shows=SHOWN), None),
        (peer(certificates=("ct1.example",)), calls(over_tls=True, shows=OTHER), NotRecognised.WRONG_CERTIFICATE),
        (peer(certificates=("ct1.example",)), calls(over_tls=True), NotRecognised.WRONG_CERTIFICATE),
        (
            peer("192.0.2.0/24", certificates=("ct1.example",)),
            calls("198.51.100.1", over_tls=True, shows=SHOWN),
            NotRecognised.WRONG_ADDRESS,
        ),
        (peer("192.0.2.0/24", certificates=("ct1.example",)), calls(), None),
    ],
)
def test_every_proof_that_a_peer_has_is_asked_for(known: Peer, caller: Caller, doubt: NotRecognised | None) -> None:
    assert Peers(by_title={"CT1": known}).recognise(caller) == (doubt or known)


def test_a_title_that_is_in_no_table_is_nobodys() -> None:
    assert Peers(by_title={}).recognise(calls()) is NotRecognised.UNKNOWN_TITLE
