"""`vigie models evaluate` and `calibrate` as their user runs them, on small studies with references."""

import getpass
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from services.backends.files import durable
from services.backends.inference.registration import content_sha256
from services.cli import app
from services.evaluation.references import NONE
from services.triage.errors import OutOfResources
from services.worker.load import load_volume
from tests.support.bundle import bright_spot_bundle
from tests.support.ct import ct_series, write_series

SHAPE = (8, 24, 24)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three studies: a spot that is a lesion, a spot that is none, and one that nobody says anything of."""
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    bright_spot_bundle(tmp_path / "models", expects={"extent_mm": {"caution": [100, None]}})
    for name, spots, truth in (("lesion", 1, 1), ("false", 1, 0), ("unknown", 1, None)):
        a_study(tmp_path / "studies" / name, spots, truth, PatientSex="F", Manufacturer="ACME")
    return tmp_path


def a_study(folder: Path, spots: int, truth: int | None, level: int = 500, **attributes: object) -> None:
    """Spots of 4 x 4 x 4 voxels along a row; the first `truth` of them are lesions, None: no reference."""
    voxels, mask = np.full(SHAPE, -900), np.zeros(SHAPE, dtype=np.uint8)
    for number in range(spots):
        place = (slice(2, 6), slice(2, 6), slice(1 + 6 * number, 5 + 6 * number))
        voxels[place] = level
        mask[place] = number < (truth or 0)
    paths = write_series(ct_series(voxels, **attributes), folder)
    if truth:
        affine = np.diag([-1.0, -1, 1, 1]) @ load_volume(paths).affine
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "reference.nii.gz")
    elif truth == 0:
        (folder / NONE).touch()


def vigie(site: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["models", *arguments, "--models", str(site / "models")])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_report_tells_what_was_found_and_what_was_left_out(site: Path) -> None:
    code, stdout, stderr = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"))
    assert code == 3
    assert "2 series judged, 1 studies left out" in stderr
    html, told = (Path(line) for line in stdout.split())
    document = json.loads(told.read_text())
    overall = document["summary"]["overall"]
    assert (overall["series"], overall["with_lesion"], overall["lesions"]) == (2, 1, 1)
    assert (overall["sensitivity"]["count"], overall["dice"]["value"]) == (1, 0.5)
    assert overall["false_per_series"]["value"] == 0.5
    assert document["summary"]["groups"]["manufacturer"]["ACME"]["studies"] == 2
    assert [one["reason"]["code"] for one in document["left_out"]] == ["no_reference"]
    assert {tuple(one["cautions"]) for one in document["studies"]} == {("unexpected_extent_mm",)}
    page = html.read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "100 % (21 to 100), 1 of 1" in page
    assert "no reference belongs to any CT series" in page


def test_a_reference_that_cannot_be_used_costs_its_own_study_alone(site: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    for study, shape, affine in (("false", (*SHAPE, 2), np.eye(4)), ("unknown", SHAPE, sheared)):
        image = nibabel.Nifti1Image(np.ones(shape, dtype=np.uint8), None)
        image.set_sform(affine, code=1)
        nibabel.save(image, site / "studies" / study / "reference.nii.gz")
    code, stdout, stderr = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"))
    assert (code, "1 series judged, 2 studies left out" in stderr) == (3, True), stderr
    document = json.loads(Path(stdout.split()[1]).read_text())
    assert [one["reason"]["code"] for one in document["left_out"]] == ["reference_off_grid"] * 2


def test_studies_that_are_left_out_are_counted_and_not_their_references(site: Path) -> None:
    """Of one study both references cannot be used, of another one of two."""
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    for study, usable in (("lost", 0), ("halved", 1)):
        uid = generate_uid()
        for number in range(2):
            folder = site / "studies" / study / str(number)
            a_study(folder, 1, 1, study_uid=uid, series_number=number)
            if number >= usable:
                image = nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), None)
                image.set_sform(sheared, code=1)
                nibabel.save(image, folder / "reference.nii.gz")
    shutil.rmtree(site / "studies" / "unknown")
    code, stdout, stderr = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"))
    assert (code, "3 series judged, 2 studies left out, whole or in part" in stderr) == (3, True), stderr
    html, told = (Path(line).read_text() for line in stdout.split())
    assert "3 series of\n3 studies were judged, 2 studies were left out, whole or in part." in html
    assert len(json.loads(told)["left_out"]) == 3


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("lesion/second.dcm", b"", "lesion/second.dcm cannot be used: no bytes at all"),
        ("lesion/rt/structures", b"", "rt/structures cannot be used: no bytes at all"),
        ("lesion/last.dcm", bytes(500), "lesion/last.dcm cannot be used: neither a DICOM preamble"),
        ("lesion/last", bytes(128) + b"DICM\x02\x00", "lesion/last cannot be used: ends inside"),
    ],
)
def test_a_study_beside_whose_files_one_cannot_be_read_is_left_out(
    site: Path, file: str, content: bytes, why: str
) -> None:
    path = site / "studies" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    code, stdout, stderr = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"))
    assert (code, "1 series judged" in stderr, why in stderr) == (3, True, True), stderr
    left_out = json.loads(Path(stdout.split()[1]).read_text())["left_out"]
    assert sorted(one["reason"]["code"] for one in left_out) == ["no_reference", "unreadable_file"]
    assert all(one["study_instance_uid"] for one in left_out)


def test_files_that_cannot_be_read_and_belong_to_no_study_are_told(site: Path) -> None:
    (site / "studies" / "broken").mkdir()
    for number in range(3):
        (site / "studies" / "broken" / f"{number}.dcm").touch()
    code, stdout, stderr = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"))
    assert (code, "2 series judged" in stderr) == (3, True), stderr
    why = "broken/0.dcm cannot be used: no bytes at all; nor can 2 more"
    assert f"left out: of no study: {why}" in stderr
    html, told = (Path(line).read_text() for line in stdout.split())
    assert [one["reason"]["text"] for one in json.loads(told)["left_out"] if not one["study_instance_uid"]] == [why]
    assert why in html


def test_what_is_not_meant_to_be_dicom_costs_no_study(site: Path) -> None:
    for name in ("README.txt", "DICOMDIR", "._1.dcm"):
        (site / "studies" / "lesion" / name).write_bytes(b"text of some kind")
    _, _, stderr = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"))
    assert "2 series judged, 1 studies left out" in stderr


def test_a_study_whose_only_mask_is_vigies_own_is_told_so(site: Path) -> None:
    image = dcmread(next((site / "studies" / "unknown").iterdir()))
    image.Modality, image.Manufacturer = "SEG", "Vigie"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.SeriesInstanceUID = generate_uid()
    image.save_as(site / "studies" / "unknown" / "seg.dcm")
    code, _, stderr = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"))
    assert (code, "CT series of the study; what Vigie wrote itself is none" in stderr) == (3, True), stderr


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A model that takes an image before contrast off one after, and a study of both: of two spots one is new."""
    inputs = [{"name": name, "patterns": [name]} for name in ("after", "before")]
    bright_spot_bundle(tmp_path / "models", level_hu=-700, inputs=inputs)
    old, new = (slice(2, 6), slice(2, 6), slice(1, 5)), (slice(2, 6), slice(2, 6), slice(7, 11))
    uid, after = generate_uid(), np.full(SHAPE, -900)
    after[old] = 500
    before = after.copy()
    after[new] = 500
    for number, (name, voxels) in enumerate({"before": before, "after": after, "scout": after}.items(), start=1):
        headers = ct_series(voxels, study_uid=uid, series_number=number, SeriesDescription=name)
        write_series(headers, tmp_path / "studies" / name)
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[new] = 1
    affine = np.diag([-1.0, -1, 1, 1]) @ load_volume(sorted((tmp_path / "studies" / "after").iterdir())).affine
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / f"{uid}.nii.gz")
    return tmp_path


