"""Triton that dies, hangs, or serves something else; what the segmenter says of it, and how soon."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.export import export_repository
from services.triage.errors import AnalysisFailed, ModelRefused, SegmenterUnavailable, VersionNotHere
from tests.helm.conftest import CHART, manifests_of, profile
from tests.helm.engine import Chart
from tests.helm.manifests import named
from tests.support.bundle import bright_spot_bundle
from tests.support.peers import wait_until
from tests.support.promql import selectors
from tests.support.spot import SPOT, a_volume
from tests.support.triton import SLOW, Triton, triton_server

LONG = (40, 64, 64)
"""A volume over which the slow bundle slides for more than a minute."""


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A server that the tests of this file may kill; each test leaves it running."""
    folder = tmp_path_factory.mktemp("own_triton")
    bright_spot_bundle(folder / "models", name="slow", windows_at_once=1, hook=SLOW)
    with triton_server(folder / "models", folder) as server:
        yield server


def test_the_chart_scales_on_metrics_that_the_server_exports(own_triton: Triton):
    rendered = manifests_of(Chart.load(CHART).render(profile("operators"), name="vigie"))
    scaled = named(rendered, "ScaledObject", "vigie-triton")
    asked = {metric for trigger in scaled["spec"]["triggers"] for metric, _ in selectors(trigger["metadata"]["query"])}
    text = httpx.get(f"http://127.0.0.1:{own_triton.metrics_port}/metrics", timeout=30).text
    assert len(asked) == 3
    assert asked <= set(re.findall(r"^(nv_\w+)\{", text, re.MULTILINE))


def failure_of(work: Callable[[], object], *, meanwhile: Callable[[], None]) -> tuple[BaseException, float]:
    """Run `work`, and half a second later `meanwhile`; what it raised, and how many seconds after that."""
    ended: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    meanwhile()
    begun = time.monotonic()
    thread.join(timeout=60)
    assert ended, "the request did not fail"
    return ended[0], time.monotonic() - begun


@pytest.mark.parametrize("share_memory", [True, False])
def test_a_server_killed_in_mid_request_is_unavailable_at_once_and_asked_again_when_it_is_back(
    own_triton: Triton, share_memory: bool
) -> None:
    segmenter = own_triton.segmenter(share_memory=share_memory)
    slow = segmenter.model("slow")
    error, seconds = failure_of(lambda: segmenter.segment(a_volume(LONG), slow), meanwhile=own_triton.kill)
    assert isinstance(error, SegmenterUnavailable)
    assert seconds < 5
    with pytest.raises(SegmenterUnavailable):
        segmenter.segment(a_volume(), slow)
    with pytest.raises(SegmenterUnavailable):
        segmenter.require_ready()
    assert segmenter.model(slow.identity.name) == slow, "a failure's report names the model while the server is away"
    own_triton.start()
    assert segmenter.segment(a_volume((9, 20, 15)), slow).labels[SPOT].any()
    assert not list(Path("/dev/shm").glob(f"vigie-{os.getpid()}-*"))


def test_a_model_process_killed_in_mid_request_is_worth_another_try(own_triton: Triton) -> None:
    segmenter = own_triton.segmenter()
    slow = segmenter.model("slow")

    def kill_the_model() -> None:
        models = own_triton.model_pids()
        assert models
        for pid in models:
            os.kill(pid, signal.SIGKILL)

    error, _ = failure_of(lambda: segmenter.segment(a_volume(LONG), slow), meanwhile=kill_the_model)
    assert isinstance(error, SegmenterUnavailable)

    def answers() -> bool:
        try:
            return bool(segmenter.segment(a_volume((9, 20, 15)), slow).labels[SPOT].any())
        except SegmenterUnavailable:
            return False

    wait_until(answers, timeout_s=60, what="the model, loaded anew,")


def test_a_server_that_hangs_is_unavailable_at_the_deadline(own_triton: Triton) -> None:
    segmenter = own_triton.segmenter(deadline_s=3)
    slow = segmenter.model("slow")
    error, seconds = failure_of(
        lambda: segmenter.segment(a_volume(LONG), slow), meanwhile=lambda: own_triton.signal(signal.SIGSTOP)
    )
    own_triton.signal(signal.SIGCONT)
    assert isinstance(error, SegmenterUnavailable)
    assert "DEADLINE_EXCEEDED" in str(error)
    assert seconds < 20
    # the deadline has ended the request in the server, too: the instance is free
    assert own_triton.segmenter().segment(a_volume((9, 20, 15)), slow).labels[SPOT].any()


