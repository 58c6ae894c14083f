"""Two hospitals at one running Vigie: each gets its own results, and nothing of the other's."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread

from services.backends.headers import read_instance
from services.triage.tenant import Tenant
from tests.support.ct import write_series
from tests.support.house import House, chest_with_ball
from tests.support.peers import listens, received, wait_until
from tests.support.standalone import Running, standalone
from tests.support.two_hospitals import Hospitals, dcmtk, two_hospitals

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

CALLED_NOT_RECOGNIZED, CALLING_NOT_RECOGNIZED = "Called AE Title Not Recognized", "Calling AE Title Not Recognized"


@contextmanager
def vigie_of(hospitals: Hospitals, data: Path, **settings: object) -> Iterator[Running]:
    with standalone(data, fake_segmenter_s=0, **hospitals.settings, **settings) as vigie:
        wait_until(lambda: listens(vigie.http_port), what="the desk listening")
        yield vigie


def send(vigie: Running, paths: list[Path], *, called: str, calling: str) -> str:
    return dcmtk("storescu", vigie.dicom_port, called=called, calling=calling, files=paths)


def series_of(folder: Path, **attributes: object) -> tuple[list[Dataset], list[Path]]:
    series = chest_with_ball(PatientID="4711", **attributes)
    return series, write_series(series, folder)


def test_each_hospital_gets_its_own_results_and_only_those(tmp_path: Path) -> None:
    (first, of_a), (second, of_b) = series_of(tmp_path / "a"), series_of(tmp_path / "b")
    with two_hospitals(tmp_path) as hospitals, vigie_of(hospitals, tmp_path / "data") as vigie:
        assert not send(vigie, of_a, called="VIGIE_A", calling="CT_A")
        assert not send(vigie, of_b, called="VIGIE_B", calling="ANYTHING")
        wait_until(lambda: len(vigie.events("delivered")) == 2, what="a result for each")
        for folder, series in ((hospitals.a, first), (hospitals.b, second)):
            objects = [dcmread(path) for path in received(folder)]
            assert sorted(one.Modality for one in objects) == ["SEG", "SR"]
            assert {one.StudyInstanceUID for one in objects} == {series[0].StudyInstanceUID}
            assert not any("IssuerOfPatientID" in one for one in objects), "the source's attributes as they are"

        api = f"http://127.0.0.1:{vigie.http_port}/api/studies"
        listed = {one["study"]["study_instance_uid"]: one for one in httpx.get(api, timeout=30).json()["studies"]}
        assert {uid: (one["tenant"], one["study"]["issuer_of_patient_id"]) for uid, one in listed.items()} == {
            first[0].StudyInstanceUID: ("a", "HOSPITAL-A"),
            second[0].StudyInstanceUID: ("b", "HOSPITAL-B"),
        }
        (only,) = httpx.get(api, params={"tenant": "b"}, timeout=30).json()["studies"]
        assert only["study"]["study_instance_uid"] == second[0].StudyInstanceUID


def test_an_association_of_no_tenant_is_rejected_with_its_reason(tmp_path: Path) -> None:
    _, paths = series_of(tmp_path / "a")
    with two_hospitals(tmp_path) as hospitals, vigie_of(hospitals, tmp_path / "data") as vigie:
        assert CALLED_NOT_RECOGNIZED in send(vigie, paths, called="VIGIE", calling="CT_A")
        assert CALLING_NOT_RECOGNIZED in send(vigie, paths, called="VIGIE_A", calling="CT_B")
        reasons = [event["reason"] for event in vigie.events("association_rejected")]
        assert reasons == ["called AE title not recognized", "calling AE title not recognized"]
        assert not list(House(data=tmp_path / "data").files.pending())
        assert House(data=tmp_path / "data").store.board.work_list() == []


def test_the_same_study_of_another_hospital_is_refused_and_kept_in_quarantine(tmp_path: Path) -> None:
    series, paths = series_of(tmp_path / "a")
    with two_hospitals(tmp_path) as hospitals, vigie_of(hospitals, tmp_path / "data") as vigie:
        assert not send(vigie, paths, called="VIGIE_A", calling="CT_A")
        wait_until(lambda: len(vigie.events("delivered")) == 1, what="the result of a")
        refused = send(vigie, paths, called="VIGIE_B", calling="CT_B")
        assert refused.count("0x124") == len(paths), refused
        url = f"http://127.0.0.1:{vigie.http_port}"
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + paths[0].read_bytes() + b"\r\n--x--\r\n"
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
        answer = httpx.post(f"{url}/t/b/dicomweb/studies", content=body, headers=headers, timeout=30)
        assert answer.status_code == 409
        assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0x0124]

        house = House(data=tmp_path / "data")
        detail = house.store.board.study(series[0].StudyInstanceUID)
        assert detail is not None
        assert detail.row.tenant == "a"
        assert [version.number for version in detail.versions] == [1]
        assert not any("CT_B" in (event.actor, event.cause) for event in detail.events), "a sees nothing of b"
        by_c_store_and_by_stow = len(paths) + 1  # their File Meta Information differs
        assert len(list((tmp_path / "data" / "quarantine").glob("*.bin"))) == by_c_store_and_by_stow
        assert not received(hospitals.b)


@pytest.mark.parametrize("of_another", [False, True], ids=["ours", "of_another"])
def test_the_tenant_of_what_is_kept_outlives_a_kill_before_it_is_recorded(tmp_path: Path, *, of_another: bool) -> None:
    series, paths = series_of(tmp_path / "b")
    uid, data = series[0].StudyInstanceUID, tmp_path / "data"
    with two_hospitals(tmp_path) as hospitals:
        with vigie_of(hospitals, data) as vigie:
            os.kill(vigie.pid_of("dispatcher"), signal.SIGSTOP)
            assert not send(vigie, paths, called="VIGIE_B", calling="CT_B")
            vigie.kill_all()
        house = House(data=data)
        assert {file.tenant for file in house.files.pending()} == {"b"}
        if of_another:  # as a study that came before there were tenants: the door cannot know whose it is
            house.store.record([(read_instance(paths[0]), "CT_A")], now=datetime.now(UTC), tenant=Tenant(name="a"))
        with vigie_of(hospitals, data) as vigie:
            if of_another:
                wait_until(lambda: vigie.events("other_tenants_study"), what="the refusal")
                wait_until(lambda: not list(house.files.pending()), what="the inbox empty")
                assert len(list((data / "quarantine").glob("*.bin"))) == len(paths)
                assert "0x124" in send(vigie, paths[:1], called="VIGIE_B", calling="CT_B"), "now the door knows"
                assert not received(hospitals.b)
            else:
                wait_until(lambda: vigie.events("delivered"), what="the result of b")
                assert len(received(hospitals.b)) == 2
        assert house.store.tenant(uid) == ("a" if of_another else "b")
        assert of_another or not received(hospitals.a)
