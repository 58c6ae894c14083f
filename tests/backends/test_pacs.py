"""What a PACS is asked and what is fetched from it, with a real Orthanc, by C-FIND, QIDO-RS, C-MOVE and C-GET."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, JPEG2000Lossless, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association

from services.backends.pacs import Pacs, Retrieved, get, move, questions
from services.backends.pacs.retrieve import _to_the_end, never
from services.settings import Settings
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.pacs import SeriesAtPacs, StudyAtPacs
from tests.support.orthanc import Orthanc, orthanc
from tests.support.pacs import DAY, chest, one_pacs, picture, push, upload
from tests.support.peers import dcmqrscp, free_port
from tests.support.scu import open_door

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, list[list[Dataset]]]]:
    """An Orthanc that knows us, with a study of two CT series and a secondary capture, and one of another day."""
    folder = tmp_path_factory.mktemp("archive")
    first = chest(slices=5)
    second = chest(slices=3, study_uid=first[0].StudyInstanceUID, series_number=4)
    series = [first, second, picture(first[0])]
    with orthanc(folder / "pacs") as pacs:
        pacs.forward_to(free_port())
        for each in (*series, chest(slices=2, day=DAY + timedelta(days=1))):
            upload(pacs, each, folder)
        yield pacs, series


@pytest.fixture(params=["C-FIND", "QIDO-RS"])
def pacs(request: pytest.FixtureRequest, archive: tuple[Orthanc, object], tmp_path: Path) -> Pacs:
    address = archive[0].address if request.param == "C-FIND" else archive[0].dicomweb
    return one_pacs(tmp_path / "pacs.toml", address)


def test_a_study_and_its_series_are_told_with_how_many_instances_they_have(
    pacs: Pacs, archive: tuple[Orthanc, list[list[Dataset]]]
) -> None:
    series = archive[1]
    uid = str(series[0][0].StudyInstanceUID)
    with questions(pacs, Settings()) as asked:
        study = asked.study(uid)
        assert study == StudyAtPacs(study_instance_uid=uid, modalities=study.modalities, instances=9)  # type: ignore[union-attr]
        assert set(study.modalities) == {"CT", "OT"}  # type: ignore[union-attr]
        assert sorted(asked.series(uid), key=lambda one: -one.instances) == [
            SeriesAtPacs(series_instance_uid=str(each[0].SeriesInstanceUID), modality=each[0].Modality, instances=count)
            for each, count in zip(series, (5, 3, 1), strict=True)
        ]
        uids = [str(each[0].SeriesInstanceUID) for each in series]
        assert asked.sop_classes(uid, uids) == {CTImageStorage, SecondaryCaptureImageStorage}
        assert asked.study(generate_uid()) is None
        assert asked.series(generate_uid()) == []


def test_the_studies_of_a_day_and_a_modality_are_listed(
    pacs: Pacs, archive: tuple[Orthanc, list[list[Dataset]]]
) -> None:
    with questions(pacs, Settings()) as asked:
        assert [one.study_instance_uid for one in asked.studies(DAY, "CT")] == [archive[1][0][0].StudyInstanceUID]
        assert asked.studies(DAY, "MR") == []
        assert asked.studies(DAY - timedelta(days=1), "CT") == []


def test_series_that_a_dicomweb_server_does_not_count_are_listed_and_counted(
    archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.backends.pacs.qido_rs._number", lambda *_: None)
    uid = str(archive[1][0][0].StudyInstanceUID)
    with questions(one_pacs(tmp_path / "pacs.toml", archive[0].dicomweb), Settings()) as asked:
        assert asked.study(uid).instances is None  # type: ignore[union-attr]
        assert sorted(one.instances for one in asked.series(uid)) == [1, 3, 5]


def test_an_archive_that_counts_nothing_and_tells_little_is_asked_image_by_image(tmp_path: Path) -> None:
    first = chest(slices=5)
    second = chest(slices=3, study_uid=first[0].StudyInstanceUID, series_number=4)
    uid, series = str(first[0].StudyInstanceUID), [str(first[0].SeriesInstanceUID)]
    taken: list[evt.Event] = []

    def store(event: evt.Event) -> int:
        taken.append(event)
        return 0x0000

    with open_door(tmp_path / "data") as door, dcmqrscp(tmp_path / "archive", door.port) as address:
        for each in (first, second, picture(first[0])):
            push(address, each, tmp_path)
        pacs = one_pacs(tmp_path / "pacs.toml", address, fetch="get")
        with questions(pacs, Settings()) as asked:
            assert asked.study(uid) == StudyAtPacs(study_instance_uid=uid)
            assert {(one.modality, one.instances) for one in asked.series(uid)} == {("CT", 5), ("CT", 3), ("OT", 1)}
            assert [one.study_instance_uid for one in asked.studies(DAY, "CT")] == [uid]
            assert asked.sop_classes(uid, series) == frozenset()
        assert get(pacs, uid, series, sop_class_uids=(), store=store) == Retrieved(completed=5, failed=0)
        assert len(taken) == 5
        assert move(pacs, uid, series) == Retrieved(completed=5, failed=0)
        assert len(list(door.files.pending())) == 5


def test_many_matches_come_in_pages(
    archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.backends.pacs.qido_rs._PAGE", 2)
    with questions(one_pacs(tmp_path / "pacs.toml", archive[0].dicomweb), Settings()) as asked:
        assert len(asked.series(str(archive[1][0][0].StudyInstanceUID))) == 3


@pytest.mark.parametrize("address", ["NOBODY@127.0.0.1:{port}", "http://127.0.0.1:{port}/dicom-web"])
def test_a_pacs_that_is_away_is_unavailable(address: str, tmp_path: Path) -> None:
    away = one_pacs(tmp_path / "pacs.toml", address.format(port=free_port()))
    with pytest.raises(DestinationUnavailable), questions(away, Settings()) as asked:
        asked.study(generate_uid())


def test_a_root_without_the_service_refuses_or_knows_nothing(
    archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path
) -> None:
    elsewhere = one_pacs(tmp_path / "pacs.toml", f"{archive[0].rest}/system")
    with questions(elsewhere, Settings()) as asked:
        assert asked.study(generate_uid()) is None


def test_series_are_taken_on_the_association_of_the_request(
    archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path
) -> None:
    orthanc_, (first, second, other) = archive
    taken: list[tuple[str, str]] = []

    def store(event: evt.Event) -> int:
        taken.append((str(event.request.AffectedSOPInstanceUID), str(event.context.transfer_syntax)))  # type: ignore[union-attr]
        return 0x0000

    pacs = one_pacs(tmp_path / "pacs.toml", orthanc_.address, fetch="get")
    series = [str(each[0].SeriesInstanceUID) for each in (first, other)]
    classes = [CTImageStorage, SecondaryCaptureImageStorage]
    got = get(pacs, str(first[0].StudyInstanceUID), series, sop_class_uids=classes, store=store)
    assert (got.completed, got.failed) == (6, 0)
    assert {uid for uid, _ in taken} == {each.SOPInstanceUID for each in (*first, *other)}
    assert not {each.SOPInstanceUID for each in second} & {uid for uid, _ in taken}


def test_compressed_images_are_taken_as_they_are(tmp_path: Path) -> None:
    taken: list[str] = []

    def store(event: evt.Event) -> int:
        taken.append(str(event.context.transfer_syntax))
        return 0x0000

    series = chest(slices=2, rows=64, columns=64)
    for one in series:
        one.compress(JPEG2000Lossless)
    with orthanc(tmp_path / "pacs") as running:
        running.forward_to(free_port())
        upload(running, series, tmp_path)
        pacs = one_pacs(tmp_path / "pacs.toml", running.address, fetch="get")
        uids = str(series[0].StudyInstanceUID), [str(series[0].SeriesInstanceUID)]
        got = get(pacs, *uids, sop_class_uids=[CTImageStorage], store=store)
    assert (got.completed, got.failed) == (2, 0)
    assert taken == [JPEG2000Lossless] * 2


def test_what_we_could_not_keep_is_not_taken(archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path) -> None:
    orthanc_, (first, *_) = archive
    pacs = one_pacs(tmp_path / "pacs.toml", orthanc_.address, fetch="get")
    uids = str(first[0].StudyInstanceUID), [str(first[0].SeriesInstanceUID)]
    with pytest.raises(DestinationRefused, match="status 0x"):
        get(pacs, *uids, sop_class_uids=[CTImageStorage], store=lambda _: 0xA700)


@pytest.mark.parametrize(
    ("counted", "status", "completed", "failed"),
    [
        ({"NumberOfCompletedSuboperations": 4, "NumberOfWarningSuboperations": 1}, 0x0000, 10, 0),
        ({"NumberOfCompletedSuboperations": 4, "NumberOfFailedSuboperations": 3}, 0xB000, 8, 6),
        ({}, 0x0000, None, 0),
        ({}, 0xB000, None, 2),
    ],
)
def test_what_came_is_added_up_and_a_pacs_that_does_not_count_is_believed(
    counted: dict[str, int], status: int, completed: int | None, failed: int, tmp_path: Path
) -> None:
    last = Dataset()
    for keyword, value in {**counted, "Status": status}.items():
        setattr(last, keyword, value)
    pacs = one_pacs(tmp_path / "pacs.toml", "PACS@host:104")
    two = [iter([(last, None)]), iter([(last, None)])]
    retrieved = _to_the_end(two, Association(AE(), "requestor"), pacs, never)
    assert (retrieved.completed, retrieved.failed) == (completed, failed)


def test_fetching_can_be_stopped(archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path) -> None:
    orthanc_, (first, *_) = archive
    pacs = one_pacs(tmp_path / "pacs.toml", orthanc_.address, fetch="get")
    taken: list[object] = []

    def store(event: evt.Event) -> int:
        taken.append(event)
        return 0x0000

    uids = str(first[0].StudyInstanceUID), [str(first[0].SeriesInstanceUID)] * 5
    with pytest.raises(DestinationUnavailable, match="was stopped"):
        get(pacs, *uids, sop_class_uids=[CTImageStorage], store=store, stopped=lambda: len(taken) >= 2)
    assert 2 <= len(taken) < 5 * len(first)


def test_series_are_sent_to_our_door(archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path) -> None:
    orthanc_, (first, second, _) = archive
    pacs = one_pacs(tmp_path / "pacs.toml", orthanc_.address, fetch="move")
    with open_door(tmp_path / "data") as door:
        orthanc_.forward_to(door.port)
        moved = move(pacs, str(first[0].StudyInstanceUID), [str(second[0].SeriesInstanceUID)])
        assert (moved.completed, moved.failed) == (3, 0)
        assert len(list(door.files.pending())) == 3


def test_a_pacs_that_does_not_know_us_says_so_and_what_to_do(
    archive: tuple[Orthanc, list[list[Dataset]]], tmp_path: Path
) -> None:
    orthanc_, (first, *_) = archive
    httpx.delete(f"{orthanc_.rest}/modalities/vigie", timeout=30)
    pacs = one_pacs(tmp_path / "pacs.toml", orthanc_.address, fetch="move")
    with pytest.raises((DestinationRefused, DestinationUnavailable), match=re.escape(orthanc_.address)):
        move(pacs, str(first[0].StudyInstanceUID), [str(first[0].SeriesInstanceUID)])
