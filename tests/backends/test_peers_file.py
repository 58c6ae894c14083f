"""The file of peers: what it may say, and what contradicts it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.backends.peers_file import load_peers, reread_peers
from services.settings import Settings
from services.triage.errors import PeersRefused
from services.triage.job import OrderPriority
from services.triage.peer import PeerTask, Quota

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "peers.toml"
CT1 = '[CT1]\naddresses = ["192.0.2.30"]\n'


def settings(folder: Path, text: str, **others: object) -> Settings:
    path = folder / "peers.toml"
    path.write_text(text)
    return Settings(data=folder, peers=path, **others)


def over_tls(folder: Path) -> dict[str, object]:
    paths = {f"dicom_tls_{name}": folder / f"{name}.pem" for name in ("certificate", "key", "ca")}
    return {"dicom_tls": "127.0.0.1:2762", **paths}


def test_the_example_can_be_used(tmp_path: Path) -> None:
    peers = load_peers(settings(tmp_path, EXAMPLE.read_text(), **over_tls(tmp_path)))
    assert peers is not None
    assert set(peers.by_title) == {"CT1", "CT_ER", "XR_ER", "PACS", "TELERAD"}
    assert peers.priorities() == {"CT_ER": OrderPriority.STAT, "XR_ER": OrderPriority.STAT}
    assert peers.by_title["PACS"].quota == Quota(associations=16, instances_per_minute=30000, mb_per_minute=15000)
    assert peers.by_title["CT_ER"].may == {PeerTask.ECHO, PeerTask.STORE}
    assert load_peers(Settings(data=tmp_path)) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no peer in it"),
        ("CT1 = 1", "'CT1' is no peer"),
        ("[CT1]\n", "a title is a claim"),
        ('[CT1]\naddresses = ["192.0.2.300"]', "'192.0.2.300' is no address"),
        ('[CT1]\naddresses = ["192.0.2.30/24"]', "is no address and no network"),
        (CT1 + 'may = ["print"]', "field 'may.0'"),
        (CT1 + "may = []", "field 'may'"),
        (CT1 + 'priority = "urgent"', "field 'priority': is stat, high or routine"),
        (CT1 + "max_associations = 0", "field 'max_associations'"),
        (CT1 + 'adresses = ["192.0.2.1"]', "field 'adresses'"),
        (CT1 + 'certificates = ["sha256:12"]', "field 'certificates.0'"),
        ('[A_VERY_LONG_TITLE_INDEED]\naddresses = ["192.0.2.30"]', "at most|1 to 16 ASCII characters"),
        (CT1 + '[er]\nae_titles = ["CT1"]\naddresses = ["192.0.2.31"]', "AE title 'CT1' is of two peers"),
        (CT1 + "tls = true", "set VIGIE_DICOM_TLS"),
        ('[CT1]\ncertificates = ["ct1"]', "set VIGIE_DICOM_TLS"),
    ],
)
def test_what_is_wrong_is_named_with_its_peer_and_the_way_out(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(PeersRefused, match=told):
        load_peers(settings(tmp_path, text))


def test_certificates_need_an_authority_that_asks_for_them(tmp_path: Path) -> None:
    listener = over_tls(tmp_path) | {"dicom_tls_ca": None}
    with pytest.raises(PeersRefused, match="set VIGIE_DICOM_TLS_CA"):
        load_peers(settings(tmp_path, '[CT1]\ncertificates = ["ct1"]', **listener))


@pytest.mark.parametrize("other", [{"calling_ae_titles": "CT1"}, {"ae_priorities": "CT1=stat"}])
def test_older_settings_that_say_the_same_are_refused(tmp_path: Path, other: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="with VIGIE_PEERS, its file says who may call"):
        settings(tmp_path, CT1, **other)


def test_a_tenants_caller_and_who_asks_for_commitment_must_be_peers(tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_text('[a]\ncalling_ae_titles = ["CT1", "CT2"]\ndestinations = []\n')
    with pytest.raises(PeersRefused, match="tenant 'a' of VIGIE_TENANTS has the calling AE title 'CT2'"):
        load_peers(settings(tmp_path, CT1, tenants=tmp_path / "tenants.toml"))
    (tmp_path / "destinations.toml").write_text('[pacs]\naddress = "PACS@127.0.0.1:104"\nstorage_commitment = true\n')
    (tmp_path / "commitment.toml").write_text('[CT1]\narchive = "pacs"\nreport_to = "CT1@127.0.0.1:105"\n')
    files = {name: tmp_path / f"{name}.toml" for name in ("destinations", "commitment")}
    with pytest.raises(PeersRefused, match=r"\[CT1\] of VIGIE_COMMITMENT may not ask"):
        load_peers(settings(tmp_path, CT1, **files))
    assert load_peers(settings(tmp_path, CT1 + 'may = ["store", "commitment"]', **files))


def test_a_change_is_in_force_soon_and_one_that_cannot_be_used_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.backends.reread._LOOK_EVERY_S", 0.0)
    mine = settings(tmp_path, CT1)
    peers = reread_peers(mine)
    assert peers is not None
    (tmp_path / "peers.toml").write_text(CT1.replace("CT1", "CT22"))
    assert set(peers.in_force().by_title) == {"CT22"}
    (tmp_path / "peers.toml").write_text("[CT3]\n")
    assert set(peers.in_force().by_title) == {"CT22"}
    (tmp_path / "peers.toml").unlink()
    assert set(peers.in_force().by_title) == {"CT22"}
    (tmp_path / "peers.toml").write_text(CT1.replace("CT1", "CT4"))
    assert set(peers.in_force().by_title) == {"CT4"}
