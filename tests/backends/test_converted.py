"""Converted networks that are kept for the next process: only what is whole, ours and of the same key is taken."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from services.backends.inference import converted, fast
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.converted import Comparison, ConvertedNetworks
from services.backends.inference.fast import FastNetwork
from services.backends.inference.runner import BundleRunner
from services.triage.inference import InferenceMode
from tests.backends.test_runner import a_volume
from tests.support.bundle import bright_spot_bundle

PASSED = Comparison(difference=1e-6, scale=1.0)
WINDOWS = (1, 1, 8, 8, 8)


class Network(torch.nn.Module):
    """Counts the batches that PyTorch answers."""

    def __init__(self, weight: float = 0.5) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 2, 3, padding=1)
        torch.nn.init.constant_(self.layer.weight, weight)
        torch.nn.init.zeros_(self.layer.bias)
        self.asked = 0
        self.layer.register_forward_hook(self.count)

    def count(self, *_: object) -> None:
        self.asked += 1

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.layer(windows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "converted"


def asked_pytorch(
    folder: Path, *, weight: float = 0.5, shape: tuple[int, ...] = WINDOWS, bundle: str = "a bundle"
) -> bool:
    """Whether a new process's network was compared with PyTorch; its answer is right in any case."""
    network = Network(weight).eval()
    quick = FastNetwork(network, bundle=bundle, kept=ConvertedNetworks(folder))
    quick.begin()
    with torch.inference_mode():
        windows = torch.rand(shape)
        answer = quick(windows)
        asked = network.asked > 0
        torch.testing.assert_close(answer, network(windows), rtol=1e-5, atol=1e-4)
    assert str(quick.told()) == "fast"
    return asked


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_the_next_process_takes_the_network_that_passed_and_never_one_of_something_else(folder: Path) -> None:
    assert asked_pytorch(folder)
    assert not asked_pytorch(folder)
    assert asked_pytorch(folder, weight=0.25)
    assert asked_pytorch(folder, shape=(2, 1, 8, 8, 8))
    assert asked_pytorch(folder, bundle="another bundle")
    assert not asked_pytorch(folder)
    assert len(files(folder)) == 4


def test_another_process_answers_the_same_without_converting(tmp_path: Path, folder: Path) -> None:
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from services.backends.inference.converted import ConvertedNetworks\n"
        "from services.backends.inference.fast import FastNetwork\n"
        "torch.manual_seed(1)\n"
        "fast = FastNetwork(torch.nn.Conv3d(1, 1, 3).eval(), kept=ConvertedNetworks(Path(sys.argv[1])))\n"
        "fast.begin()\n"
        "with torch.inference_mode(): answer = fast(torch.rand(1, 1, 8, 8, 8))\n"
        "print('openvino.frontend.pytorch' in sys.modules, answer.numpy().tobytes().hex())\n"
    )
    repository = Path(__file__).resolve().parents[2]
    told = [
        subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(repository), "HOME": str(tmp_path)},
            timeout=200,
        ).stdout.split()
        for _ in range(2)
    ]
    assert [converts for converts, _ in told] == ["True", "False"]
    assert told[0][1] == told[1][1]


def test_software_and_processor_are_in_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_pytorch(folder)
    monkeypatch.setattr(converted, "version", lambda _: "another")
    assert asked_pytorch(folder)
    monkeypatch.setattr(fast, "processor", lambda: {"processor": "another"})
    assert asked_pytorch(folder)
    assert not asked_pytorch(folder)


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_comparison(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"scale": ', b'"scale": 9', 1))


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


def a_link(path: Path) -> None:
    elsewhere = path.parents[1] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def another_network(path: Path) -> None:
    """Whole, and what it says of itself is true, but it lies under the name of ours."""
    other = ConvertedNetworks(path.parent)
    other.keep({"network": "another"}, b"not ours", PASSED)
    (theirs,) = (one for one in path.parent.iterdir() if one != path)
    theirs.replace(path)


@pytest.mark.parametrize(
    "harm",
    [damaged, cut, empty, another_comparison, open_to_others, a_link, another_network],
    ids=lambda it: it.__name__,
)
def test_a_file_that_does_not_hold_is_told_and_made_anew(
    folder: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    assert asked_pytorch(folder)
    (path,) = files(folder)
    harm(path)
    assert asked_pytorch(folder)
    assert len([one for one in caplog.records if "is made anew" in one.message]) == 1
    assert not asked_pytorch(folder)


def test_what_openvino_does_not_take_is_made_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ConvertedNetworks, "keep", lambda self, key, _, comparison: KEEP(self, key, b"x", comparison))
        assert asked_pytorch(folder)
    assert asked_pytorch(folder)
    assert "is made anew" in caplog.text
    assert not asked_pytorch(folder)


KEEP = ConvertedNetworks.keep


def test_a_network_that_would_not_pass_today_is_compared_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        wide = Comparison(difference=0.1, scale=1.0)
        patch.setattr(ConvertedNetworks, "keep", lambda self, key, network, _: KEEP(self, key, network, wide))
        assert asked_pytorch(folder)
    assert asked_pytorch(folder)


def test_a_network_that_differs_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "compile_network", lambda *_: lambda given: [given * 1.01])
    quick = FastNetwork(torch.nn.Identity(), kept=ConvertedNetworks(folder))
    quick.begin()
    quick(torch.rand(WINDOWS))
    assert str(quick.told()) == "reference (differs)"
    assert not list(folder.glob("*"))


def test_the_folder_is_ours_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked_pytorch(folder)
    (path,) = files(folder)
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    folder.chmod(0o770)
    assert asked_pytorch(folder)
    assert "others may use it" in caplog.text


def test_without_a_folder_to_write_to_the_mode_is_fast_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert asked_pytorch(tmp_path / "file" / "converted")
    (told,) = (one for one in caplog.records if one.name.startswith("services."))
    assert "not kept" in told.message


def test_those_not_asked_for_the_longest_go_first(folder: Path) -> None:
    kept = ConvertedNetworks(folder, most_bytes=2500)
    for name in "ab":
        kept.keep({"network": name}, b"x" * 800, PASSED)
        (newest,) = (path for path in files(folder) if path.stat().st_mtime > 1000)
        os.utime(newest, (ord(name), ord(name)))
    assert kept.read({"network": "a"})
    kept.keep({"network": "c"}, b"x" * 800, PASSED)
    assert [kept.read({"network": name}) is not None for name in "abc"] == [True, False, True]
    kept.keep({"network": "large"}, b"x" * 3000, PASSED)
    assert len(files(folder)) == 2


def test_a_file_that_a_killed_process_left_goes_in_time(folder: Path) -> None:
    kept = ConvertedNetworks(folder)
    kept.keep({"network": "a"}, b"x", PASSED)
    old, new = folder / "old.unfinished", folder / "new.unfinished"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    kept.keep({"network": "b"}, b"x", PASSED)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_bundle_runs_the_same_from_a_kept_network(tmp_path: Path, folder: Path) -> None:
    bundle = bright_spot_bundle(tmp_path / "models", windows_at_once=4)
    model = Catalogue(bundle.parent).get(bundle.name)
    first, second = (
        BundleRunner(bundle, model, mode=InferenceMode.FAST, converted=folder).run(a_volume()) for _ in range(2)
    )
    assert str(first.inference) == str(second.inference) == "fast"
    assert len(files(folder)) == 1
    np.testing.assert_array_equal(first.tumour_probability, second.tumour_probability)
