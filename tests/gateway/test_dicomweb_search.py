"""QIDO-RS (PS3.18 10.6) of a real desk, asked by dicomweb-client and by hand."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from dicomweb_client import DICOMwebClient
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from services.gateway.app import create_app
from services.gateway.dicomweb.levels import Level
from services.gateway.dicomweb.query import parse
from services.gateway.dicomweb.resource import Resource
from services.gateway.dicomweb.stored import StoredFile
from services.gateway.problems import ProblemError
from services.settings import Settings
from tests.support.ct import ct_series
from tests.support.shelf import RunningDesk, Shelf, ct_with, part10_bytes

# by a letter: the analysed CT, a CT of another patient, a Japanese MR
ANALYSED = ct_with(PatientName="Müller^Jörg", StudyDate="20240310", StudyTime="093000", SeriesNumber=2)
OTHER = ct_series(
    slices=3,
    PatientID="OTHER-2",
    IssuerOfPatientID="HOSPITAL-B",
    PatientName="Doe^Jane^^Dr",
    StudyDate="20240201",
    StudyTime="101530.25",
    AccessionNumber="B*2",
    StudyID="77",
    ReferringPhysicianName="House^Gregory",
    InstitutionName="Princeton",
    series_number=5,
)
JAPANESE = ct_series(
    slices=2,
    modality="MR",
    SpecificCharacterSet=["", "ISO 2022 IR 87"],
    PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
    PatientID="JP-3",
    StudyDate="20231224",
    RequestAttributesSequence=[Dataset()],
    series_number=9,
)
JAPANESE[0].RequestAttributesSequence[0].ScheduledProcedureStepID = "STEP-9"
UID = {letter: series[0].StudyInstanceUID for letter, series in zip("AOJ", (ANALYSED, OTHER, JAPANESE), strict=True)}
LETTER = {uid: letter for letter, uid in UID.items()}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("search"))
    shelf.analysed(ANALYSED)
    for series in (OTHER, JAPANESE):
        shelf.keep(*map(part10_bytes, series))
    return shelf


@pytest.fixture(scope="module")
def desk(shelf: Shelf) -> Iterator[RunningDesk]:
    with shelf.served(log=shelf.folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def client(desk: RunningDesk) -> DICOMwebClient:
    return DICOMwebClient(desk.dicomweb)


def values(found: list[dict[str, dict]], tag: str) -> list[object]:
    return [one[tag]["Value"][0] for one in found]


def test_a_patient_id_comes_with_its_issuer_and_can_be_searched_with_it(client: DICOMwebClient) -> None:
    (found,) = client.search_for_studies(search_filters={"IssuerOfPatientID": "HOSPITAL-B"})
    assert (found["00100020"]["Value"], found["00100021"]["Value"]) == (["OTHER-2"], ["HOSPITAL-B"])
    assert client.search_for_studies(search_filters={"PatientID": "OTHER-2", "IssuerOfPatientID": "HOSPITAL-A"}) == []


def test_studies_carry_every_required_attribute(desk: RunningDesk, client: DICOMwebClient) -> None:
    found = client.search_for_studies()
    assert [LETTER[uid] for uid in values(found, "0020000D")] == ["A", "O", "J"]
    study = Dataset.from_json(found[0])
    assert (study.PatientName, study.PatientID, study.PatientSex) == ("Müller^Jörg", "PHANTOM-1", "O")
    assert (study.StudyDate, study.StudyTime, study.StudyID, study.AccessionNumber) == (
        "20240310",
        "093000",
        "1",
        "A0001",
    )
    assert (study.NumberOfStudyRelatedSeries, study.NumberOfStudyRelatedInstances) == (3, 11)
    assert study.ModalitiesInStudy == ["CT", "SEG", "SR"]
    assert study.InstanceAvailability == "ONLINE"
    assert study.SpecificCharacterSet == "ISO_IR 192"
    assert study.RetrieveURL == f"{desk.dicomweb}/studies/{UID['A']}"
    assert "ReferringPhysicianName" in study
    assert Dataset.from_json(found[1]).ReferringPhysicianName == "House^Gregory"


def test_series_and_instances_of_sources_and_results_are_found(desk: RunningDesk, client: DICOMwebClient) -> None:
    series = [Dataset.from_json(one) for one in client.search_for_series(UID["A"])]
    assert [(one.Modality, one.SeriesNumber, one.NumberOfSeriesRelatedInstances) for one in series] == [
        ("CT", 2, 9),
        ("SEG", 91000, 1),
        ("SR", 92000, 1),
    ]
    assert series[1].SeriesDescription.startswith("Vigie SEG")
    assert series[1].RetrieveURL == f"{desk.dicomweb}/studies/{UID['A']}/series/{series[1].SeriesInstanceUID}"
    assert "PatientName" not in series[0]
    assert len(client.search_for_series()) == 5
    assert len(client.search_for_instances(UID["A"])) == 11
    instances = client.search_for_instances(UID["A"], series[0].SeriesInstanceUID)
    first = Dataset.from_json(instances[0])
    assert (first.SOPClassUID, first.InstanceNumber, first.Rows, first.BitsAllocated) == (
        "1.2.840.10008.5.1.4.1.1.2",
        1,
        32,
        16,
    )
    assert first.AvailableTransferSyntaxUID == "1.2.840.10008.1.2.1"
    everywhere = client.search_for_instances()
    assert len(everywhere) == 16
    assert Dataset.from_json(everywhere[0]).PatientName == "Müller^Jörg"


@pytest.mark.parametrize(
    ("filters", "letters"),
    [
        ({"PatientName": "müller*"}, "A"),
        ({"PatientName": "Müller^J?rg"}, "A"),
        ({"PatientName": "M*"}, "A"),
        ({"PatientName": "doe^jane^^dr^"}, "O"),
        ({"PatientName": "Doe^Jane"}, ""),
        ({"PatientName": "*Jane*"}, "O"),
        ({"PatientName": "山田^*"}, "J"),
        ({"PatientName": "Yamada^Tarou=山田^太郎"}, "J"),
        ({"PatientName": "[DM]*"}, ""),
        ({"00100020": "OTHER-2"}, "O"),
        ({"PatientID": "other-2"}, ""),
        ({"PatientID": "*-?"}, "AOJ"),
        ({"PatientID": "OTHER_2"}, ""),
        ({"PatientID": "*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*!"}, ""),
        ({"AccessionNumber": "B*2"}, "O"),
        ({"StudyID": "77"}, "O"),
        ({"StudyDescription": "CT*"}, "AOJ"),
        ({"StudyDate": "20240201"}, "O"),
        ({"StudyDate": "20240101-20240301"}, "O"),
        ({"StudyDate": "20240201-"}, "AO"),
        ({"StudyDate": "-20240101"}, "J"),
        ({"StudyDate": "*"}, "AOJ"),
        ({"StudyTime": "0900-1000"}, "A"),
        ({"StudyTime": "0930-0930"}, "A"),
        ({"StudyTime": "101530.2-101530.250"}, "O"),
        ({"StudyTime": "10:15:30.25"}, "O"),
        ({"StudyTime": "101530.250000"}, "O"),
        ({"StudyInstanceUID": f"{UID['A']},{UID['J']}"}, "AJ"),
        ({"StudyInstanceUID": f"{UID['A']}\\{UID['O']}"}, "AO"),
        ({"StudyInstanceUID": "1.2.3"}, ""),
        ({"ModalitiesInStudy": "SEG"}, "A"),
        ({"ModalitiesInStudy": "M?"}, "J"),
        ({"ModalitiesInStudy": "MR,SR"}, "AJ"),
        ({"ModalitiesInStudy": "S"}, ""),
        ({"ReferringPhysicianName": "house*"}, "O"),
        ({"InstitutionName": "Princeton"}, "O"),
        ({"NumberOfStudyRelatedInstances": "3"}, "O"),
        ({"PatientName": "", "StudyDate": "20240201-", "PatientID": "PHANTOM-1"}, "A"),
    ],
)
def test_studies_are_matched(client: DICOMwebClient, filters: dict[str, str], letters: str) -> None:
    found = client.search_for_studies(search_filters=filters)
    assert "".join(LETTER[uid] for uid in values(found, "0020000D")) == letters


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"Modality": "CT"}, 2),
        ({"Modality": "SR"}, 1),
        ({"SeriesNumber": "05"}, 1),
        ({"SeriesNumber": "92000"}, 1),
        ({"SeriesDescription": "Vigie*"}, 2),
        ({"SeriesInstanceUID": OTHER[0].SeriesInstanceUID}, 1),
        ({"PatientID": "OTHER-2", "Modality": "MR"}, 0),
        ({"RequestAttributesSequence.ScheduledProcedureStepID": "STEP-9"}, 1),
        ({"00400275.00400009": "STEP-*"}, 1),
    ],
)
def test_series_are_matched_by_attributes_of_their_own_and_of_their_study(
    client: DICOMwebClient, filters: dict[str, str], count: int
) -> None:
    assert len(client.search_for_series(search_filters=filters)) == count


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, 12),
        ({"SOPInstanceUID": f"{OTHER[0].SOPInstanceUID},{JAPANESE[1].SOPInstanceUID}"}, 2),
        ({"InstanceNumber": "2", "Modality": "CT"}, 2),
        ({"PatientID": "JP-3"}, 2),
        ({"00080060": "SEG"}, 1),
    ],
)
def test_instances_are_matched_by_attributes_of_all_levels(
    client: DICOMwebClient, filters: dict[str, str], count: int
) -> None:
    assert len(client.search_for_instances(search_filters=filters)) == count


def test_pages_join_and_say_whether_more_remain(desk: RunningDesk, client: DICOMwebClient) -> None:
    pages = [httpx.get(f"{desk.dicomweb}/instances", params={"limit": 6, "offset": offset}) for offset in (0, 6, 12)]
    assert [len(page.json()) for page in pages] == [6, 6, 4]
    assert [page.headers.get("warning", "")[:10] for page in pages] == ["299 vigie ", "299 vigie ", ""]
    joined = [uid for page in pages for uid in values(page.json(), "00080018")]
    assert joined == values(client.search_for_instances(), "00080018")
    assert client.search_for_studies(limit=1, get_remaining=True) == client.search_for_studies()
    assert httpx.get(f"{desk.dicomweb}/studies?limit=0").json() == []


def test_the_caller_is_told_addresses_that_it_can_reach(desk: RunningDesk) -> None:
    """Some clients leave the port out of Host, a proxy may have none: only of the first do we know better."""
    for headers, base in (
        ({}, desk.url),
        ({"Host": "127.0.0.1"}, desk.url),
        ({"Host": "localhost", "X-Forwarded-For": "10.0.0.9"}, "http://localhost"),
    ):
        (study,) = httpx.get(f"{desk.dicomweb}/studies?PatientID=JP-3", headers=headers).json()
        assert study["00081190"]["Value"] == [f"{base}/dicomweb/studies/{UID['J']}"]


def test_includefield_adds_what_it_names_or_all_of_the_level(client: DICOMwebClient) -> None:
    (plain,) = client.search_for_studies(search_filters={"PatientID": "OTHER-2"})
    assert "00080080" not in plain
    assert "00101010" not in plain
    filters = {"PatientID": "OTHER-2"}
    (some,) = client.search_for_studies(fields=["InstitutionName", "00101010"], search_filters=filters)
    assert (some["00080080"]["Value"], some["00101010"]["Value"]) == (["Princeton"], ["064Y"])
    (everything,) = client.search_for_studies(fields=["all"], search_filters=filters)
    assert everything["00101010"]["Value"] == ["064Y"]
    assert "00080018" not in everything
    (series,) = client.search_for_series(fields=["all"], search_filters=filters)
    assert series["00080080"]["Value"] == ["Princeton"]
    assert "00080018" not in series
    instances = client.search_for_instances(fields=["all"], search_filters=filters)
    assert instances[0]["00200032"]["Value"] == [-100.0, -120.0, 40.0]
    assert instances[0]["7FE00010"] == {"vr": "OW"}


def test_names_of_three_writings_come_back_in_their_groups(client: DICOMwebClient) -> None:
    (study,) = client.search_for_studies(search_filters={"PatientID": "JP-3"})
    assert study["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("mueller", "A"),
        ("Muller", "A"),
        ("Jorg Miller", "A"),
        ("jor", "A"),
        ("Yamada", "J"),
        ("やまだ", "J"),
        ("tarou^yamada", "J"),
        ("Doe", "O"),
        ("jain", "O"),
        ("*oe^J*", "O"),  # whatever matches literally does so fuzzily
        ("Doe John", ""),
        ("Smith", ""),
        ("", "AOJ"),
        ("*", "AOJ"),
    ],
)
def test_names_that_are_spelled_or_sound_alike_match_fuzzily(desk: RunningDesk, name: str, letters: str) -> None:
    answer = httpx.get(f"{desk.dicomweb}/studies", params={"PatientName": name, "fuzzymatching": "true"})
    assert "".join(LETTER[uid] for uid in values(answer.json(), "0020000D")) == letters
    assert "warning" not in answer.headers


def test_names_that_only_files_hold_match_fuzzily_too(client: DICOMwebClient) -> None:
    filters = {"ReferringPhysicianName": "Gregori"}
    assert client.search_for_studies(search_filters=filters) == []
    assert len(client.search_for_studies(search_filters=filters, fuzzymatching=True)) == 1


def test_what_ohif_asks_for_is_answered(desk: RunningDesk) -> None:
    query = (
        "limit=101&offset=0&fuzzymatching=false&includefield=00081030,00080060&ModalitiesInStudy=CT&00100020=*OTHER*"
    )
    (study,) = httpx.get(f"{desk.dicomweb}/studies?{query}").json()
    assert {"00080061", "00201206", "00201208", "00081030"} <= set(study)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/studies?NoSuchKeyword=1", "unknown_attribute"),
        ("/studies?includefield=NoSuchKeyword", "unknown_attribute"),
        ("/studies?PatientID.=1", "unknown_attribute"),
        ("/studies?Modality=CT", "lower_level_key"),
        ("/series?SOPInstanceUID=1.2", "lower_level_key"),
        ("/studies?PatientID=a&00100020=b", "repeated_key"),
        ("/studies?PatientID=a%00", "invalid_value"),
        ("/studies?limit=-1", "invalid_page"),
        ("/studies?offset=x", "invalid_page"),
        ("/studies/abc/series", "invalid_uid"),
    ],
)
def test_a_query_that_cannot_be_understood_is_400_and_echoes_nothing(desk: RunningDesk, path: str, code: str) -> None:
    answer = httpx.get(desk.dicomweb + path, headers={"Accept": "application/dicom+json, text/html"})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "NoSuchKeyword" not in answer.text


@given(st.sampled_from(Level), st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3))
def test_no_query_is_a_fault(level: Level, parameters: list[tuple[str, str]]) -> None:
    with suppress(ProblemError):
        parse(level, parameters).narrowed(Resource())


def test_another_media_type_is_406_and_names_what_there_is(desk: RunningDesk) -> None:
    answer = httpx.get(
        f"{desk.dicomweb}/studies", headers={"Accept": 'multipart/related; type="application/dicom+xml"'}
    )
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert "application/dicom+json" in answer.json()["way_out"]
    json = httpx.get(f"{desk.dicomweb}/studies", headers={"Accept": "application/json"})
    assert json.headers["content-type"] == "application/json"


def test_one_file_is_read_for_each_match_and_none_for_the_rest(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    really_open = StoredFile.open

    def open_and_count(self: StoredFile) -> object:
        opened.append(self.instance.study_instance_uid)
        return really_open(self)

    monkeypatch.setattr(StoredFile, "open", open_and_count)
    app = create_app(Settings(data=shelf.folder), store=shelf.store, files=shelf.files)
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    assert len(client.get("/dicomweb/studies?PatientID=OTHER-2").json()) == 1
    assert opened == [UID["O"]]
    assert len(client.get("/dicomweb/instances?limit=3&Modality=CT").json()) == 3
    assert len(opened) == 4


def test_a_file_that_is_gone_does_not_hide_its_study(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    kept, _ = shelf.keep(part10_bytes(OTHER[0]), part10_bytes(JAPANESE[0]))
    shelf.files.path(kept.digest).unlink()
    app = create_app(Settings(data=tmp_path), store=shelf.store, files=shelf.files)
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    found = client.get("/dicomweb/studies").json()
    assert values(found, "0020000D") == [UID["O"], UID["J"]]
    assert client.get(f"/dicomweb/studies/{UID['O']}").json()["code"] == "file_missing"


def test_no_patient_is_named_in_the_log(shelf: Shelf, desk: RunningDesk) -> None:
    httpx.get(f"{desk.dicomweb}/studies", params={"PatientName": "Müller*"})
    assert "ller" not in (shelf.folder / "log").read_text()