@pytest.mark.parametrize("named", ["study", "after", "before"])
def test_a_model_of_several_inputs_is_judged_on_all_of_them(pairs: Path, named: str) -> None:
    """A mask of the study, which is one of all its series, counts once: on the series that service would choose."""
    (mask,) = pairs.glob("*.nii.gz")
    mask.rename(pairs / "studies" / (mask.name if named == "study" else f"{named}/reference.nii.gz"))
    code, stdout, stderr = vigie(pairs, "evaluate", str(pairs / "studies"), "--output", str(pairs / "out"))
    assert (code, "1 series judged, 0 studies left out" in stderr) == (0, True), stderr
    (told,) = json.loads(Path(stdout.split()[1]).read_text())["studies"]
    assert (told["dice"], [one["hit"] for one in told["candidates"]]) == (1.0, [True])
    chosen = load_volume(sorted((pairs / "studies" / ("after" if named == "after" else "before")).glob("*.dcm")))
    assert told["series_instance_uid"] == chosen.series_instance_uid


@pytest.mark.parametrize(
    ("named", "without", "why"),
    [("scout", "", "a series that is no input of the model"), ("after", "before", "missing before")],
)
def test_a_mask_of_no_input_and_a_study_without_an_input_are_left_out(
    pairs: Path, named: str, without: str, why: str
) -> None:
    (mask,) = pairs.glob("*.nii.gz")
    mask.rename(pairs / "studies" / named / "reference.nii.gz")
    if without:
        shutil.rmtree(pairs / "studies" / without)
    code, _, stderr = vigie(pairs, "evaluate", str(pairs / "studies"), "--output", str(pairs / "out"))
    assert (code, why in stderr) == (1, True), stderr


