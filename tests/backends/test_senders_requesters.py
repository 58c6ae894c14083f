"""The file of those that may ask for storage commitment."""

from pathlib import Path

import pytest
import typer

from services.backends.senders import requesters
from services.backends.senders.link import Tls
from services.cli.flags import settings_from
from services.settings import Settings
from services.triage.errors import RequestersRefused

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PACS = '[pacs]\naddress = "PACS@pacs:104"\nstorage_commitment = true\n[old]\naddress = "OLD@old:104"\n'
CT1 = '[CT1]\narchive = "pacs"\nreport_to = "CT1@ct1:104"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "destinations.toml").write_text(PACS)
    return Settings(destinations=tmp_path / "destinations.toml", commitment=tmp_path / "commitment.toml")


def read(settings: Settings, text: str):
    assert settings.commitment
    settings.commitment.write_text(text)
    return requesters(settings)


def test_without_the_setting_nobody_may_ask() -> None:
    assert requesters(Settings()) == {}


def test_an_ae_has_its_archive_and_its_address(settings: Settings) -> None:
    found = read(settings, CT1)["CT1"]
    assert found.archive.destination.address == "PACS@pacs:104"
    assert found.commitment == found.archive.commitment
    assert (found.report_to, found.link.tls, found.calling_ae_title) == ("CT1@ct1:104", None, None)
    assert (found.look_for_s, found.decide_within_s, found.report_within_s) == (60, 21600, 86400)


def test_the_example_can_be_read_and_its_paths_are_beside_it() -> None:
    found = requesters(Settings(destinations=DEPLOY / "destinations.toml", commitment=DEPLOY / "commitment.toml"))
    assert set(found) == {"CT1", "MR2"}
    tls = DEPLOY / "tls"
    assert found["MR2"].link.tls == Tls(
        ca=tls / "hospital-ca.pem", certificate=tls / "vigie.pem", key=tls / "vigie.key"
    )
    assert found["MR2"].decide_within_s == 86400


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("CT1", "Expected '='"),
        ("CT1 = 1", "AE 'CT1': it is no table"),
        (CT1.replace("[CT1]", '["A TITLE THAT IS TOO LONG"]'), "AE title must have 1 to 16"),
        (CT1.replace('"pacs"', '"nowhere"'), "field 'archive': 'nowhere' is no destination with storage_commitment"),
        (CT1.replace('"pacs"', '"old"'), "field 'archive': 'old' is no destination with storage_commitment"),
        (CT1.replace("CT1@ct1:104", "ct1"), "field 'report_to': 'ct1' is no destination"),
        ('[CT1]\narchive = "pacs"\n', "field 'report_to': Field required"),
        (CT1 + "decide_within_s = 0\n", "field 'decide_within_s'"),
        (CT1 + "decide_in_s = 5\n", "field 'decide_in_s'"),
        (CT1 + '[CT1.tls]\nkey = "k"\n', "field 'tls': certificate and key come together"),
    ],
)
def test_what_is_wrong_is_told_with_file_ae_and_field(settings: Settings, text: str, complaint: str) -> None:
    with pytest.raises(RequestersRefused) as refused:
        read(settings, text)
    assert complaint in str(refused.value)
    assert "commitment.toml" in str(refused.value)


def test_a_file_that_is_not_there_is_told_by_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_COMMITMENT", str(settings.commitment))
    with pytest.raises(typer.BadParameter, match="unreadable_commitment"):
        settings_from()


TENANTS = """
[a]
called_ae_titles = ["VIGIE_A"]
destinations = ["pacs"]
[b]
called_ae_titles = ["VIGIE_B"]
destinations = ["old"{}]
"""


def test_an_ae_is_of_the_tenant_of_its_archive_and_of_several_it_is_said(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_text(TENANTS.format(""))
    kept_apart = settings.model_copy(update={"tenants": tmp_path / "tenants.toml"})
    assert read(settings, CT1)["CT1"].tenant == ""
    assert read(kept_apart, CT1)["CT1"].tenant == "a"
    with pytest.raises(RequestersRefused, match=r"one of those of its archive: a \["):
        read(kept_apart, f'{CT1}tenant = "b"')
    (tmp_path / "tenants.toml").write_text('shared_destinations = ["pacs"]\n' + TENANTS.format(', "pacs"'))
    with pytest.raises(RequestersRefused, match=r"one of those of its archive: a, b \["):
        read(kept_apart, CT1)
    assert read(kept_apart, f'{CT1}tenant = "b"')["CT1"].tenant == "b"
