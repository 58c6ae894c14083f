"""The catalogue: versions of a model side by side, the triage section beside a bundle's own metadata, its weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from services.backends.files import durable
from services.backends.inference import bundle_files
from services.backends.inference.asked import AskedCatalogue
from services.backends.inference.bundle_files import METADATA, REGISTRATION, TRIAGE, WEIGHTS, bundle_sha256
from services.backends.inference.catalogue import Catalogue
from services.settings import REPOSITORY
from services.triage.errors import ModelRefused, VersionNotHere

SHIPPED = REPOSITORY / "models" / "ct_lung_lesion"
KNOTS = {"scores": [0, 1], "probabilities": [0.1, 0.9], "studies": 200}


def a_bundle(models: Path, folder: str, *, version: str, added_at: str | None = None) -> Path:
    bundle = models / folder
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    metadata = json.loads((SHIPPED / "configs" / "metadata.json").read_text())
    (bundle / "configs" / "metadata.json").write_text(json.dumps({**metadata, "version": version}))
    (bundle / "models" / "model.pt").write_bytes(b"weights of " + version.encode())
    if added_at is not None:
        (bundle / REGISTRATION).write_text(json.dumps({"added_at": added_at}))
    return bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    a_bundle(tmp_path, "lung@2.0.0", version="2.0.0", added_at="2026-02-01T00:00:00+00:00")
    a_bundle(tmp_path, "lung@3.0.0", version="3.0.0", added_at="2026-01-01T00:00:00+00:00")
    a_bundle(tmp_path, "lung", version="9.0.0")
    a_bundle(tmp_path, "liver", version="1.0.0")
    return tmp_path


def test_a_version_that_is_added_changes_nothing_until_it_is_asked_for(models: Path) -> None:
    catalogue = Catalogue(models)
    assert catalogue.names() == ("liver", "lung")
    assert catalogue.get("lung").identity.version == "9.0.0"
    assert catalogue.get("lung", "2.0.0").identity.version == "2.0.0"
    assert catalogue.versions("lung") == ("9.0.0", "3.0.0", "2.0.0")
    shutil.rmtree(models / "lung")
    assert catalogue.get("lung").identity.version == "3.0.0", "the one that was added first"


def test_a_version_that_is_missing_or_there_twice_is_refused_by_name(models: Path) -> None:
    catalogue = Catalogue(models)
    with pytest.raises(ModelRefused, match=r"'lung' has no version '1\.0\.0'"):
        catalogue.get("lung", "1.0.0")
    a_bundle(models, "lung@again", version="2.0.0")
    with pytest.raises(ModelRefused, match=r"more than one version '2\.0\.0'"):
        catalogue.get("lung", "2.0.0")


@pytest.mark.parametrize("file", [METADATA, TRIAGE, WEIGHTS])
def test_a_bundle_that_cannot_be_read_stops_nobody_who_does_not_ask_for_it(
    models: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = models / "lung@3.0.0" / file
    path.unlink(missing_ok=True)
    path.mkdir()
    catalogue = Catalogue(models)
    asked = AskedCatalogue(catalogue)
    assert asked.model("liver").identity.version == "1.0.0"
    assert asked.model("lung").identity.version == "9.0.0"
    assert asked.model("lung", "2.0.0").identity.version == "2.0.0"
    assert "model_refused" not in "".join(capfd.readouterr())
    for _ in range(2):
        with pytest.raises(ModelRefused, match=r"'lung@3\.0\.0'"):
            asked.model("lung", "3.0.0")
    assert "".join(capfd.readouterr()).count("model_refused") == 1, "said once"
    assert [bundle.name for bundle, _ in catalogue.unreadable()] == ["lung@3.0.0"]


def test_which_version_stands_is_never_guessed(models: Path) -> None:
    (models / "lung@2.0.0" / REGISTRATION).write_text("{")
    catalogue = Catalogue(models)
    with pytest.raises(ModelRefused, match=REGISTRATION):
        catalogue.model("lung")
    assert catalogue.model("lung", "3.0.0").identity.version == "3.0.0"
    assert catalogue.model("lung", "2.0.0").identity.version == "2.0.0"


def test_a_bundle_that_is_exchanged_is_read_anew(models: Path) -> None:
    catalogue = Catalogue(models)
    before = catalogue.model("liver")
    shutil.rmtree(models / "liver")
    a_bundle(models, "liver", version="1.0.1")
    after = catalogue.model("liver")
    assert (before.identity.version, after.identity.version) == ("1.0.0", "1.0.1")
    assert after.identity.weights_sha256 != before.identity.weights_sha256


def test_a_version_that_a_job_asks_for_and_is_not_here_may_still_come(models: Path) -> None:
    with pytest.raises(VersionNotHere):
        Catalogue(models).model("lung", "4.0.0")


def test_the_triage_section_may_lie_beside_metadata_that_stays_as_it_came(models: Path) -> None:
    bundle = models / "liver"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    triage = metadata.pop("triage")
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ModelRefused, match="triage"):
        Catalogue(models).get("liver")
    before = bundle_sha256(bundle)
    (bundle / TRIAGE).write_text(json.dumps({**triage, "min_slices": 7}))
    assert Catalogue(models).get("liver").min_slices == 7
    assert bundle_sha256(bundle) != before, "it decides the answer too"


def misspelt(triage: dict[str, Any], *where: str | int) -> dict[str, Any]:
    """With a value under a key that is none, in whatever section that is."""
    triage = {**triage, "inputs": [{"name": "T1"}], "calibration": {**KNOTS}, "expects": {"lung_ml": {}}}
    section: Any = triage
    for key in where[:-1]:
        section = section[key]
    section[where[-1]] = 1
    return triage


@pytest.mark.parametrize(
    "where",
    [
        ("expect",),
        ("input",),
        ("classes", "1", "typ"),
        ("classes", "1", "channel"),
        ("anatomic_region", "schema"),
        ("thresholds", "urgnt"),
        ("inputs", 0, "pattern"),
        ("calibration", "study"),
        ("expects", "lung_procent"),
        ("expects", "lung_ml", "refused"),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_misspelt_key_is_refused_by_name_and_place(models: Path, where: tuple[str | int, ...], beside: bool) -> None:
    path = models / "liver" / METADATA
    metadata = json.loads(path.read_text())
    triage = misspelt(metadata["triage"], *where)
    if beside:
        (models / "liver" / TRIAGE).write_text(json.dumps(triage))
    else:
        path.write_text(json.dumps({**metadata, "triage": triage}))
    with pytest.raises(ModelRefused) as caught:
        Catalogue(models).get("liver")
    file, place = (
        TRIAGE if beside else METADATA,
        ".".join(map(str, where)).replace("calibration", "calibration.isotonic"),
    )
    assert caught.value.reason.code == "bad_metadata"
    assert caught.value.reason.text == f"{file} of 'liver': triage.{place}: Extra inputs are not permitted"


def test_weights_by_another_name_are_found_unless_there_are_two(models: Path) -> None:
    bundle = models / "liver"
    expected = Catalogue(models).get("liver").identity
    (bundle / "models" / "model.pt").rename(bundle / "models" / "best.pth")
    assert Catalogue(models).get("liver").identity == expected
    (bundle / "models" / "other.safetensors").write_bytes(b"")
    with pytest.raises(ModelRefused, match="2 files of weights"):
        Catalogue(models).get("liver")
    for path in (bundle / "models").iterdir():
        path.unlink()
    with pytest.raises(ModelRefused, match=r"no models/model\.pt"):
        bundle_sha256(bundle)


def test_what_is_still_being_written_has_one_name() -> None:
    assert bundle_files.UNFINISHED == durable.UNFINISHED
