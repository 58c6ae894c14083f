"""The whole API of dicomweb-client against `vigie standalone`, on a sample study and on what became of it."""

import inspect
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from services.settings import REPOSITORY
from tests.support.peers import listens, wait_until
from tests.support.standalone import standalone

pytestmark = pytest.mark.system

SAMPLE = REPOSITORY / "dicom_samples" / "phantom_positive"
PUBLIC = {name for name, _ in inspect.getmembers(DICOMwebClient, callable) if not name.startswith("_")}
AS_STORED = (("application/dicom", "*"),)
DECODED = (("application/dicom", ExplicitVRLittleEndian),)
JPEG = ("image/jpeg",)


class Recorder:
    """The client, and which of its methods were called."""

    def __init__(self, client: DICOMwebClient) -> None:
        self._client = client
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._client, name)


def values(found: list[dict[str, dict]], tag: str) -> list[object]:
    return [one[tag]["Value"][0] for one in found]


def picture(content: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(content)).size


def test_every_public_method_of_the_client_is_answered(tmp_path: Path) -> None:
    sources = sorted((dcmread(path) for path in SAMPLE.glob("*.dcm")), key=lambda one: one.InstanceNumber)[20:36]
    study, series = sources[0].StudyInstanceUID, sources[0].SeriesInstanceUID
    first = (study, series, sources[0].SOPInstanceUID)
    with standalone(tmp_path / "data", fake_segmenter_s=0) as vigie:
        wait_until(lambda: listens(vigie.http_port), what="the desk listening", timeout_s=60)
        client = Recorder(DICOMwebClient(f"http://127.0.0.1:{vigie.http_port}/dicomweb"))
        client.set_http_retry_params(retry=False)
        client.set_chunk_size(100_000)
        _store(client, sources)
        wait_until(lambda: len(client.search_for_series(study)) >= 2, what="the result of the study", timeout_s=60)
        _search(client, sources)
        _retrieve(client, sources)
        _metadata_and_bulk_data(client, sources)
        _frames(client, sources)
        _pictures(client, sources)
        _results(client, study)
        _nothing_is_deleted(client, first)
        assert client.lookup_keyword("00080018") == "SOPInstanceUID"
        assert client.lookup_tag("SOPInstanceUID") == "00080018"
    assert client.called == PUBLIC


def _store(client: Recorder, sources: list[Dataset]) -> None:
    study = sources[0].StudyInstanceUID
    answer = client.store_instances(sources[:2])
    assert [one.ReferencedSOPInstanceUID for one in answer.ReferencedSOPSequence] == [
        one.SOPInstanceUID for one in sources[:2]
    ]
    answer = client.store_instances(sources[2:], study_instance_uid=study)
    assert len(answer.ReferencedSOPSequence) == len(sources) - 2
    assert "FailedSOPSequence" not in answer


def _search(client: Recorder, sources: list[Dataset]) -> None:
    one = sources[0]
    study, series = one.StudyInstanceUID, one.SeriesInstanceUID
    filters = {"PatientID": one.PatientID}
    (found,) = client.search_for_studies(search_filters=filters, fields=["StudyDescription"], limit=5, offset=0)
    assert found["0020000D"]["Value"] == [study]
    name = str(one.PatientName)[:-1]
    assert values(client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": name}), "0020000D") == [
        study
    ]
    assert client.search_for_studies(get_remaining=True, limit=1) == client.search_for_studies()
    assert series in values(client.search_for_series(study), "0020000E")
    assert values(client.search_for_series(search_filters={"Modality": "CT"}), "0020000E") == [series]
    for found in (client.search_for_instances(study, series), client.search_for_instances(search_filters=filters)):
        assert {each.SOPInstanceUID for each in sources} <= set(values(found, "00080018"))


def _retrieve(client: Recorder, sources: list[Dataset]) -> None:
    study, series = sources[0].StudyInstanceUID, sources[0].SeriesInstanceUID
    everything = [each.SOPInstanceUID for each in client.retrieve_study(study)]
    assert everything[: len(sources)] == [each.SOPInstanceUID for each in sources]
    assert [each.SOPInstanceUID for each in client.iter_study(study)] == everything
    assert client.retrieve_series(study, series, media_types=AS_STORED) == sources
    assert list(client.iter_series(study, series, media_types=AS_STORED)) == sources
    one = sources[0]
    decoded = client.retrieve_instance(study, series, one.SOPInstanceUID, media_types=DECODED)
    assert decoded.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(decoded.pixel_array, one.pixel_array)


def _metadata_and_bulk_data(client: Recorder, sources: list[Dataset]) -> None:
    one = sources[0]
    study, series = one.StudyInstanceUID, one.SeriesInstanceUID
    alone = client.retrieve_instance_metadata(study, series, one.SOPInstanceUID)
    assert alone == client.retrieve_series_metadata(study, series)[0]
    assert alone in client.retrieve_study_metadata(study)
    where = alone["7FE00010"]["BulkDataURI"]
    assert client.retrieve_bulkdata(where) == list(client.iter_bulkdata(where)) == [one.pixel_array.tobytes()]


def _frames(client: Recorder, sources: list[Dataset]) -> None:
    one = sources[0]
    uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    assert client.retrieve_instance_frames(*uids, [1]) == list(client.iter_instance_frames(*uids, [1]))
    (frame,) = client.retrieve_instance_frames(*uids, [1])
    assert np.array_equal(np.frombuffer(frame, one.pixel_array.dtype).reshape(one.Rows, one.Columns), one.pixel_array)


def _pictures(client: Recorder, sources: list[Dataset]) -> None:
    one = sources[0]
    study, series, size = one.StudyInstanceUID, one.SeriesInstanceUID, (one.Columns, one.Rows)
    uids = study, series, one.SOPInstanceUID
    assert picture(client.retrieve_series_rendered(study, series, media_types=JPEG)) == size
    assert picture(client.retrieve_instance_rendered(*uids, media_types=JPEG)) == size
    assert picture(client.retrieve_instance_frames_rendered(*uids, [1], media_types=("image/png",))) == size


def _results(client: Recorder, study: str) -> None:
    """What Vigie wrote is there as the images are, and reads as DICOM."""
    written = [one for one in client.search_for_series(study) if one["00080060"]["Value"] != ["CT"]]
    assert values(written, "00080060") == ["SEG", "SR"]
    for one in written:
        (result,) = client.retrieve_series(study, one["0020000E"]["Value"][0])
        metadata = client.retrieve_instance_metadata(study, result.SeriesInstanceUID, result.SOPInstanceUID)
        assert metadata["00080016"]["Value"] == [result.SOPClassUID]
        assert result.StudyInstanceUID == study


def _nothing_is_deleted(client: Recorder, first: tuple[str, str, str]) -> None:
    deletions = (client.delete_study, first[:1]), (client.delete_series, first[:2]), (client.delete_instance, first)
    for delete, uids in deletions:
        with pytest.raises(requests.HTTPError, match="405"):
            delete(*uids)
    assert client.retrieve_instance(*first).SOPInstanceUID == first[2]
