"""C-STORE over TLS to dcmtk's storescp, which asks for a certificate of ours."""

from dataclasses import replace

import pytest

from services.backends.part10 import digest
from services.backends.senders import CStoreSender
from services.backends.senders.link import Link, Tls
from services.triage.errors import DestinationUnavailable
from tests.support.certificates import Authority
from tests.support.ct import ct_series, write_series
from tests.support.peers import free_port, received, storescp


@pytest.fixture(scope="module")
def ours(authority):
    """What a destination that trusts this authority is reached by."""
    mine = authority.certificate("vigie.example")
    return Tls(ca=authority.ca, certificate=mine.certificate, key=mine.key)


@pytest.fixture
def files(tmp_path):
    series = ct_series(slices=2)
    paths = write_series(series, tmp_path / "kept")
    return [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]


@pytest.fixture
def pacs(authority, tmp_path):
    """A storescp whose certificate names 127.0.0.1, or `name`, and which takes no peer without a certificate."""

    def run(name="127.0.0.1"):
        its = authority.certificate(name)
        tls = ("+tls", str(its.key), str(its.certificate), "+cf", str(authority.ca), "--require-peer-cert")
        return storescp(tmp_path / "pacs", free_port(), *tls)

    return run


def send(address, files, tls):
    CStoreSender(address, "VIGIE", link=Link(tls=tls, answer_timeout_s=10)).send(files)


def test_the_frozen_bytes_arrive_when_each_end_knows_the_other(files, pacs, ours, tmp_path):
    with pacs() as address:
        send(address, files, ours)
    assert sorted(digest(path.read_bytes()) for path in received(tmp_path / "pacs")) == sorted(
        digest(path.read_bytes()) for _, _, path in files
    )


def test_a_peer_whose_certificate_another_authority_gave_gets_nothing(files, pacs, ours, tmp_path):
    other = Authority(tmp_path / "other")
    with pacs() as address, pytest.raises(DestinationUnavailable, match="its certificate is not accepted: self-signed"):
        send(address, files, replace(ours, ca=other.ca))
    assert received(tmp_path / "pacs") == []


def test_a_peer_whose_certificate_names_another_host_gets_nothing_unless_that_is_not_checked(
    files, pacs, ours, tmp_path
):
    with pacs("pacs.example") as address:
        with pytest.raises(DestinationUnavailable, match=r"its certificate is not accepted: .*127\.0\.0\.1"):
            send(address, files, ours)
        assert received(tmp_path / "pacs") == []
        send(address, files, replace(ours, check_server_name=False))
    assert len(received(tmp_path / "pacs")) == 2


def test_a_peer_that_asks_for_our_certificate_in_vain_is_said_to(files, pacs, ours, tmp_path):
    with pacs() as address, pytest.raises(DestinationUnavailable, match=r"TLS fails: .*CERTIFICATE_REQUIRED"):
        send(address, files, replace(ours, certificate=None, key=None))
    assert received(tmp_path / "pacs") == []


def test_a_peer_without_tls_gets_nothing(files, ours, tmp_path):
    with storescp(tmp_path / "pacs", free_port()) as address, pytest.raises(DestinationUnavailable):
        send(address, files, ours)
    assert received(tmp_path / "pacs") == []


@pytest.mark.parametrize("broken", ["ca", "key"])
def test_a_certificate_that_cannot_be_read_is_waited_for(files, pacs, ours, tmp_path, broken):
    (tmp_path / "broken.pem").write_text("nothing")
    with pacs() as address, pytest.raises(DestinationUnavailable, match="a certificate or key for TLS cannot be used"):
        send(address, files, replace(ours, **{broken: tmp_path / "broken.pem"}))
