"""The embedded segmenter beside a folder of models in which bundles are changed while it runs."""

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.backends.inference import embedded
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.embedded import EmbeddedSegmenter
from services.triage.errors import VersionNotHere
from tests.support.bundle import bright_spot_bundle
from tests.support.spot import SPOT, a_volume


def two_channels(models: Path) -> Path:
    """The bright spot by a softmax over background and spot."""
    bundle = bright_spot_bundle(models)
    with changing(bundle / "configs" / "inference.json") as config:
        config["network_def"]["out_channels"] = 2
        activation, _, discrete, _ = config["postprocessing"]["transforms"]
        del activation["sigmoid"], discrete["threshold"]
        activation["softmax"] = discrete["argmax"] = True
    one = torch.load(bundle / "models" / "model.pt", weights_only=True)
    two = {key: torch.cat([torch.zeros_like(value), value]) for key, value in one.items()}
    torch.save(two, bundle / "models" / "model.pt")
    return bundle


@contextmanager
def changing(path: Path) -> Iterator[dict[str, Any]]:
    told = json.loads(path.read_text())
    yield told
    path.write_text(json.dumps(told))


def nothing_is_bright(bundle: Path) -> None:
    """With the weights as they are: what is 900 HU comes out as the scale's lowest value."""
    with changing(bundle / "configs" / "inference.json") as config:
        config["preprocessing"]["transforms"][-1].update(a_min=900, a_max=2000)


def the_other_channel(bundle: Path) -> None:
    """With weights and config as they are, another meaning."""
    with changing(bundle / "configs" / "metadata.json") as metadata:
        metadata["triage"]["classes"]["1"]["channels"] = [0]


@pytest.mark.parametrize("change", [nothing_is_bright, the_other_channel])
def test_a_bundle_that_was_changed_under_the_same_weights_is_served_as_it_is_now(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    bundle = two_channels(tmp_path)
    segmenter, volume = EmbeddedSegmenter(Catalogue(tmp_path), threads=1), a_volume()
    before = segmenter.model("bright_spot")
    assert segmenter.segment(volume, before).tumour_probability[SPOT].min() > 240
    change(bundle)
    after = segmenter.model("bright_spot")
    fresh = EmbeddedSegmenter(Catalogue(tmp_path), threads=1).segment(volume, after)
    answer = segmenter.segment(volume, after)
    assert answer.tumour_probability[SPOT].max() < 15
    np.testing.assert_array_equal(answer.labels, fresh.labels)
    np.testing.assert_array_equal(answer.tumour_probability, fresh.tumour_probability)
    assert after.identity == before.identity, "which is why the identity does not tell them apart"


@pytest.mark.parametrize("level_hu", [300.0, 1000.0])
def test_a_bundle_exchanged_since_the_job_read_it_never_answers_in_the_others_name(
    tmp_path: Path, level_hu: float
) -> None:
    """Whether its weights are the same or not, and whether the old one is loaded or not; another try reads it anew."""
    bundle = bright_spot_bundle(tmp_path / "models")
    other = bright_spot_bundle(tmp_path / "other", level_hu=level_hu, min_slices=5)
    segmenter, volume = EmbeddedSegmenter(Catalogue(tmp_path / "models"), threads=1), a_volume()
    read = segmenter.model("bright_spot")
    bundle.rename(tmp_path / "gone")
    other.rename(bundle)
    with pytest.raises(VersionNotHere, match="was exchanged"):
        segmenter.segment(volume, read)
    found = segmenter.segment(volume, segmenter.model("bright_spot")).labels.any()
    assert found == (level_hu < 900)


def test_a_bundle_exchanged_while_it_is_loaded_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bright_spot_bundle(tmp_path)
    segmenter, loads = EmbeddedSegmenter(Catalogue(tmp_path), threads=1), embedded.BundleRunner

    def exchanged(*args: object, **kwargs: object) -> object:
        monkeypatch.undo()
        nothing_is_bright(bundle)
        return loads(*args, **kwargs)

    monkeypatch.setattr(embedded, "BundleRunner", exchanged)
    with pytest.raises(VersionNotHere):
        segmenter.segment(a_volume(), segmenter.model("bright_spot"))
    assert not segmenter.segment(a_volume(), segmenter.model("bright_spot")).labels.any()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[embedded.BundleRunner]]:
    """Every runner that is loaded, alive or not."""
    seen: list[weakref.ref[embedded.BundleRunner]] = []

    class Seen(embedded.BundleRunner):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            seen.append(weakref.ref(self))

    monkeypatch.setattr(embedded, "BundleRunner", Seen)
    return seen


def alive(loaded: list[weakref.ref[embedded.BundleRunner]]) -> list[bool]:
    gc.collect()
    return [ref() is not None for ref in loaded]


def test_what_was_loaded_before_a_change_gives_its_memory_back(
    tmp_path: Path, loaded: list[weakref.ref[embedded.BundleRunner]]
) -> None:
    """Also where its version has changed in its place."""
    bundle = bright_spot_bundle(tmp_path)
    segmenter = EmbeddedSegmenter(Catalogue(tmp_path), threads=1)
    for version in ("1.2.3", "1.2.4", "1.2.4"):
        with changing(bundle / "configs" / "metadata.json") as metadata:
            metadata["version"] = version
        segmenter.segment(a_volume(), segmenter.model("bright_spot"))
    assert alive(loaded) == [False, True]


def test_a_version_that_is_asked_for_no_more_gives_its_memory_back(
    tmp_path: Path, loaded: list[weakref.ref[embedded.BundleRunner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is still there or not; those in service, side by side, stay."""
    for version in ("1.0", "2.0", "3.0"):
        bright_spot_bundle(tmp_path, name=f"bright_spot@{version}", version=version)
    segmenter = EmbeddedSegmenter(Catalogue(tmp_path), threads=1)
    for version in ("1.0", "2.0", "3.0", "1.0", "2.0", "3.0"):
        segmenter.segment(a_volume(), segmenter.model("bright_spot", version))
    assert alive(loaded) == [True, True, True]
    shutil.rmtree(tmp_path / "bright_spot@1.0")
    monkeypatch.setattr(embedded, "KEPT_S", 0.0)
    segmenter.segment(a_volume(), segmenter.model("bright_spot", "3.0"))
    assert alive(loaded) == [False, False, True], "and what is asked for again is not loaded again"
    segmenter.segment(a_volume(), segmenter.model("bright_spot", "2.0"))
    assert alive(loaded) == [False, False, False, True]


def test_threads_are_answered_by_the_bundle_that_each_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While networks leave and are loaded again under them."""

    class Named:
        def __init__(self, bundle: Path, *_: Any, **__: Any) -> None:
            self.run = lambda *_, **__: bundle.name

    monkeypatch.setattr(embedded, "BundleRunner", Named)
    monkeypatch.setattr(embedded, "KEPT_S", 0.0)
    names = ["one", "two", "three", "four"] * 50
    for name in names[:4]:
        bright_spot_bundle(tmp_path, name=name)
    segmenter = EmbeddedSegmenter(Catalogue(tmp_path), threads=1)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda name: segmenter.segment(a_volume(), segmenter.model(name)), names)
        assert list(answers) == names
