"""Versions of a model in a real Triton: each is a model of its own there, loaded and unloaded by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.export import export_repository
from services.backends.inference.loading import load_version, unload_versions
from services.triage.errors import ModelRefused, SegmenterUnavailable
from services.triage.model import Model
from tests.support.bundle import bright_spot_bundle
from tests.support.spot import SPOT, a_volume
from tests.support.triton import Triton, triton_server

NAME = "bright_spot"
BLIND_HU = 990.0
"""Above every voxel of the test's volume: this version finds nothing."""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("versions")
    bright_spot_bundle(folder / "models")
    bright_spot_bundle(folder / "models", name=f"{NAME}@2.0.0-rc.1", version="2.0.0-rc.1", level_hu=BLIND_HU)
    with triton_server(folder / "models", folder) as server:
        yield server


def models_of(triton: Triton) -> dict[str, Model]:
    catalogue = Catalogue(triton.models)
    return {version: catalogue.get(NAME, version) for version in catalogue.versions(NAME)}


def test_each_version_answers_for_itself(versions: Triton) -> None:
    models, segmenter = models_of(versions), versions.segmenter()
    assert segmenter.segment(a_volume(), models["1.2.3"]).labels[SPOT].any()
    assert not segmenter.segment(a_volume(), models["2.0.0-rc.1"]).labels.any()


def test_what_is_unloaded_is_loaded_again_when_it_is_asked_for(versions: Triton) -> None:
    models, catalogue = models_of(versions), Catalogue(versions.models)
    bundles = [catalogue.bundle(NAME, version) for version in models]
    load_version(versions.url, catalogue, models["1.2.3"])
    assert bundles[0] in unload_versions(versions.url, bundles)
    assert unload_versions(versions.url, bundles) == []
    assert versions.segmenter().segment(a_volume(), models["1.2.3"]).labels[SPOT].any()
    assert unload_versions(versions.url, bundles) == bundles[:1]


def test_a_version_that_was_exported_since_is_loaded_and_one_that_was_not_is_refused(
    versions: Triton, tmp_path: Path
) -> None:
    bright_spot_bundle(tmp_path, version="3.0")
    (tmp_path / NAME).rename(tmp_path / f"{NAME}@3.0")
    catalogue = Catalogue(tmp_path)
    model = catalogue.get(NAME, "3.0")
    with pytest.raises(ModelRefused, match="model_not_served"):
        load_version(versions.url, catalogue, model)
    export_repository(catalogue, versions.repository)
    load_version(versions.url, catalogue, model)
    assert versions.segmenter(models=tmp_path).segment(a_volume(), model).labels[SPOT].any()


def test_a_version_that_cannot_be_loaded_is_refused_until_it_is_mended_and_loaded(
    versions: Triton, tmp_path: Path
) -> None:
    bundle = bright_spot_bundle(tmp_path, name=f"{NAME}@4.0", version="4.0")
    weights = (bundle / "models" / "model.pt").read_bytes()
    (bundle / "models" / "model.pt").write_bytes(b"no weights")
    catalogue, segmenter = Catalogue(tmp_path), versions.segmenter(models=tmp_path)
    export_repository(catalogue, versions.repository)
    for _ in range(2):
        with pytest.raises(ModelRefused, match="model_not_loaded"):
            load_version(versions.url, catalogue, catalogue.get(NAME, "4.0"))
        with pytest.raises(ModelRefused, match="model_not_loaded"):
            segmenter.segment(a_volume(), catalogue.get(NAME, "4.0"))
    (bundle / "models" / "model.pt").write_bytes(weights)
    export_repository(catalogue, versions.repository)
    load_version(versions.url, catalogue, catalogue.get(NAME, "4.0"))
    assert segmenter.segment(a_volume(), catalogue.get(NAME, "4.0")).labels[SPOT].any()
    bright_spot_bundle(tmp_path / "again", name=f"{NAME}@4.0", version="4.0", level_hu=BLIND_HU)
    export_repository(changed := Catalogue(tmp_path / "again"), versions.repository)
    with pytest.raises(ModelRefused, match="other_model_served"):
        versions.segmenter(models=tmp_path / "again").segment(a_volume(), changed.get(NAME, "4.0"))
    load_version(versions.url, changed, changed.get(NAME, "4.0"))
    assert not versions.segmenter(models=tmp_path / "again").segment(a_volume(), changed.get(NAME, "4.0")).labels.any()


def test_a_server_that_is_away_can_be_asked_later(versions: Triton) -> None:
    catalogue = Catalogue(versions.models)
    with pytest.raises(SegmenterUnavailable):
        load_version("127.0.0.1:9", catalogue, catalogue.get(NAME))
    with pytest.raises(SegmenterUnavailable):
        unload_versions("127.0.0.1:9", [catalogue.bundle(NAME)])
