"""The file of PACS: what it may say, whose studies each is asked about, and what is told of a mistake."""

from datetime import time
from pathlib import Path

import pytest

from services.backends.pacs import Fetch, load_pacs, pacs_of
from services.settings import REPOSITORY, Settings
from services.triage.errors import PacsRefused
from tests.support.pacs import one_pacs, pacs_file


def test_the_example_is_a_file_of_pacs() -> None:
    first, second = load_pacs(Settings(pacs=REPOSITORY / "deploy" / "pacs.toml"))
    assert (first.name, first.address, first.fetch) == ("pacs", "PACS@pacs.hospital.example:2762", Fetch.MOVE)
    assert (first.reconcile_at, first.reconcile_days) == (time(2, 30), 3)
    assert first.link.tls is not None
    assert first.link.tls.ca == REPOSITORY / "deploy" / "tls" / "hospital-ca.pem"
    assert (second.kind, second.reconcile_at) == ("dicomweb", None)


def test_without_a_file_nobody_is_asked() -> None:
    assert load_pacs(Settings()) == ()


def test_our_ae_title_is_that_of_the_settings_unless_the_pacs_has_its_own(tmp_path: Path) -> None:
    pacs = one_pacs(tmp_path / "pacs.toml", "PACS@host:104")
    assert (pacs.calling_ae_title, pacs.called_ae_title) == ("VIGIE", "VIGIE")
    pacs = one_pacs(tmp_path / "pacs.toml", "PACS@host:104", calling_ae_title="VIGIE_QR")
    assert (pacs.calling_ae_title, pacs.called_ae_title) == ("VIGIE_QR", "VIGIE")


def test_the_first_pacs_that_suits_one_of_the_senders_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "pacs.toml"
    silent = one_pacs(file, "A@host:104", name="silent", completeness=False)
    ours = one_pacs(file, "B@host:104", name="ours", sent_by=["CT1", "CT2"])
    any_of_them = one_pacs(file, "C@host:104", name="any")
    assert pacs_of({"CT2", "MR1"}, [silent, ours, any_of_them]) == ours
    assert pacs_of({"MR1"}, [silent, ours, any_of_them]) == any_of_them
    assert pacs_of({"MR1"}, [silent, ours]) is None


@pytest.mark.parametrize(
    ("address", "keys", "told"),
    [
        ("/srv/archive", {}, "field 'address': '/srv/archive' is no PACS"),
        ("PACS@host", {}, "field 'address'"),
        ("https://host/dicom-web", {"fetch": "move"}, "fetch: only for a PACS AET@HOST:PORT"),
        ("PACS@host:104", {"fetch": "steal"}, "field 'fetch'"),
        ("PACS@host:104", {"reconcile_at": "half past two"}, "field 'reconcile_at'"),
        ("PACS@host:104", {"sentby": ["CT1"]}, "field 'sentby': Extra inputs are not permitted"),
        ("PACS@host:104", {"reconcile_days": 0}, "field 'reconcile_days'"),
    ],
)
def test_a_mistake_is_told_with_file_pacs_and_field(
    address: str, keys: dict[str, object], told: str, tmp_path: Path
) -> None:
    file = pacs_file(tmp_path / "pacs.toml", address, **keys)
    with pytest.raises(PacsRefused) as refused:
        load_pacs(Settings(pacs=file))
    assert f"{file}: PACS 'archive': " in str(refused.value)
    assert told in str(refused.value)


@pytest.mark.parametrize("content", ["[archive", "archive = 3", None])
def test_what_is_no_file_of_tables_is_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "pacs.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(PacsRefused, match=r"pacs\.toml"):
        load_pacs(Settings(pacs=file))
