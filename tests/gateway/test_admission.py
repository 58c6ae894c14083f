"""Who the door lets in by its AE titles, asked by dcmtk's own programs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from services.backends.store import open_store
from services.settings import Settings
from tests.support.archive import event_information, report
from tests.support.ct import ct_series, write_series
from tests.support.scu import Door, open_door
from tests.support.two_hospitals import TENANTS, dcmtk, write_files

CALLED, CALLING = "Called AE Title Not Recognized", "Calling AE Title Not Recognized"
UNKNOWN_TRANSACTION = 0x0115


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_series(ct_series(slices=2), tmp_path_factory.mktemp("ct"))


def store(door: Door, paths: list[Path], called: str, calling: str) -> str:
    return dcmtk("storescu", door.port, called=called, calling=calling, files=paths)


def test_without_a_setting_any_title_may_call_any(tmp_path: Path, paths: list[Path]) -> None:
    with open_door(tmp_path) as door:
        assert not store(door, paths, "ANYTHING", "ANYBODY")
        assert [file.tenant for file in door.files.pending()] == ["", ""]
        assert not (tmp_path / "tenants").exists()


def test_the_called_title_is_checked_where_that_is_set(tmp_path: Path, paths: list[Path]) -> None:
    with open_door(tmp_path, check_called_ae_title="true", ae_title="LOOKOUT") as door:
        assert CALLED in dcmtk("echoscu", door.port, called="VIGIE", calling="CT1")
        assert not dcmtk("echoscu", door.port, called="LOOKOUT", calling="CT1")
        assert not store(door, paths, "LOOKOUT", "ANYBODY")


def test_the_calling_title_is_checked_where_that_is_set_and_a_pacs_may_report_all_the_same(
    tmp_path: Path, paths: list[Path]
) -> None:
    open_store(Settings(data=tmp_path).store_url()).close()
    with open_door(tmp_path, calling_ae_titles="CT1, CT2", send_to="PACS@127.0.0.1:104") as door:
        assert CALLING in store(door, paths, "VIGIE", "CT3")
        assert not store(door, paths, "VIGIE", "CT2")
        assert not dcmtk("echoscu", door.port, called="VIGIE", calling="PACS")
        assert report(door.port, event_information(generate_uid(), [("1.2", "1.3")])) == [UNKNOWN_TRANSACTION]
        assert "No Acceptable Presentation Contexts" in store(door, paths, "VIGIE", "PACS")
        assert {file.received_from for file in door.files.pending()} == {"CT2"}


def test_a_caller_that_cannot_be_judged_is_not_let_in(tmp_path: Path) -> None:
    breaks = "from services.gateway.admission import Admission\nAdmission._is_called = None\n"
    with open_door(tmp_path, first=breaks) as door:
        assert "Local Limit Exceeded" in dcmtk("echoscu", door.port, called="VIGIE", calling="CT1")


def test_an_archive_that_calls_us_as_we_call_it_may_report_whatever_else_must_be_called(tmp_path: Path) -> None:
    (tmp_path / "destinations.toml").write_text('[pacs]\naddress = "PACS@127.0.0.1:104"\ncalling_ae_title = "OTHER"\n')
    settings = {"destinations": str(tmp_path / "destinations.toml"), "check_called_ae_title": "true"}
    with open_door(tmp_path / "data", **settings) as door:
        assert not dcmtk("echoscu", door.port, called="OTHER", calling="PACS")
        assert CALLED in dcmtk("echoscu", door.port, called="OTHER", calling="CT1")


@pytest.fixture(scope="module")
def shared_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("shared")
    settings = write_files(folder, "PACS@127.0.0.1:104", "PACS_B@127.0.0.1:104", tenants=TENANTS)
    with open_door(folder / "data", **settings) as door:
        yield door


@pytest.mark.parametrize(
    ("called", "calling", "reason"),
    [
        ("VIGIE_A", "CT_A", ""),
        ("VIGIE_B", "WHOEVER", ""),
        ("VIGIE_A", "WHOEVER", CALLING),
        ("VIGIE_A", "PACS", ""),  # a destination that calls us as we call it
        ("VIGIE_A", "PACS_B", CALLING),
        ("VIGIE", "CT_A", CALLED),
        ("vigie_a", "CT_A", CALLED),
    ],
)
def test_an_association_is_a_tenants_or_rejected_with_its_reason(
    shared_door: Door, called: str, calling: str, reason: str
) -> None:
    told = dcmtk("echoscu", shared_door.port, called=called, calling=calling)
    assert (reason in told) if reason else not told


def test_an_instance_is_kept_for_the_tenant_and_the_study_is_refused_to_any_other(
    shared_door: Door, paths: list[Path]
) -> None:
    assert not store(shared_door, paths, "VIGIE_A", "CT_A")
    assert {(file.tenant, file.received_from) for file in shared_door.files.pending()} == {("a", "CT_A")}
    assert store(shared_door, paths, "VIGIE_B", "CT_B").count("0x124") == len(paths)
    assert shared_door.quarantined() == len(paths)
    assert not store(shared_door, paths, "VIGIE_A", "CT_A")
    assert {file.tenant for file in shared_door.files.pending()} == {"a"}