def test_another_bundle_under_the_name_is_refused(triton: Triton, tmp_path: Path) -> None:
    bright_spot_bundle(tmp_path, level_hu=-100)
    segmenter = triton.segmenter(models=tmp_path)
    with pytest.raises(ModelRefused, match="weights_sha256") as caught:
        segmenter.segment(a_volume(), segmenter.model("bright_spot"))
    assert caught.value.reason.code == "other_model_served"


def test_another_preprocessing_with_the_same_weights_is_refused(triton: Triton, tmp_path: Path) -> None:
    bundle = bright_spot_bundle(tmp_path)
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    config["preprocessing"]["transforms"][-1]["a_min"] = -900
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    segmenter = triton.segmenter(models=tmp_path)
    with pytest.raises(ModelRefused, match="bundle_sha256") as caught:
        segmenter.segment(a_volume(), segmenter.model("bright_spot"))
    assert caught.value.reason.code == "other_model_served"


def test_another_meaning_with_the_same_weights_is_refused(triton: Triton, tmp_path: Path) -> None:
    bundle = bright_spot_bundle(tmp_path)
    segmenter = triton.segmenter(models=tmp_path)
    read = segmenter.model("bright_spot")
    assert segmenter.segment(a_volume(), read).labels[SPOT].all()
    path = bundle / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"kind": "tumour"', '"kind": "organ"'))
    with pytest.raises(VersionNotHere, match="was exchanged"):
        segmenter.segment(a_volume(), read)
    with pytest.raises(ModelRefused, match="bundle_sha256"):
        segmenter.segment(a_volume(), segmenter.model("bright_spot"))


def test_a_model_that_is_not_in_the_repository_is_refused(triton: Triton, tmp_path: Path) -> None:
    bright_spot_bundle(tmp_path, name="elsewhere")
    segmenter = triton.segmenter(models=tmp_path)
    with pytest.raises(ModelRefused) as caught:
        segmenter.segment(a_volume(), segmenter.model("elsewhere"))
    assert caught.value.reason.code == "model_not_served"


def test_a_volume_that_fits_no_message_is_refused_by_code(triton: Triton) -> None:
    segmenter = triton.segmenter(share_memory=False)
    bright_spot = segmenter.model("bright_spot")
    volume = a_volume()
    object.__setattr__(volume, "voxels", np.broadcast_to(np.float32(0), (2100, 512, 512)))
    with pytest.raises(AnalysisFailed) as caught:
        segmenter.segment(volume, bright_spot)
    assert caught.value.reason.code == "volume_too_large"


SHORT = """
import triton_python_backend_utils as pb_utils
from services.backends.inference import served, wire

class TritonPythonModel(served.TritonPythonModel):
    def execute(self, requests):
        return [short(answer) for answer in super().execute(requests)]

def short(answer):
    tensors = {one.name(): one.as_numpy() for one in answer.output_tensors()}
    tensors[wire.LABELS] = tensors[wire.LABELS][:0]
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in tensors.items()])
"""


@pytest.mark.parametrize("share_memory", [True, False])
def test_an_answer_that_is_not_of_the_whole_volume_is_no_analysis(short_triton: Triton, share_memory: bool) -> None:
    segmenter = short_triton.segmenter(share_memory=share_memory)
    with pytest.raises(AnalysisFailed, match="labels") as caught:
        segmenter.segment(a_volume(), segmenter.model("bright_spot"))
    assert caught.value.reason.code == "runner_failed"


@pytest.fixture(scope="module")
def short_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A server whose model answers with no labels at all."""
    folder = tmp_path_factory.mktemp("short_triton")
    bright_spot_bundle(folder / "models")
    export_repository(Catalogue(folder / "models"), folder / "repository")
    (folder / "repository" / "bright_spot" / "1" / "model.py").write_text(SHORT)
    with triton_server(folder / "models", folder) as server:
        yield server


def test_a_worker_with_triton_never_loads_torch(triton: Triton, tmp_path: Path) -> None:
    shutil.copytree(triton.models / "bright_spot", tmp_path / "bright_spot")
    probe = """
import os, sys
from services.backends.inference import open_segmenter
from services.settings import Settings
import services.worker.main
from tests.support.spot import a_volume
segmenter = open_segmenter(Settings())
assert segmenter.segment(a_volume(), segmenter.model("bright_spot")).labels.any()
print(os.getpid(), sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "monai", "highdicom"}))
"""
    environment = {**os.environ, "VIGIE_TRITON": triton.url, "VIGIE_MODELS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    pid, _, loaded = done.stdout.strip().partition(" ")
    assert loaded == "['highdicom']", done.stdout + done.stderr
    assert not list(Path("/dev/shm").glob(f"vigie-{pid}-*"))
