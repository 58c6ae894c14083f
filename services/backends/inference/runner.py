"""Runs a MONAI segmentation bundle over a whole volume, from the bundle's own inference config.

The bundle's preprocessing, network, weights, inferer and postprocessing do the work, in MONAI's own code. Only its
file loaders and savers are replaced: the volume comes from DICOM, and labels and probability go back on its grid.
The same class runs in the worker's process and inside Triton.
"""

import copy
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, LoadImaged, SaveImaged

from services.backends.inference.catalogue import WEIGHTS
from services.backends.inference.memory import peak_memory_mb, reset_peak_memory
from services.triage.errors import AnalysisCancelled, AnalysisFailed, ModelRefused
from services.triage.model import ClassKind, Model
from services.triage.volume import Segmentation, Volume

CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
Item = dict[Any, Any]
Transform = Callable[[Item], Item]


class BundleRunner:
    """One bundle, its network loaded, ready to run.

    Raises ModelRefused when the bundle cannot be loaded: no inference config, a section missing, weights that do not
    fit the network or hold anything but tensors (`torch.load(weights_only=True)`).
    """

    def __init__(self, bundle: Path, model: Model, *, device: str = "cpu") -> None:
        self._model = model
        self._device = torch.device(device)
        parser = _parser(bundle, device)
        self._image_key = str(parser.get_parsed_content("image_key", default="image"))
        self._network = _network(parser, bundle, self._device)
        self._inferer = _section(parser, "inferer")
        self._preprocessing = _without(_section(parser, "preprocessing"), LoadImaged)
        self._postprocessing = _without(_section(parser, "postprocessing"), SaveImaged)

    def run(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Segment a volume; `cancelled` is asked before each sliding window and each stage.

        Raises AnalysisFailed: out_of_memory, runner_failed (a transform or the network broke); AnalysisCancelled.
        """
        timings: dict[str, float] = {}
        reset_peak_memory()
        try:
            with torch.inference_mode():
                labels, probability = self._run(volume, timings, _checkpoint(cancelled))
        except (MemoryError, RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
            if _is_out_of_memory(error):
                raise AnalysisFailed("out_of_memory", f"no memory for {volume.voxels.shape} voxels") from error
            raise AnalysisFailed("runner_failed", f"the bundle broke with {type(error).__name__}: {error}") from error
        return Segmentation(
            labels=labels, tumour_probability=probability, timings_s=timings, peak_memory_mb=peak_memory_mb()
        )

    def _run(
        self, volume: Volume, timings: dict[str, float], check: Callable[[], None]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        with _timed(timings, "preprocess"):
            item: Item = {self._image_key: _to_meta_tensor(volume)}
            for transform in self._preprocessing:
                check()
                item = transform(item)
        with _timed(timings, "infer"):
            item["pred"] = self._infer(item[self._image_key].to(self._device)[None], check)[0]
        check()
        with _timed(timings, "postprocess"):
            labels, probability = self._postprocess(item)
        return _to_volume_axes(labels), _to_volume_axes(probability)

    def _infer(self, image: torch.Tensor, check: Callable[[], None]) -> Any:
        """The inferer's answer; when memory runs out it is asked once more, with one sliding window at a time."""

        def network(windows: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            check()
            return self._network(windows, *args, **kwargs)

        try:
            return self._inferer(image, network)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or getattr(self._inferer, "sw_batch_size", 1) == 1:
                raise
        # here the exception is gone, and with it the frames that held the first try's tensors
        torch.cuda.empty_cache()
        inferer = copy.copy(self._inferer)
        inferer.sw_batch_size = 1
        return inferer(image, network)

    def _postprocess(self, item: Item) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels by the bundle's own steps; the probability is taken back to the source grid before it is discrete."""
        discrete = _first(self._postprocessing, AsDiscreted)
        inverse = _first(self._postprocessing, Invertd)
        if inverse < discrete:
            for transform in self._postprocessing[: inverse + 1]:
                item = transform(item)
            probability = self._tumour_probability(item["pred"], self._postprocessing[:inverse])
            rest = self._postprocessing[inverse + 1 :]
        else:
            activated = dict(item)
            for transform in self._postprocessing[:discrete]:
                activated = transform(activated)
            activated["pred"] = self._tumour_probability(activated["pred"], self._postprocessing[:discrete])
            if inverse < len(self._postprocessing):
                activated = _linear(self._postprocessing[inverse])(activated)
            probability = activated["pred"]
            rest = self._postprocessing
        for transform in rest:
            item = transform(item)
        return item["pred"][0].to(torch.uint8), probability[0].mul(255).round().clamp(0, 255).to(torch.uint8)

    def _tumour_probability(self, pred: torch.Tensor, steps: Sequence[Transform]) -> torch.Tensor:
        """Channels [C, x, y, z] to one [1, x, y, z]: the one sigmoid channel, or the sum of the tumour classes."""
        activated = any(isinstance(step, Activationsd) for step in steps)
        if pred.shape[0] == 1:
            return pred if activated else torch.sigmoid(pred)
        if not activated:
            pred = torch.softmax(pred, dim=0)
        channels = [told.value for told in self._model.classes if told.kind is ClassKind.TUMOUR]
        if any(channel >= pred.shape[0] for channel in channels):
            raise AnalysisFailed("runner_failed", f"classes {channels} do not fit the model's {pred.shape[0]} channels")
        return pred[channels].sum(dim=0, keepdim=True)


def _checkpoint(cancelled: Callable[[], bool] | None) -> Callable[[], None]:
    def check() -> None:
        if cancelled is not None and cancelled():
            raise AnalysisCancelled("the analysis was cancelled between two steps of the model")

    return check


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch's CPU allocator has no error class of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "alloc" in str(error)


def _parser(bundle: Path, device: str) -> ConfigParser:
    config = next((bundle / "configs" / name for name in CONFIGS if (bundle / "configs" / name).is_file()), None)
    if config is None:
        raise ModelRefused("no_inference_config", f"bundle '{bundle.name}' has none of configs/{', '.join(CONFIGS)}")
    parser = ConfigParser()
    parser.read_config(str(config))
    parser["bundle_root"] = str(bundle)
    parser["device"] = f"$torch.device('{device}')"
    return parser


def _section(parser: ConfigParser, name: str) -> Any:
    """A section's object. Parsing runs the bundle's own constructors, which may raise anything RuntimeError wraps."""
    if name not in parser:
        raise ModelRefused("missing_section", f"the inference config has no '{name}'")
    try:
        return parser.get_parsed_content(name)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ModelRefused("bad_inference_config", f"'{name}' of the inference config: {error}") from error


def _network(parser: ConfigParser, bundle: Path, device: torch.device) -> torch.nn.Module:
    network: torch.nn.Module = _section(parser, "network" if "network" in parser else "network_def")
    try:
        weights = torch.load(bundle / WEIGHTS, map_location=device, weights_only=True)
        network.load_state_dict(weights.get("model", weights))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, AttributeError, TypeError) as error:
        raise ModelRefused("bad_weights", f"{WEIGHTS} of '{bundle.name}': {type(error).__name__}: {error}") from error
    return network.to(device).eval()


def _without(compose: Compose, kind: type) -> tuple[Transform, ...]:
    return tuple(transform for transform in compose.transforms if not isinstance(transform, kind))


def _first(transforms: Sequence[Transform], kind: type) -> int:
    """Index of the first transform of a kind; the length when there is none."""
    return next((index for index, transform in enumerate(transforms) if isinstance(transform, kind)), len(transforms))


def _linear(invert: Transform) -> Transform:
    """The bundle's Invertd, interpolating: a probability has no classes to keep apart."""
    linear = copy.copy(invert)
    linear.nearest_interp = [False]  # type: ignore[attr-defined]
    return linear


def _to_meta_tensor(volume: Volume) -> MetaTensor:
    """[slice, row, column] in LPS to MONAI's [column, row, slice] in RAS, as its NIfTI reader would give it."""
    affine = LPS_TO_RAS @ volume.affine[:, [2, 1, 0, 3]]
    voxels = torch.from_numpy(volume.voxels).permute(2, 1, 0).to(torch.float32)
    meta = {"original_channel_dim": float("nan"), "spatial_shape": np.array(voxels.shape), "space": "RAS"}
    return MetaTensor(voxels, affine=torch.from_numpy(affine), meta=meta)


def _to_volume_axes(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    """[column, row, slice] back to [slice, row, column]."""
    array = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return np.ascontiguousarray(array.cpu().permute(2, 1, 0).numpy())


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - begin
