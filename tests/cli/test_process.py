"""`vigie process` as its user runs it: a command, files, a document on stdout, an exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from services.cli import app
from services.triage.volume import Volume
from services.worker.load import load_volume
from tests.support.bundle import bright_spot_bundle, routing_file
from tests.support.ct import ct_series, write_series

VIGIE = [sys.executable, "-c", "from services.cli import main; main()"]
BALL_MM = 12.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("site")
    models = folder / "models"
    bright_spot_bundle(models)
    # a model that always breaks: its network wants two channels
    broken = bright_spot_bundle(models, name="broken")
    config = json.loads((broken / "configs" / "inference.json").read_text())
    config["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [4, 4]}
    (broken / "configs" / "inference.json").write_text(json.dumps(config))
    routing = routing_file(folder / "routing.toml")
    return {**os.environ, "VIGIE_MODELS": str(models), "VIGIE_ROUTING": str(routing), "VIGIE_THREADS": "2"}


def vigie(environment: dict[str, str], *arguments: str | Path) -> tuple[int, str, str]:
    """In this process: loading torch and MONAI takes each command of its own longer than its work."""
    done = CliRunner().invoke(app, [*map(str, arguments)], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def by_itself(environment: dict[str, str], *arguments: str | Path) -> tuple[int, str, str]:
    """As its user runs it."""
    command = [*VIGIE, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def a_ball(
    shape: tuple[int, int, int] = (16, 48, 40), spacing: tuple[float, float, float] = (2.5, 0.8, 0.7)
) -> np.ndarray:
    """Air with one ball of 500 HU and 12 mm diameter in the middle."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    distance_mm = np.linalg.norm((grid - (np.array(shape) - 1) / 2) * spacing, axis=-1)
    return np.where(distance_mm <= BALL_MM / 2, 500, -900).astype(np.int16)


def test_one_study_gives_one_document_with_its_lesion_measured(environment: dict[str, str], tmp_path: Path) -> None:
    paths = write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    code, stdout, _ = by_itself(environment, "process", tmp_path / "ct", "--output", tmp_path / "out", "--json")
    assert code == 0
    document = json.loads(stdout)
    assert document["files"] == {"read": len(paths), "rejected": []}
    (study,) = document["studies"]
    assert study["status"] == "analysed"
    assert study["reason"] is None
    (result,) = study["results"]
    assert (result["outcome"], result["flag"], result["calibrated"]) == ("found", "urgent", False)
    assert result["model"]["name"] == "bright_spot"
    assert len(result["model"]["weights_sha256"]) == 64
    (lesion,) = result["lesions"]
    voxel_ml = 2.5 * 0.8 * 0.7 / 1000
    assert lesion["volume_ml"] == pytest.approx((a_ball() > 0).sum() * voxel_ml, rel=0.001)
    assert lesion["long_axis_mm"] == pytest.approx(BALL_MM, abs=1.1)
    volume = load_volume(paths)
    np.testing.assert_allclose(lesion["centroid_lps_mm"], middle_of(volume), atol=0.4)
    assert {output["modality"] for output in result["outputs"]} == {"SEG", "SR"}
    for output in result["outputs"]:
        path = Path(output["path"])
        assert path.is_absolute()
        written = pydicom.dcmread(path)
        assert (written.Modality, written.SOPInstanceUID) == (output["modality"], output["sop_instance_uid"])
    assert {"load", "segment", "find", "report"} <= set(result["timings_s"])


