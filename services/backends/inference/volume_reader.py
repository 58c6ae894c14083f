"""How a volume reaches MONAI's transforms, and how arrays come back: axes, affine, channels.

MONAI counts [column, row, slice] in RAS, as its NIfTI reader gives them; ours is [slice, row, column] in LPS.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from monai.data import ImageReader, MetaTensor
from monai.utils import ensure_tuple

from services.triage.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class VolumeReader(ImageReader):  # type: ignore[misc] # MONAI tells no types
    """What the bundle's file loaders read with: a name stands for an input series of a volume that is held.

    Whatever else a loader does (type, channels, metadata) it still does. Several names at once are stacked as
    channels, as MONAI's own readers do with several files.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.float64]]] = {}

    @contextmanager
    def holding(self, volume: Volume) -> Iterator[tuple[str, ...]]:
        """Hold a volume while it is loaded; the names of its input series, in the order of the model's inputs."""
        affine = ras_affine(volume)
        arrays = volume.inputs or (volume.voxels,)
        names = tuple(f"volume-{uuid4()}" for _ in arrays)
        self._held |= {name: (array.transpose(2, 1, 0), affine) for name, array in zip(names, arrays, strict=True)}
        try:
            yield names
        finally:
            for name in names:
                del self._held[name]

    def verify_suffix(self, filename: Any) -> bool:
        """Whether these names are held here."""
        return all(str(name) in self._held for name in ensure_tuple(filename))

    def read(self, data: Any, **_: Any) -> Sequence[Any]:
        """The arrays behind the names."""
        return [self._held[str(name)] for name in ensure_tuple(data)]

    def get_data(self, img: Any) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """[column, row, slice], or [channel, column, row, slice] of several; with the metadata of a NIfTI reader."""
        arrays = [array for array, _ in img]
        affine = img[0][1]
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        meta = {
            "affine": affine.copy(),
            "original_affine": affine.copy(),
            "as_closest_canonical": False,
            "spatial_shape": np.array(arrays[0].shape),
            "pixdim": np.array([1, *spacing, 0, 0, 0, 0], dtype=np.float32),
            "original_channel_dim": float("nan") if len(arrays) == 1 else 0,
            "space": "RAS",
        }
        return (arrays[0] if len(arrays) == 1 else np.stack(arrays)), meta


def ras_affine(volume: Volume) -> npt.NDArray[np.float64]:
    """4x4; maps (column, row, slice, 1) to millimetres in RAS."""
    return np.asarray(LPS_TO_RAS @ volume.affine[:, [2, 1, 0, 3]])


def to_volume_axes(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    """[column, row, slice] back to [slice, row, column]."""
    array = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return np.ascontiguousarray(array.cpu().permute(2, 1, 0).numpy())
