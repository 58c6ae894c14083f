"""How large the organs of a model are in a volume, and which of them the image cuts off."""

import numpy as np
import numpy.typing as npt

from services.triage.model import ClassKind, Model
from services.triage.organ import Organ
from services.triage.volume import Volume


def organs_in(labels: npt.NDArray[np.uint8], volume: Volume, model: Model) -> tuple[Organ, ...]:
    """Each organ class of the model, by its label value; see `Organ` for what is counted.

    labels: [slice, row, column] on the volume's grid. Its edge is the first and last of slices, rows and columns: a
    reconstruction circle inside a slice is not known here.
    """
    classes = sorted((one for one in model.classes if one.kind is ClassKind.ORGAN), key=lambda one: one.value)
    if not classes:
        return ()
    # plane by plane: bincount makes eight bytes of each label
    counts = sum((np.bincount(plane.ravel(), minlength=256) for plane in labels), start=np.zeros(256, dtype=np.int64))
    at_edge = {int(value) for axis in range(3) for end in (0, -1) for value in np.unique(labels.take(end, axis=axis))}
    voxel_ml = volume.voxel_volume_mm3 / 1000
    return tuple(
        Organ(
            label=one.name,
            volume_ml=int(counts[one.value]) * voxel_ml if counts[one.value] else None,
            cut_off=one.value in at_edge,
        )
        for one in classes
    )