@pytest.mark.parametrize("mode", ["reference", "fast"])
def test_json_segmentation_and_report_tell_how_the_network_ran(
    mode: str, environment: dict[str, str], tmp_path: Path
) -> None:
    write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    told = {**environment, "VIGIE_INFERENCE": mode}
    _, stdout, _ = by_itself(told, "process", tmp_path / "ct", "--output", tmp_path / "out", "--json")
    (result,) = json.loads(stdout)["studies"][0]["results"]
    assert result["inference"] == {"mode": mode, "reason": None}
    objects = {one["modality"]: pydicom.dcmread(one["path"]) for one in result["outputs"]}
    (algorithm,) = objects["SEG"].SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert f"inference={mode}" in algorithm.AlgorithmParameters
    measurements = objects["SR"].ContentSequence[-2]  # Imaging Measurements, before the evaluations
    codes = [
        (item.ConceptNameCodeSequence[0].CodeValue, item.get("TextValue")) for item in measurements.ContentSequence
    ]
    assert ("111002", f"inference {mode}") in codes  # Algorithm Parameters (TID 4019)


def test_mirrored_runs_add_how_each_score_varies_and_their_time_and_change_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    told, segs = {}, {}
    for mode in ("off", "flips"):
        where = ("--output", tmp_path / mode, "--json")
        _, stdout, _ = by_itself({**environment, "VIGIE_UNCERTAINTY": mode}, "process", tmp_path / "ct", *where)
        (told[mode],) = json.loads(stdout)["studies"][0]["results"]
        segs[mode] = pydicom.dcmread(next(one["path"] for one in told[mode]["outputs"] if one["modality"] == "SEG"))
    (lesion,), (plain,) = told["flips"]["lesions"], told["off"]["lesions"]
    score = lesion["score"]
    # its network looks at each voxel alone
    assert lesion["spread"] == {"runs": 4, "sd": 0.0, "lowest": score, "highest": score}
    assert told["flips"]["uncertainty"] == {"spread": lesion["spread"], "reason": None}
    assert (plain["spread"], told["off"]["uncertainty"]) == (None, None)
    assert set(told["flips"]["timings_s"]) - set(told["off"]["timings_s"]) == {"segment.uncertainty"}
    fresh = {"tracking_uid", "spread"}
    assert {key: lesion[key] for key in lesion.keys() - fresh} == {key: plain[key] for key in plain.keys() - fresh}
    same = ("outcome", "score", "calibrated", "flag", "cautions", "inference")
    assert [told["flips"][key] for key in same] == [told["off"][key] for key in same]
    assert segs["flips"].PixelData == segs["off"].PixelData
    labels = [one.SegmentSequence[0].SegmentLabel for one in segs.values()]
    assert labels[0] == labels[1]


