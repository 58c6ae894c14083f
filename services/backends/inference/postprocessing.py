"""From a network's answer to labels and one tumour probability, both on the source grid.

The labels are what the bundle's own steps make of the answer. The probability is the answer before it is made
discrete: its channels become one, which goes back to the source grid with interpolation.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    CastToTyped,
    Compose,
    EnsureTyped,
    Invertd,
    MapTransform,
    SpatialResample,
    ToDeviced,
    ToTensord,
    apply_transform,
)
from monai.utils import GridSamplePadMode

from services.backends.inference.channels import Answer, Transform, merged, tumour_probability
from services.triage.errors import AnalysisFailed
from services.triage.model import Model

Item = dict[Any, Any]
Placing = Callable[..., torch.Tensor]
IMAGE, PRED = "image", "pred"
"""What MONAI's evaluators call the input and the answer."""

SOFT = (Activationsd, Invertd, EnsureTyped, CastToTyped, ToDeviced, ToTensord)
"""Steps that leave an answer continuous; without an AsDiscreted, the first other step is where it becomes discrete."""

GRID_TOLERANCE_MM = 1e-3


class Saver(MapTransform):  # type: ignore[misc] # MONAI tells no types
    """In the place of a bundle's SaveImage and SaveImaged: it knows what they say of the image, and saves nothing."""

    def __init__(
        self,
        keys: KeysCollection = PRED,
        *,
        resample: bool = False,
        padding_mode: str = GridSamplePadMode.BORDER,
        output_dtype: DtypeLike = None,
    ) -> None:
        super().__init__(keys)
        self.padding = str(padding_mode) if resample else "zeros"
        self.is_integer = _is_integer(output_dtype)

    def __call__(self, data: Any, *_: Any, **__: Any) -> Any:
        """The same data."""
        return data


class Postprocessing:
    """A bundle's postprocessing, with its savers left out."""

    def __init__(self, transforms: Any, model: Model) -> None:
        steps = tuple(flat(transforms))
        saver = next((step for step in steps if isinstance(step, Saver)), None)
        self._model = model
        self._steps = tuple(step for step in steps if not isinstance(step, Saver))
        self._cut = _first_discrete(self._steps)
        self._saved = saver.keys[0] if saver else PRED
        self._padding = saver.padding if saver else "zeros"  # a saver that resamples says what lies beyond the grid
        self._cuts_off = saver is not None and saver.is_integer
        for step in self._steps:
            if isinstance(step, MapTransform):
                step.allow_missing_keys = True  # of labels, which only an evaluation has

    def __call__(
        self, item: Item, affine: npt.NDArray[np.float64], shape: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels and probability, uint8 [column, row, slice] each.

        item: what preprocessing made, and `pred` [C, ...]. affine, shape: of the source grid, in MONAI's axes.
        Raises AnalysisFailed: the channels do not fit the classes, or a label is none of 0 to 255.
        """
        placed = self._placing(item, affine, shape)
        item, answer = self._softened(item)
        probability = self._probability(item, answer, placed)
        for step in self._steps[self._cut :]:
            item = apply_transform(step, item, map_items=False)
        labels = placed(merged(item[self._saved], answer), mode="nearest")
        if labels.is_floating_point():
            # what is no whole number comes of an Invertd that interpolates between classes
            labels = labels.trunc() if self._cuts_off else labels.round()
        return _bytes(labels)[0], probability

    def probability(self, item: Item, affine: npt.NDArray[np.float64], shape: Sequence[int]) -> torch.Tensor:
        """The probability alone, by the same steps: of another answer to the same image."""
        placed = self._placing(item, affine, shape)
        return self._probability(*self._softened(item), placed)

    def _placing(self, item: Item, affine: npt.NDArray[np.float64], shape: Sequence[int]) -> Placing:
        """How what the bundle leaves on another grid is taken to the source's."""
        now = item[IMAGE].affine if isinstance(item.get(IMAGE), MetaTensor) else torch.from_numpy(affine)
        return partial(_on_grid, affine_now=now, affine=affine, shape=tuple(shape), padding=self._padding)

    def _softened(self, item: Item) -> tuple[Item, Answer]:
        """The answer up to where it becomes discrete, and what its channels are."""
        soft, rest = self._steps[: self._cut], self._steps[self._cut :]
        for step in soft:
            item = apply_transform(step, item, map_items=False)
        return item, Answer.of(soft, rest, PRED, channels=item[PRED].shape[0])

    def _probability(self, item: Item, answer: Answer, placed: Placing) -> torch.Tensor:
        probability = tumour_probability(item[PRED], answer, self._model)
        inverse = next((step for step in self._steps[self._cut :] if isinstance(step, Invertd)), None)
        if inverse is not None:
            undone: Item = apply_transform(_linear(inverse), {**item, PRED: probability}, map_items=False)
            probability = undone[PRED]
        return placed(probability, mode="bilinear")[0].mul(255).round().clamp(0, 255).to(torch.uint8)


def _bytes(labels: torch.Tensor) -> torch.Tensor:
    """As uint8. Raises AnalysisFailed for a label that would become another one, or background, without a word."""
    cast = labels.to(torch.uint8)
    other = cast.to(labels.dtype) != labels
    if other.any():
        text = f"the bundle gives label {labels[other][0].item():g}; labels are 0 to 255"
        raise AnalysisFailed("runner_failed", text)
    return cast


def flat(transforms: Any) -> Iterator[Transform]:
    """The steps of a Compose, a list, or one step, in their order."""
    if isinstance(transforms, Compose):
        transforms = transforms.transforms
    if isinstance(transforms, list | tuple):
        for part in transforms:
            yield from flat(part)
    elif transforms is not None:
        yield transforms


def _is_integer(kind: Any) -> bool:
    """Whether a saver writes whole numbers; it cuts off what is not."""
    if isinstance(kind, torch.dtype):
        return not kind.is_floating_point
    return kind is not None and np.issubdtype(np.dtype(kind), np.integer)


def _first_discrete(steps: Sequence[Transform]) -> int:
    """Index of the step that makes the answer discrete; the length when none does."""
    discrete = [index for index, step in enumerate(steps) if isinstance(step, AsDiscreted)]
    other = [index for index, step in enumerate(steps) if not isinstance(step, SOFT)]
    return next(iter(discrete or other), len(steps))


def _linear(invert: Invertd) -> Invertd:
    """The bundle's Invertd, interpolating: a probability has no classes to keep apart."""
    linear = copy.copy(invert)
    linear.nearest_interp = (False,) * len(linear.keys)
    return linear


def _on_grid(
    tensor: torch.Tensor,
    *,
    affine_now: torch.Tensor,
    affine: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    padding: str,
    mode: str,
) -> torch.Tensor:
    """Labels or probability [1, ...] that the bundle left on another grid than the source's, taken there by affine."""
    now = tensor.affine if isinstance(tensor, MetaTensor) else affine_now
    same = np.allclose(np.asarray(now.cpu()), affine, rtol=0, atol=GRID_TOLERANCE_MM)
    if same and tuple(tensor.shape[1:]) == shape:
        return tensor
    placed = MetaTensor(tensor.float(), affine=now)
    resample = SpatialResample(mode=mode, padding_mode=padding, align_corners=False, dtype=np.float64)
    back: torch.Tensor = resample(placed, dst_affine=torch.from_numpy(affine), spatial_size=shape)
    return back
