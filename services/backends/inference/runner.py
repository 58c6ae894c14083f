"""Runs a MONAI segmentation bundle over a whole volume, from the bundle's own inference config.

The bundle's preprocessing, network, weights, inferer and postprocessing do the work, in MONAI's own code, as its
SupervisedEvaluator would call them. Its file loaders read the volume from DICOM, its savers are left out, and labels
and probability come back on the volume's grid. The same class runs in the worker's process and inside Triton.
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate
from monai.inferers import SimpleInferer, SliceInferer
from monai.transforms import Compose, LoadImage, LoadImaged, MapTransform

from services.backends.inference.converted import ConvertedNetworks
from services.backends.inference.fast import FastNetwork
from services.backends.inference.flips import BREAKS, Check, axes_of, mirrored_runs, or_reason
from services.backends.inference.inference_config import InferenceConfig, read_config
from services.backends.inference.memory import is_out_of_memory, peak_memory_mb, reset_peak_memory
from services.backends.inference.postprocessing import IMAGE, PRED, Item, Postprocessing, flat
from services.backends.inference.volume_reader import VolumeReader, ras_affine, to_volume_axes
from services.backends.inference.weights import load_weights
from services.memory import reused
from services.triage.errors import AnalysisCancelled, AnalysisFailed, ModelRefused, Reason
from services.triage.inference import REFERENCE, Inference, InferenceMode
from services.triage.model import Model
from services.triage.uncertainty import OUT_OF_MEMORY
from services.triage.volume import Segmentation, Volume

_RECONSTRUCT = np.ndarray(0).__reduce__()[0]
ARRAYS: list[Any] = [
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(np.ndarray, np.dtype),
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_)),
]
"""Beside tensors, what a file that a config loads may hold (the search code of a DiNTS): plain NumPy arrays."""


class BundleRunner:
    """One bundle, its network loaded, ready to run.

    mode: fast is a converted network on a CPU (`fast.py`), autocast on a GPU.
    converted: folder where converted networks are kept for the next process; None: they are not.
    Raises ModelRefused when the bundle cannot be loaded: no inference config, a section missing, weights that do not
    fit the network or hold anything but tensors, or what it does is no segmentation of volumes.
    """

    def __init__(
        self,
        bundle: Path,
        model: Model,
        *,
        device: str = "cpu",
        mode: InferenceMode = InferenceMode.REFERENCE,
        converted: Path | None = None,
    ) -> None:
        config = read_config(bundle, device)
        parser = ConfigParser(config.content)
        self._model = model
        self._device = torch.device(device)
        self._network: torch.nn.Module = _content(parser, config.network)
        load_weights(self._network, config, parser, bundle, self._device)
        self._network.to(self._device).eval()
        self._inferer = _content(parser, config.inferer) if config.inferer else SimpleInferer()
        amp = bool(_content(parser, config.amp)) if config.amp else False
        _require_volumes(self._network, self._inferer)
        fast, on_gpu = mode is InferenceMode.FAST, self._device.type == "cuda"
        self._autocast = on_gpu and (amp or fast)
        self._fast: FastNetwork | None = None
        if fast and not on_gpu:
            kept = ConvertedNetworks(converted) if converted else None
            self._fast = FastNetwork(self._network, bundle=model.bundle_sha256, kept=kept)
        self._inference = Inference(mode=mode) if on_gpu else REFERENCE
        self._reader = VolumeReader()
        self._preprocessing, self._keys = _preprocessing(parser, config, self._reader)
        self._postprocessing = Postprocessing(_content(parser, config.postprocessing), model)

    def run(
        self, volume: Volume, *, cancelled: Callable[[], bool] | None = None, flips_within_s: float | None = None
    ) -> Segmentation:
        """Segment a volume; `cancelled` is asked before each sliding window and each stage.

        flips_within_s: run the network again on mirrored images (`flips.py`), for so many seconds at most; None: do
        not. Labels and probability are ready by then, and what goes wrong there costs nothing but `mirrored`.
        Raises AnalysisFailed: out_of_memory, runner_failed (a transform or the network broke, or answered with NaN);
        AnalysisCancelled.
        """
        timings: dict[str, float] = {}
        reset_peak_memory()
        try:
            with reused(), torch.inference_mode():
                segmentation = self._run(volume, timings, _checkpoint(cancelled), flips_within_s)
        except BREAKS as error:
            if is_out_of_memory(error):
                raise AnalysisFailed("out_of_memory", f"no memory for {volume.voxels.shape} voxels") from error
            raise AnalysisFailed("runner_failed", f"the bundle broke with {type(error).__name__}: {error}") from error
        return replace(segmentation, peak_memory_mb=peak_memory_mb())

    def _run(
        self, volume: Volume, timings: dict[str, float], check: Check, flips_within_s: float | None
    ) -> Segmentation:
        check()
        with _timed(timings, "preprocess"):
            batch = list_data_collate([self._prepare(volume)])
        with _timed(timings, "infer"):
            batch[IMAGE] = batch[IMAGE].to(self._device)
            batch[PRED] = self._infer(batch[IMAGE], check)
        check()
        with _timed(timings, "postprocess"):
            (item,) = decollate_batch(batch)
            shape = volume.voxels.shape[::-1]
            labels, probability = map(to_volume_axes, self._postprocessing(item, ras_affine(volume), shape))
        segmentation = Segmentation(
            labels=labels,
            tumour_probability=probability,
            timings_s=timings,
            inference=self._fast.told() if self._fast else self._inference,
        )
        if flips_within_s is None:
            return segmentation
        del item
        with _timed(timings, "uncertainty"):
            attempt = partial(self._mirrored, batch, segmentation, volume, flips_within_s, check)
            mirrored = or_reason(attempt)
        return replace(segmentation, mirrored=mirrored)

    def _mirrored(
        self, batch: Item, segmentation: Segmentation, volume: Volume, within_s: float, check: Check
    ) -> npt.NDArray[np.uint8] | Reason:
        """See `Segmentation.mirrored`; the answer leaves `batch`, for only one at a time has to find room."""
        shape = batch.pop(PRED).shape
        tumour = np.isin(segmentation.labels, self._model.tumour_values)
        why = segmentation.inference.why
        if why is not None and why.code == OUT_OF_MEMORY.code:
            return OUT_OF_MEMORY  # the next run would convert the network anew, and judge it on mirrored windows

        def read(answer: torch.Tensor) -> npt.NDArray[np.uint8]:
            (item,) = decollate_batch({**batch, PRED: answer})
            probability = self._postprocessing.probability(item, ras_affine(volume), volume.voxels.shape[::-1])
            return np.ascontiguousarray(to_volume_axes(probability)[tumour])

        return mirrored_runs(
            batch[IMAGE],
            shape,
            axes=axes_of(self._inferer),
            ask=self._asked,
            read=read,
            any_tumour=bool(tumour.any()),
            once_s=sum(segmentation.timings_s[stage] for stage in ("infer", "postprocess")),
            within_s=within_s,
            check=check,
        )

    def _prepare(self, volume: Volume) -> Item:
        """What the bundle's preprocessing makes of a volume; the network's input is its `image` [C, x, y, z]."""
        with self._reader.holding(volume) as names:
            files: Any = names if len(names) > 1 else names[0]
            if not self._keys:  # array transforms: one image goes through, not a dictionary
                return {IMAGE: self._preprocessing(files)}
            wanted = [one.name for one in self._model.inputs]
            apart = len(wanted) > 1 and set(wanted) <= set(self._keys)
            item: Item = self._preprocessing(dict(zip(wanted, names, strict=True)) if apart else {self._keys[0]: files})
        if IMAGE not in item:
            item[IMAGE] = item[self._keys[0]]
        return item

    def _infer(self, image: torch.Tensor, check: Check) -> torch.Tensor:
        """The inferer's answer; when memory runs out the network is asked once more, a sliding window at a time."""
        if self._fast:
            self._fast.begin()
        try:
            return self._asked(image, check)
        except (MemoryError, RuntimeError) as error:
            one_at_a_time = self._fast is None and getattr(self._inferer, "sw_batch_size", 1) == 1
            if not is_out_of_memory(error) or one_at_a_time:
                raise
        # here the exception is gone, and with it the frames that held the first try's tensors
        if self._fast:
            self._fast.forget()
        torch.cuda.empty_cache()
        inferer = copy.copy(self._inferer)
        inferer.sw_batch_size = 1
        with torch.autocast("cuda", enabled=self._autocast):
            return _tensor(inferer(image, _checked(self._network, check)))

    def _asked(self, image: torch.Tensor, check: Check) -> torch.Tensor:
        """The inferer's answer [1, C, x, y, z] to an image of that shape, as it is configured."""
        with torch.autocast("cuda", enabled=self._autocast):
            return _tensor(self._inferer(image, _checked(self._fast or self._network, check)))