def test_what_a_worker_would_not_load_is_left_out(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bright_spot_bundle(site / "models", name="short", min_slices=9)
    asked = ("evaluate", str(site / "studies"), "--output", str(site / "out"), "--model")
    code, _, stderr = vigie(site, *asked, "short")
    assert (code, stderr.count("8 slices, and short needs 9")) == (1, 2), stderr
    monkeypatch.setenv("VIGIE_MAX_VOLUME_VOXELS", "1000")
    code, _, stderr = vigie(site, *asked, "bright_spot")
    assert (code, stderr.count("more than the 1000 voxels")) == (1, 2), stderr


def test_what_a_model_would_refuse_is_left_out_unless_asked_for(site: Path) -> None:
    bright_spot_bundle(site / "strict", expects={"extent_mm": {"refuse": [100, None]}})
    (site / "strict").rename(site / "models" / "x")
    (site / "models" / "x" / "bright_spot").rename(site / "models" / "strict")
    asked = ("evaluate", str(site / "studies"), "--output", str(site / "out"), "--model", "strict")
    assert vigie(site, *asked)[0] == 1
    code, _, stderr = vigie(site, *asked, "--unexpected-too")
    assert (code, "2 series judged" in stderr) == (3, True)


@pytest.mark.parametrize("command", [("evaluate",), ("calibrate", "organs")])
def test_a_model_that_looks_for_no_lesions_is_not_judged_as_if_it_had_missed_them(
    command: tuple[str, ...], site: Path
) -> None:
    bright_spot_bundle(site / "models", name="organs", classes={"1": {"name": "spleen", "kind": "organ"}})
    named = ("--model", "organs") if command == ("evaluate",) else ()
    code, _, stderr = vigie(site, *command, str(site / "studies"), "--output", str(site / "out"), *named)
    assert (code, "looks for no lesions [no_tumour_class]" in stderr) == (2, True), stderr


@pytest.mark.parametrize("asked", ["option", "setting"])
def test_asked_for_mirrored_runs_the_report_tells_what_the_spread_is_worth(
    asked: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked == "setting":
        monkeypatch.setenv("VIGIE_UNCERTAINTY", "flips")
    option = ("--uncertainty", "flips") if asked == "option" else ()
    out = ("--output", str(site / "out"))
    _, stdout, _ = vigie(site, "evaluate", str(site / "studies"), *out, *option)
    html, told = (Path(line).read_text() for line in stdout.split())
    document = json.loads(told)
    assert document["criteria"]["uncertainty"] == "flips"
    found = document["summary"]["separation"]["found"]
    # its network looks at each voxel alone: two candidates without any spread, and nothing to tell them apart by
    assert (found["true"], found["false"], found["sd"]["value"]) == (1, 1, 0.5)
    assert {one["candidates"][0]["spread"]["runs"] for one in document["studies"]} == {4}
    assert {one["uncertainty"]["reason"] for one in document["studies"]} == {None}
    assert html.count("data:image/png;base64,") == 4
    assert "What the spread over mirrored runs is worth" in html
    assert "<td>1 true, 1 false</td><td>0.50</td>" in html


def test_without_being_asked_a_report_says_nothing_of_mirrored_runs(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIE_UNCERTAINTY", "flips")
    _, stdout, _ = vigie(site, "evaluate", str(site / "studies"), "--output", str(site / "out"), "--uncertainty", "off")
    html, told = (Path(line).read_text() for line in stdout.split())
    document = json.loads(told)
    assert document["summary"]["separation"] is None
    assert {one["uncertainty"] for one in document["studies"]} == {None}
    assert "mirrored" not in html


def test_a_series_whose_spread_is_not_known_is_told_with_its_reason(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.backends.inference.runner.axes_of", lambda _: (9,))
    _, stdout, _ = vigie(
        site, "evaluate", str(site / "studies"), "--output", str(site / "out"), "--uncertainty", "flips"
    )
    html, told = (Path(line).read_text() for line in stdout.split())
    summary = json.loads(told)["summary"]["separation"]
    assert (summary["series"], summary["without"]) == (0, {"run_failed": 2})
    assert "<code>run_failed</code> 2" in html


def test_a_calibration_on_few_studies_leaves_the_bundle_as_it_is(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where somebody says that they are patients; and a map that is asked for all the same makes no claim."""
    for number in range(10):
        truth = number % 4
        a_study(site / "studies" / f"n{number}", 3, truth, level=(320, 340, 380, 500)[truth])
    for number in range(3):
        a_study(site / "studies" / f"empty{number}", 0, 0)  # nothing is fitted on a study without a candidate
    bundle = site / "models" / "bright_spot"
    section = bundle / "configs" / "triage.json"
    before = sorted(bundle.rglob("*"))
    asked = ("calibrate", "bright_spot", str(site / "studies"), "--output", str(site / "out"))
    code, stdout, stderr = vigie(site, *asked, "--of-patients")
    assert code == 3
    assert "the bundle stays as it is: 12 of 15 studies have a candidate, 200 are needed" in " ".join(stderr.split())
    assert "A score, not calibrated on patients: isotonic regression on 32 candidates of 12 studies" in stdout
    assert "3 more studies had no candidate and count for nothing" in " ".join(stdout.split())
    assert sorted(bundle.rglob("*")) == before
    assert audited(site) == []
    assert {one.name for one in (site / "out").iterdir()} == {"calibration.json", "calibration.png"}

    assert vigie(site, *asked, "--of-patients", "--although-not-calibrated")[0] == 0
    triage = json.loads(section.read_text())
    assert (triage["calibrated"], triage["calibration"]["studies"]) == (False, 12)
    raw = json.loads((site / "out" / "calibration.json").read_text())["before"]
    # again, on raw scores, not on those that the map has made
    _, stdout, _ = vigie(site, *asked, "--method", "temperature", "--although-not-calibrated")
    told = json.loads((site / "out" / "calibration.json").read_text())
    assert told["before"] == raw
    assert f"temperature scaling (T = {told['calibration']['temperature']:.3g}) on 32 candidates" in stdout
    assert list(told["brier"]) == [told["method"]] == ["temperature"]
    assert json.loads(section.read_text())["calibration"] == told["calibration"]
    assert vigie(site, *asked, "--method", "platt")[0] == 2

    digest = content_sha256(bundle)
    common = {"version": "1.2.3", "sha256": digest, "studies": "12", "calibrated": "false"}
    assert audited(site) == [
        ("model_calibrated", getpass.getuser(), "bright_spot", {**common, "method": method})
        for method in ("isotonic", "temperature")
    ]

    def full(*_: object, **__: object) -> None:
        raise OutOfResources("cannot keep a file: No space left on device")

    monkeypatch.setattr(durable, "replace", full)
    code, _, stderr = vigie(site, *asked, "--although-not-calibrated")
    assert (code, "No space left on device" in stderr) == (1, True)


def audited(site: Path) -> list[tuple[str, str, str, dict[str, str]]]:
    """Type, actor, object and details of each event that waits for the trail, sorted by the method."""
    told = [json.loads(path.read_text()) for path in (site / "data" / "audit" / "spool").glob("*.json")]
    events = [
        (one["type"], one["actors"][0]["name"], one["objects"][0]["object_id"], one["objects"][0]["details"])
        for one in told
    ]
    return sorted(events, key=lambda event: event[3]["method"])
