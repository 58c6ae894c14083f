"""Images that do not belong to the shipped model: told before it looks. Images that do: no word of caution."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from services.backends.inference.catalogue import Catalogue
from services.cli.document import study_report
from services.settings import REPOSITORY
from services.triage.finding import Finding, Outcome
from services.triage.model import Model
from services.triage.routing import plan_for_model
from services.triage.study import by_series
from services.triage.volume import Segmentation, Volume
from services.worker import metrics
from services.worker.offline import Written, analyse_study, scan
from tests.support.bundle import bright_spot_bundle
from tests.support.ct import ct_series, write_series
from tests.support.reports import comment

SAMPLES = REPOSITORY / "dicom_samples"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


class Nothing:
    """A segmenter that counts how often it is asked, and finds nothing."""

    asked = 0

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        self.asked += 1
        nothing = np.zeros(volume.voxels.shape, dtype=np.uint8)
        return Segmentation(labels=nothing, tumour_probability=nothing, timings_s={})


def analysed(paths: list[Path], output: Path, model: Model, segmenter: Nothing) -> tuple[str, Written]:
    found = scan(paths, lambda count: None)
    (uid,) = found.studies
    series = by_series(tuple(found.studies[uid].values()))
    (written,) = analyse_study(
        uid,
        found,
        plan_for_model(series, model.identity.name, model.modality),
        model_of=lambda name: model,
        segmenter=segmenter,
        output=output,
        now=datetime.now(UTC),
        progress=lambda stage: None,
    )
    return uid, written


@pytest.fixture
def finding_of(tmp_path: Path) -> Callable[[list[Path]], Finding]:
    """What the shipped model says of files, if it is asked at all."""
    model = Catalogue(REPOSITORY / "models").get("ct_lung_lesion")

    def find(paths: list[Path]) -> Finding:
        segmenter = Nothing()
        _, written = analysed(paths, tmp_path / "out", model, segmenter)
        finding = written.result.finding
        assert segmenter.asked == finding.outcome.analysed
        return finding

    return find


def refused(finding: Finding) -> str:
    assert finding.outcome is Outcome.NOT_ANALYSED
    assert finding.reason is not None
    assert "not images that ct_lung_lesion was made for" in finding.reason.text
    return finding.reason.code


@pytest.mark.parametrize("sample", ["phantom_positive", "phantom_negative"])
def test_the_sample_chests_pass_without_a_caution(sample: str, finding_of) -> None:
    finding = finding_of(sorted((SAMPLES / sample).glob("*.dcm")))
    assert finding.outcome is Outcome.NOTHING_FOUND
    assert finding.cautions == ()


def test_a_water_phantom_is_refused(tmp_path: Path, finding_of) -> None:
    y, x = np.ogrid[-64:64, -64:64]
    cylinder = np.where(x**2 + y**2 < 50**2, 0, -1000)[None].repeat(30, axis=0)
    write_series(ct_series(cylinder, spacing_mm=(5, 2, 2)), tmp_path / "water")
    assert refused(finding_of([tmp_path / "water"])) == "unexpected_lung_percent"


@pytest.mark.data
def test_an_abdomen_is_refused(test_data: Path, tmp_path: Path, finding_of) -> None:
    """Real: Siemens, 20 slices."""
    _relabelled(test_data / "neg_ct_totalseg" / "dicom", tmp_path / "abdomen")
    assert refused(finding_of([tmp_path / "abdomen"])) == "unexpected_lung_percent"


@pytest.mark.data
@pytest.mark.parametrize("patient", ["STS_002", "STS_003"])
def test_a_thigh_is_refused_though_foam_as_dense_as_lung_lies_below_it(
    patient: str, test_data: Path, finding_of
) -> None:
    assert refused(finding_of([test_data / "ibsi_sts_petctmr" / patient / "CT"])) == "unexpected_lung_percent"


@pytest.mark.data
@pytest.mark.parametrize("kind", ["PET", "MR_T1"])
def test_other_modalities_labelled_as_ct_are_refused_by_their_intensities(
    kind: str, test_data: Path, tmp_path: Path, finding_of
) -> None:
    """Real: PET of 3.3 mm, MR of a thigh. No air of -1000 HU is in them."""
    _relabelled(test_data / "ibsi_sts_petctmr" / "STS_003" / kind, tmp_path / "as_ct")
    assert refused(finding_of([tmp_path / "as_ct"])) == "unexpected_low_intensity"


@pytest.mark.data
@pytest.mark.parametrize("name", ["pydicom_picks/693_J2KR.dcm", "wg04_syntaxes/CT2_UNC.dcm"])
def test_a_head_is_refused(name: str, test_data: Path, tmp_path: Path, finding_of) -> None:
    """One real slice of a head, 30 times: no whole head CT is at hand."""
    image = pydicom.dcmread(test_data / "odd_dicom" / name)
    voxels = np.clip(image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept), -1024, 3000)
    row_mm, column_mm = map(float, image.PixelSpacing)
    head = ct_series(voxels[None].repeat(30, axis=0).astype(np.int16), spacing_mm=(5, row_mm, column_mm))
    write_series(head, tmp_path / "head")
    assert refused(finding_of([tmp_path / "head"])) == "unexpected_lung_percent"


def test_a_caution_stands_in_report_document_and_metric(tmp_path: Path) -> None:
    expects = {
        "extent_mm": {"refuse": [10, None], "caution": [100, None]},
        "body_part_examined": {"caution": ["CHEST"]},
        "convolution_kernel": {"caution": ["B3*"]},
    }
    bright_spot_bundle(tmp_path, expects=expects)
    model = Catalogue(tmp_path).get("bright_spot")
    series = ct_series(slices=12, BodyPartExamined="HEAD", ConvolutionKernel="B35f")
    write_series(series, tmp_path / "ct")
    uid, written = analysed([tmp_path / "ct"], tmp_path / "out", model, Nothing())

    finding = written.result.finding
    assert finding.outcome is Outcome.NOTHING_FOUND
    codes = ["unexpected_extent_mm", "unexpected_body_part_examined"]
    assert [one.code for one in finding.cautions] == codes
    told = "CAUTION, unlike the images that the model was made for: length covered 30 mm, expected at least 100"
    (report,) = written.paths
    assert f"{told} [unexpected_extent_mm]" in comment(pydicom.dcmread(report))
    found = scan([tmp_path / "ct"], lambda count: None)
    plan = plan_for_model(by_series(tuple(found.studies[uid].values())), "bright_spot", "CT")
    document = json.loads(study_report(uid, plan, [written]).model_dump_json())
    assert [one["code"] for one in document["results"][0]["cautions"]] == codes

    def count(expected: str) -> float:
        return metrics.UNEXPECTED.labels("bright_spot", expected, "caution")._value.get()

    before = count("extent_mm")
    metrics.observe(written.result)
    assert count("extent_mm") == before + 1


def _relabelled(source: Path, target: Path) -> None:
    """Copies that say they are CT images."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        image = pydicom.dcmread(path)
        image.Modality, image.SOPClassUID = "CT", CT_IMAGE
        image.file_meta.MediaStorageSOPClassUID = CT_IMAGE
        told = {"SOPInstanceUID": image.file_meta.MediaStorageSOPInstanceUID, "RescaleSlope": 1, "RescaleIntercept": 0}
        for keyword, value in {**told, "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2"}.items():
            if image.get(keyword) in (None, ""):
                setattr(image, keyword, value)
        image.save_as(target / path.name)