def _checked(network: Callable[..., Any], check: Check) -> Callable[..., Any]:
    """The network, with a check before each batch of windows."""

    def ask(windows: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        check()
        return network(windows, *args, **kwargs)

    return ask


def _checkpoint(cancelled: Callable[[], bool] | None) -> Check:
    def check() -> None:
        if cancelled is not None and cancelled():
            raise AnalysisCancelled("the analysis was cancelled between two steps of the model")

    return check


def _content(parser: ConfigParser, at: str) -> Any:
    """A section's object. Parsing runs the bundle's own constructors, which may raise anything RuntimeError wraps."""
    try:
        with torch.serialization.safe_globals(ARRAYS):
            return parser.get_parsed_content(at)
    except (
        RuntimeError, ValueError, TypeError, KeyError, AttributeError, ImportError, NameError, OSError,
    ) as error:  # fmt: skip
        raise ModelRefused("bad_inference_config", f"'{at}' of the inference config: {error}") from error


def _preprocessing(
    parser: ConfigParser, config: InferenceConfig, reader: VolumeReader
) -> tuple[Compose, tuple[str, ...]]:
    """The bundle's preprocessing, reading from `reader`, and the keys it loads; none: array transforms.

    The Compose itself, not a copy: the bundle's Invertd undoes this one.
    """
    transforms = _content(parser, config.preprocessing)
    steps = tuple(flat(transforms))
    loaders = [step for step in steps if isinstance(step, LoadImage | LoadImaged)]
    if not loaders:
        raise ModelRefused("missing_section", f"'{config.preprocessing}' of the inference config loads no image")
    for loader in loaders:
        loader.register(reader)
    for step in steps:
        if isinstance(step, MapTransform):
            step.allow_missing_keys = True  # of labels, which only an evaluation has
    keys = tuple(str(key) for loader in loaders if isinstance(loader, LoadImaged) for key in loader.keys)
    return transforms if isinstance(transforms, Compose) else Compose(list(steps)), keys


def _require_volumes(network: torch.nn.Module, inferer: Any) -> None:
    """Raises ModelRefused for a network of flat pictures (endoscopy, pathology), unless it goes slice by slice."""
    layers = list(network.modules())
    flat_only = any(isinstance(layer, torch.nn.Conv2d) for layer in layers) and not any(
        isinstance(layer, torch.nn.Conv3d) for layer in layers
    )
    if flat_only and not isinstance(inferer, SliceInferer):
        raise ModelRefused("not_of_volumes", "the network takes flat pictures, and no SliceInferer leads it by slices")


def _tensor(answer: Any) -> torch.Tensor:
    """Raises AnalysisFailed for one that is NaN or infinite anywhere: it would become background without a word."""
    if not isinstance(answer, torch.Tensor):
        raise TypeError(f"the network answers with {type(answer).__name__}, not with one tensor of channels")
    if not torch.stack(torch.aminmax(answer.detach())).isfinite().all():  # no copy of the answer, and NaN comes through
        raise AnalysisFailed("runner_failed", "the network's answer is NaN or infinite in places")
    return answer


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - begin
