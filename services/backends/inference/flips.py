"""The network asked again about mirrored images (test-time augmentation): how far its answer depends on the side.

What is mirrored is the network's input, and its answer is mirrored back on the same grid: both are exact, nothing is
interpolated and no preprocessing done twice. Then it goes the way of the ordinary answer to the source grid.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers import SliceInferer

from services.backends.inference.memory import is_out_of_memory
from services.triage.errors import AnalysisFailed, Reason
from services.triage.uncertainty import NO_CANDIDATE, NOT_ON_GRID, OUT_OF_MEMORY, RUN_FAILED, TIME_LIMIT

BREAKS = (
    MemoryError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError,
    ImportError,
)  # fmt: skip
"""What a bundle's transforms and network may raise."""

Check = Callable[[], None]
Runs = npt.NDArray[np.uint8]


class _TimeIsUp(Exception):
    """The further runs take longer than they may."""


def axes_of(inferer: Any) -> tuple[int, ...]:
    """The axes of an image [1, C, x, y, z] to mirror one at a time; not that of slices which are seen one by one."""
    alone = inferer.spatial_dim + 2 if isinstance(inferer, SliceInferer) else None
    return tuple(axis for axis in (2, 3, 4) if axis != alone)


def mirrored_runs(
    image: torch.Tensor,
    answer_shape: torch.Size,
    *,
    axes: tuple[int, ...],
    ask: Callable[[torch.Tensor, Check], torch.Tensor],
    read: Callable[[torch.Tensor], npt.NDArray[np.uint8]],
    any_tumour: bool,
    once_s: float,
    within_s: float,
    check: Check,
) -> Runs | Reason:
    """uint8 [run, tumour voxel], or why none was begun; called through `or_reason`.

    ask: the answer [1, C, x, y, z] to an image of that shape; the ordinary one had `answer_shape`, and took `once_s`.
    read: the tumour voxels of an answer. within_s: what all runs may take; where `once_s` tells that they would take
    longer, none is begun.
    """
    if not any_tumour:
        return NO_CANDIDATE
    if image.dim() != 5 or answer_shape[2:] != image.shape[2:]:
        return NOT_ON_GRID
    if once_s * len(axes) > within_s:
        return TIME_LIMIT
    end = time.monotonic() + within_s

    def in_time() -> None:
        check()
        if time.monotonic() > end:
            raise _TimeIsUp

    runs = []
    for axis in axes:
        runs.append(read(torch.flip(ask(torch.flip(image, [axis]), in_time), [axis])))
        in_time()
    return np.stack(runs)


def or_reason(attempt: Callable[[], Runs | Reason]) -> Runs | Reason:
    """What an attempt at mirrored runs gives, or why it breaks; what its check raises gets out."""
    try:
        return attempt()
    except _TimeIsUp:
        return TIME_LIMIT
    except (*BREAKS, AnalysisFailed) as error:
        if is_out_of_memory(error):
            return OUT_OF_MEMORY
        return Reason(code=RUN_FAILED, text=f"a mirrored run broke with {type(error).__name__}")
