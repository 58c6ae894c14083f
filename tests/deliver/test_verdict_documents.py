"""Verdicts become a document that a real `deliver` writes and sends: to Orthanc and back, a folder, one who refuses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import Comprehensive3DSRStorage

from services.deliver.documenting import Documenting
from services.triage.result import DeliveryState
from services.triage.verdict import Answer, MarkedLesion, RejectReason, Shown, Verdict
from services.triage.verdict_document import OwedDocument
from tests.support.delivering import delivering
from tests.support.house import House, chest_with_ball
from tests.support.orthanc import Orthanc, orthanc
from tests.support.peers import free_port, wait_until
from tests.support.validators import dciodvfy, dsrdump

DESTINATIONS = """
[pacs]
address = "{pacs}"
verdicts = true
[pacs-by-web]
address = "{web}"
verdicts = true
[folder]
address = "{folder}/got"
verdicts = true
[full]
address = "FULL@127.0.0.1:{port}"
objects = ["KOS"]
verdicts = true
[results-only]
address = "{folder}/results"
"""


@contextmanager
def refusing(port: int) -> Iterator[None]:
    """A store that takes no report: 0xA900 (PS3.4 B.2.3)."""
    ae = AE(ae_title="FULL")
    ae.add_supported_context(Comprehensive3DSRStorage)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0xA900)])
    try:
        yield
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc") / "pacs") as running:
        yield running


@pytest.fixture
def house(tmp_path: Path, pacs: Orthanc, monkeypatch: pytest.MonkeyPatch) -> House:
    port = free_port()
    path = tmp_path / "destinations.toml"
    path.write_text(DESTINATIONS.format(folder=tmp_path, pacs=pacs.address, web=pacs.dicomweb, port=port))
    monkeypatch.setenv("VIGIE_VERDICT_QUIET_S", "0.5")
    with refusing(port):
        yield House(data=tmp_path / "data", destinations=path)


def verdict(house: House, uid: str, **told: object) -> Verdict:
    result = house.result(uid)
    first = Verdict(
        verdict_id=uuid4().hex,
        study_instance_uid=uid,
        result_id=result.result_id,
        answer=Answer.ACCEPT,
        reader="Dr A",
        given_at=datetime.now(UTC),
        shown=Shown(page="study"),
        tracking_uid=result.lesions[0].tracking_uid,
    )
    return replace(first, **told)  # type: ignore[arg-type]


def states(house: House, uid: str) -> list[dict[str, DeliveryState]]:
    """Of the deliveries of each document, oldest first, by destination."""
    detail = house.store.board.study(uid)
    return [{each.destination: each.state for each in one.deliveries} for one in detail.verdict_documents]


def settled(house: House, uid: str, documents: int) -> bool:
    found = states(house, uid)
    return len(found) == documents and all(DeliveryState.PENDING not in each.values() for each in found)


def told(data_set: Dataset) -> list[tuple[str, ...]]:
    """Name, and value where it is coded, of each item, in its order."""
    found: list[tuple[str, ...]] = []
    for item in data_set.get("ContentSequence", []):
        value = item.ConceptCodeSequence[0].CodeValue if "ConceptCodeSequence" in item else ""
        found += [(item.ConceptNameCodeSequence[0].CodeValue, value), *told(item)]
    return found


def test_verdicts_go_to_the_archive_and_are_read_back_as_they_were_frozen(house: House, pacs: Orthanc) -> None:
    uid = house.freeze(chest_with_ball())
    first = verdict(house, uid, answer=Answer.REJECT, reason=RejectReason.VESSEL, comment="hilum")
    added = verdict(house, uid, answer=Answer.ADD, tracking_uid="2.25.9", lesion=MarkedLesion(long_axis_mm=5.0))
    for each in (first, added):
        house.store.verdicts.give(each)
    with delivering(house):
        wait_until(lambda: settled(house, uid, 1), what="the document delivered")
        taken_back = {"answer": Answer.UNDO, "given_at": datetime.now(UTC)}
        for each in (first, added):
            house.store.verdicts.give(
                verdict(house, uid, tracking_uid=each.tracking_uid, undoes=each.verdict_id, **taken_back)
            )
        house.store.verdict_documents.finish(uid, "Dr A", authenticated=False, now=datetime.now(UTC))
        wait_until(lambda: settled(house, uid, 2), what="its successor delivered")
    sent = dict.fromkeys(("pacs", "pacs-by-web", "folder"), DeliveryState.SENT)
    # what is refused is given up, and holds nothing else up
    assert states(house, uid) == [{**sent, "full": DeliveryState.GIVEN_UP}] * 2
    documents = house.store.verdict_documents.of_study(uid)
    frozen = [dcmread(house.files.result_path(one.sha256)) for one in documents]
    web = DICOMwebClient(url=pacs.dicomweb)
    for one, as_frozen in zip(documents, frozen, strict=True):
        back = web.retrieve_instance(uid, one.series_instance_uid, one.sop_instance_uid)
        assert told(back) == told(as_frozen)
        assert back.StudyInstanceUID == uid
        path = house.files.result_path(one.sha256)
        assert dciodvfy(path) + dsrdump(path) == []
    assert ("answer", "reject") in told(frozen[0])
    assert ("answer", "add") in told(frozen[0])
    assert ("answer", "none") in told(frozen[1])
    (before,) = frozen[1].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert before.ReferencedSOPInstanceUID == frozen[0].SOPInstanceUID
    got = {path.name for path in (house.data.parent / "got").rglob("*.dcm")}
    assert len(got & {f"{one.sop_instance_uid}.dcm" for one in documents}) == 2
    assert not [
        path for path in (house.data.parent / "results").rglob("*") if documents[0].sop_instance_uid in path.name
    ]


def test_the_ais_own_objects_are_untouched(house: House) -> None:
    uid = house.freeze(chest_with_ball())
    before = [(one.sop_instance_uid, one.sha256) for one in house.result(uid).objects]
    house.store.verdicts.give(verdict(house, uid))
    assert turn(house) == 1
    assert [(one.sop_instance_uid, one.sha256) for one in house.result(uid).objects] == before
    report = next(one for one in house.result(uid).objects if one.modality == "SR")
    (written,) = house.store.verdict_documents.of_study(uid)
    document = dcmread(house.files.result_path(written.sha256))
    assert report.sop_instance_uid in str(document.ContentSequence)
    assert (document.PatientName, document.PatientID) == ("Phantom^Test", "PHANTOM-1")


def turn(house: House, quiet_s: float = 0) -> int:
    writer = Documenting(
        store=house.store,
        files=house.files,
        destinations=(),
        quiet_s=quiet_s,
        organization="St Elsewhere",
        stop=threading.Event(),
    )
    return writer.turn(datetime.now(UTC) + timedelta(seconds=1))


def test_a_kill_before_the_commit_loses_no_verdict(house: House) -> None:
    uid = house.freeze(chest_with_ball())
    house.store.verdicts.give(verdict(house, uid))
    dies = (
        "import os; from services.backends.files import FolderStudyFiles as F; keep = F.keep_result\n"
        "F.keep_result = lambda self, content: (keep(self, content), os._exit(9))"
    )
    with delivering(house, fault=dies) as process:
        assert process.wait(30) == 9
    assert house.store.verdict_documents.of_study(uid) == ()
    with delivering(house):
        wait_until(lambda: settled(house, uid, 1), what="the document")


def test_verified_is_what_a_known_reader_said_they_had_finished(house: House) -> None:
    uid = house.freeze(chest_with_ball())
    house.store.verdicts.give(verdict(house, uid))
    assert turn(house, quiet_s=3600) == 0
    house.store.verdict_documents.finish(uid, "Dr A", authenticated=True, now=datetime.now(UTC))
    assert turn(house, quiet_s=3600) == 1
    (written,) = house.store.verdict_documents.of_study(uid)
    document = dcmread(BytesIO(house.files.result_path(written.sha256).read_bytes()))
    assert (written.verified, document.VerificationFlag) == (True, "VERIFIED")
    assert document.VerifyingObserverSequence[0].VerifyingOrganization == "St Elsewhere"


def test_a_study_whose_document_cannot_be_written_holds_no_other_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = (house.freeze(chest_with_ball()) for _ in range(2))
    for uid in (broken, whole):
        house.store.verdicts.give(verdict(house, uid))
    subject = Documenting._subject

    def odd(self: Documenting, owed: OwedDocument, *told: object) -> object:
        if owed.study_instance_uid == broken:
            raise LookupError("a fault that nobody foresaw")
        return subject(self, owed, *told)

    monkeypatch.setattr(Documenting, "_subject", odd)
    assert turn(house) == 1
    assert [len(house.store.verdict_documents.of_study(uid)) for uid in (broken, whole)] == [0, 1]