@pytest.mark.parametrize(
    ("asked", "added"),
    [(["all"], ["PR", "OT", "KO"]), (["kos", "gsps"], ["PR", "KO"]), (["sc"], ["OT"])],
)
def test_fallbacks_are_written_on_request_and_told_like_the_others(
    asked: list[str], added: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    wanted = [word for each in asked for word in ("--fallback", each)]
    code, stdout, _ = vigie(environment, "process", tmp_path / "ct", "--output", tmp_path / "out", *wanted, "--json")
    (result,) = json.loads(stdout)["studies"][0]["results"]
    assert code == 0
    assert [output["modality"] for output in result["outputs"]] == ["SEG", "SR", *added]
    for output in result["outputs"]:
        assert pydicom.dcmread(output["path"]).SOPInstanceUID == output["sop_instance_uid"]


def middle_of(volume: Volume) -> np.ndarray:
    return volume.to_lps_mm((np.array(volume.voxels.shape) - 1) / 2)


def test_a_second_run_writes_beside_the_first_with_new_uids(environment: dict[str, str], tmp_path: Path) -> None:
    write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    documents = [
        json.loads(vigie(environment, "process", tmp_path / "ct", "--output", tmp_path / "out", "--json")[1])
        for _ in range(2)
    ]
    first, second = (
        {Path(output["path"]) for output in document["studies"][0]["results"][0]["outputs"]} for document in documents
    )
    assert all(path.is_file() for path in first | second)
    assert not {path.name for path in first} & {path.name for path in second}
    assert {path.parent for path in first} != {path.parent for path in second}


def test_a_study_no_rule_claims_is_out_of_scope_and_gets_no_object(environment: dict[str, str], tmp_path: Path) -> None:
    series = ct_series(BodyPartExamined="HEAD", StudyDescription="CT head", SeriesDescription="head")
    write_series(series, tmp_path / "ct")
    code, stdout, _ = vigie(environment, "process", tmp_path / "ct", "--output", tmp_path / "out", "--json")
    (study,) = json.loads(stdout)["studies"]
    assert (code, study["status"], study["results"]) == (3, "out_of_scope", [])
    assert study["reason"]["code"] == "no_rule"
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_a_claimed_study_that_cannot_be_done_gets_an_sr_that_says_why(
    environment: dict[str, str], tmp_path: Path
) -> None:
    series = ct_series(a_ball(), BodyPartExamined="CHEST")
    del series[7]
    write_series(series, tmp_path / "ct")
    code, stdout, _ = vigie(environment, "process", tmp_path / "ct", "--output", tmp_path / "out", "--json")
    (study,) = json.loads(stdout)["studies"]
    assert (code, study["status"], study["reason"]["code"]) == (3, "not_analysed", "missing_slices")
    (result,) = study["results"]
    assert (result["outcome"], result["score"], result["lesions"]) == ("not_analysed", None, [])
    assert [output["modality"] for output in result["outputs"]] == ["SR"]


def test_a_model_that_breaks_is_a_failure_told_in_an_sr(environment: dict[str, str], tmp_path: Path) -> None:
    write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    arguments = ("process", tmp_path / "ct", "--output", tmp_path / "out", "--model", "broken", "--json")
    code, stdout, _ = vigie(environment, *arguments)
    (study,) = json.loads(stdout)["studies"]
    assert (code, study["status"], study["reason"]["code"]) == (1, "failed", "runner_failed")
    assert [output["modality"] for output in study["results"][0]["outputs"]] == ["SR"]


def test_one_bad_file_is_named_and_the_rest_of_the_study_goes_on(environment: dict[str, str], tmp_path: Path) -> None:
    paths = write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    bad = {"empty.dcm": b"", "note.txt": b"no DICOM at all", "cut.dcm": paths[0].read_bytes()[:900]}
    for name, content in bad.items():
        (tmp_path / "ct" / name).write_bytes(content)
    code, stdout, _ = vigie(environment, "process", tmp_path / "ct", "--output", tmp_path / "out", "--json")
    document = json.loads(stdout)
    assert code == 0
    assert document["files"]["read"] == len(paths) + len(bad)
    rejected = {Path(each["path"]).name: each["reason"] for each in document["files"]["rejected"]}
    assert set(rejected) == set(bad)
    assert all(reason["code"] and reason["text"] for reason in rejected.values())


def test_of_two_contents_under_one_uid_the_last_counts_and_the_other_is_told(
    environment: dict[str, str], tmp_path: Path
) -> None:
    series = ct_series(a_ball(), BodyPartExamined="CHEST")
    paths = write_series(series, tmp_path / "ct")
    series[3].ImageComments = "sent again"
    write_series(series, tmp_path / "again")
    _, stdout, _ = vigie(
        environment, "process", tmp_path / "ct", tmp_path / "again", "--output", tmp_path / "out", "--json"
    )
    document = json.loads(stdout)
    (rejected,) = document["files"]["rejected"]
    assert (rejected["path"], rejected["reason"]["code"]) == (str(paths[3]), "other_content")
    assert document["studies"][0]["status"] == "analysed"


@pytest.mark.slow
def test_every_file_that_pydicom_ships_gets_a_reason_and_none_a_traceback(
    environment: dict[str, str], tmp_path: Path
) -> None:
    files = [path for path in (Path(pydicom.__file__).parent / "data" / "test_files").rglob("*") if path.is_file()]
    assert len(files) > 60
    code, stdout, _ = vigie(environment, "process", *files, "--output", tmp_path / "out", "--json")
    document = json.loads(stdout)
    assert code == 3
    assert document["files"]["read"] == len(files)
    assert all(each["reason"]["code"] and each["reason"]["text"] for each in document["files"]["rejected"])
    assert document["studies"]
    for study in document["studies"]:
        assert study["status"] == "analysed" or (study["reason"]["code"] and study["reason"]["text"])


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["process", "/nowhere/at/all", "--output", "out"], id="no such path"),
        pytest.param(["process", ".", "--output", "out", "--model", "nobody"], id="no such model"),
        pytest.param(["process", "."], id="no output"),
        pytest.param(["process", ".", "--output", "out", "--fallback", "png"], id="no such fallback"),
        pytest.param(["nonsense"], id="no such command"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_word_about_it(
    arguments: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*VIGIE, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip()
    assert not done.stdout.strip()


def test_a_refusal_shows_its_code(environment: dict[str, str], tmp_path: Path) -> None:
    code, _, stderr = vigie(environment, "process", tmp_path, "--output", tmp_path / "out", "--model", "nobody")
    assert code == 2
    assert "[unknown_model]" in stderr


def test_an_empty_folder_is_no_success(environment: dict[str, str], tmp_path: Path) -> None:
    code, stdout, _ = vigie(environment, "process", tmp_path, "--output", tmp_path / "out", "--json")
    assert (code, json.loads(stdout)["studies"]) == (3, [])


def test_people_see_a_table_that_calls_a_score_a_score(environment: dict[str, str], tmp_path: Path) -> None:
    write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    wide = {**environment, "COLUMNS": "200"}
    code, stdout, stderr = vigie(wide, "process", tmp_path / "ct", "--output", tmp_path / "out")
    assert code == 0
    assert "not calibrated on patients" in stdout
    assert "Not a medical device" in stderr


@pytest.mark.parametrize(
    ("tumour", "code", "outcome", "lesions"),
    [(2, 0, "nothing_found", "none"), (None, 3, "not_analysed", "no_tumour_class")],
)
def test_organs_are_told_with_their_volumes_and_without_a_tumour_class_nothing_reads_as_no_lesion(
    tumour: int | None, code: int, outcome: str, lesions: str, environment: dict[str, str], tmp_path: Path
) -> None:
    classes = {"1": {"name": "ball", "kind": "organ"}, "3": {"name": "cube", "kind": "organ"}}
    if tumour is not None:
        classes[str(tumour)] = {"name": "mass", "kind": "tumour", "channels": [0]}
    bright_spot_bundle(tmp_path / "models", classes=classes)
    here = {**environment, "VIGIE_MODELS": str(tmp_path / "models"), "COLUMNS": "300"}
    write_series(ct_series(a_ball(), BodyPartExamined="CHEST"), tmp_path / "ct")
    asked = ("process", tmp_path / "ct", "--output", tmp_path / "out")
    ended, stdout, stderr = vigie(here, *asked, "--json")
    assert ended == code, stderr
    (study,) = json.loads(stdout)["studies"]
    (result,) = study["results"]
    assert (result["outcome"], result["lesions"]) == (outcome, [])
    ball, cube = result["organs"]
    assert (ball["label"], ball["cut_off"]) == ("ball", False)
    assert ball["volume_ml"] == pytest.approx((a_ball() > 0).sum() * 2.5 * 0.8 * 0.7 / 1000, rel=0.001)
    assert cube == {"label": "cube", "volume_ml": None, "cut_off": False}
    if tumour is None:
        assert (study["status"], study["reason"]["code"], result["score"]) == ("not_analysed", "no_tumour_class", None)
    table = vigie(here, *asked)[1]
    assert f"{ball['volume_ml']:.1f}" in table
    assert ("none" in table) == (tumour is not None)
    assert "Organs not found: cube." in table
