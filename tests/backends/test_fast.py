"""The fast mode beside the reference mode, on a small network with real convolutions, by OpenVINO itself."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.fast import DIFFERS, NOT_CONVERTED, OUT_OF_MEMORY, FastNetwork
from services.backends.inference.runner import BundleRunner
from services.backends.inference.wire import Report
from services.triage.errors import AnalysisCancelled, Reason
from services.triage.inference import REFERENCE, Inference, InferenceMode
from services.triage.shadow import overlap_of
from services.worker.lesions import find_candidates
from tests.backends.test_runner import LINEAR, SIGMOID, THRESHOLD, a_bundle, a_volume
from tests.support.bundle import bright_spot_bundle
from tests.support.spot import SPOT
from tests.support.spot import a_volume as a_spot
from tests.support.triton import triton_server

FAST = Inference(mode=InferenceMode.FAST)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A UNet that slides over the volume in 4 windows, three at a time: the last batch is smaller."""
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    change(bundle, inferer={"_target_": "SlidingWindowInferer", "roi_size": [32] * 3, "sw_batch_size": 3})
    return bundle


def change(bundle: Path, **sections: object) -> None:
    path = bundle / "configs" / "inference.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | sections))


def runner_of(bundle: Path, mode: InferenceMode = InferenceMode.FAST) -> BundleRunner:
    return BundleRunner(bundle, Catalogue(bundle.parent).get(bundle.name), mode=mode)


def hooked(bundle: Path, expression: str) -> None:
    hook = f"$@network_def.register_forward_hook(lambda module, inputs, output: {expression})"
    change(
        bundle, imports=["$import glob", "$import torch"], hooked=hook, network="$@hooked and @network_def.to(@device)"
    )


def test_fast_finds_the_lesions_of_the_reference(bundle: Path) -> None:
    volume, model = a_volume(), Catalogue(bundle.parent).get("tiny")
    reference = runner_of(bundle, InferenceMode.REFERENCE).run(volume)
    runner = runner_of(bundle)
    fast = runner.run(volume)
    assert (reference.inference, fast.inference) == (REFERENCE, FAST)
    theirs, ours = (find_candidates(one, volume, model) for one in (reference, fast))
    overlap = overlap_of(theirs.label_map, ours.label_map)
    assert theirs.lesions
    assert (overlap.answer_only, overlap.shadow_only) == (0, 0)
    assert overlap.dice is not None
    assert overlap.dice >= 0.999
    again = runner.run(volume)
    np.testing.assert_array_equal(again.tumour_probability, fast.tumour_probability)


class Network(torch.nn.Module):
    """Counts the batches that PyTorch answers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 2, 3, padding=1)
        self.batches: list[int] = []
        self.layer.register_forward_hook(lambda _, inputs, __: self.batches.append(len(inputs[0])))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.layer(windows)


def test_a_smaller_last_batch_is_padded_and_another_shape_converted_anew() -> None:
    network = Network().eval()
    fast = FastNetwork(network)
    fast.begin()
    with torch.inference_mode():
        for shape, converted in (((3, 1, 8, 8, 8), True), ((2, 1, 8, 8, 8), False), ((2, 1, 6, 8, 8), True)):
            windows = torch.rand(shape)
            before = len(network.batches)
            answer = fast(windows)
            assert (len(network.batches) > before) is converted
            torch.testing.assert_close(answer, network(windows), rtol=1e-5, atol=1e-5)
    assert fast.told() == FAST


def test_a_network_whose_course_depends_on_the_data_stays_in_pytorch_and_is_told(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hooked(bundle, "output if inputs[0].max() > 0.9 else output * 0.5")
    reference = runner_of(bundle, InferenceMode.REFERENCE).run(a_volume())
    runner = runner_of(bundle)
    for _ in range(2):
        segmentation = runner.run(a_volume())
        np.testing.assert_array_equal(segmentation.tumour_probability, reference.tumour_probability)
        assert str(segmentation.inference) == f"reference ({NOT_CONVERTED})"
    assert len([one for one in caplog.records if "stays in PyTorch" in one.message]) == 1


def test_a_network_that_answers_otherwise_stays_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.backends.inference.fast.compile_network", lambda *_: lambda given: [given * 1.01])
    network, windows = torch.nn.Identity(), torch.rand(1, 1, 4, 4, 4)
    fast = FastNetwork(network)
    fast.begin()
    assert fast(windows) is windows
    told = fast.told()
    assert told.mode is InferenceMode.REFERENCE
    assert told.why is not None
    assert told.why.code == DIFFERS


def test_without_memory_for_the_converted_network_pytorch_answers(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*_: object) -> None:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr("services.backends.inference.fast.compile_network", starved)
    segmentation = runner_of(bundle).run(a_volume())
    assert str(segmentation.inference) == f"reference ({OUT_OF_MEMORY})"
    assert segmentation.labels.any()


def test_fast_asks_before_each_batch_whether_it_is_cancelled(bundle: Path) -> None:
    runner = runner_of(bundle)
    answers: list[bool] = []
    runner.run(a_volume(), cancelled=lambda: bool(answers.append(False)))
    batches = len(answers) - 2  # it is asked before the preprocessing and before the postprocessing, too
    assert batches > 1
    late = iter([False] * batches + [True])  # at the last batch
    with pytest.raises(AnalysisCancelled):
        runner.run(a_volume(), cancelled=lambda: next(late))


def test_nothing_is_sent_home_and_nothing_left_on_disk(tmp_path: Path) -> None:
    """In a process of its own, which has its home and temporary files in a folder of its own."""
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from services.backends.inference.fast import FastNetwork\n"
        "fast = FastNetwork(torch.nn.Conv3d(1, 1, 3).eval())\n"
        "fast.begin()\n"
        "files = lambda: {path for path in Path.home().rglob('*') if path.is_file()}\n"
        "before = files()\n"
        "with torch.inference_mode(): fast(torch.rand(1, 1, 8, 8, 8))\n"
        "assert str(fast.told()) == 'fast', fast.told()\n"
        "assert files() == before, files() - before\n"
        "assert not any(name.startswith('openvino_telemetry.') for name in sys.modules)\n"
    )
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR")}
    repository = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        env={"PYTHONPATH": str(repository), **places},
        cwd=tmp_path,
        timeout=200,
    )


@pytest.mark.parametrize("inference", [REFERENCE, FAST, replace(REFERENCE, why=Reason(code="differs", text="by 2"))])
def test_a_report_travels_with_the_mode_and_as_before_without(inference: Inference) -> None:
    report = Report(bundle_sha256="0", timings_s={}, peak_memory_mb=None, inference=inference)
    assert Report.from_json(report.to_json()) == report
    assert ("inference" in json.loads(report.to_json())) is (inference != REFERENCE)


def test_triton_runs_the_mode_of_its_own_setting_and_tells_it(tmp_path: Path) -> None:
    bright_spot_bundle(tmp_path / "models", name="sliding", windows_at_once=4)
    with triton_server(tmp_path / "models", tmp_path, inference="fast") as server:
        segmenter = server.segmenter()
        segmentation = segmenter.segment(a_spot(), segmenter.model("sliding"))
    assert segmentation.inference == FAST
    spot = np.zeros(segmentation.labels.shape, np.uint8)
    spot[SPOT] = 1
    np.testing.assert_array_equal(segmentation.labels, spot)
