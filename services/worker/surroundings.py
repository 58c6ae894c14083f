"""In which organ a lesion lies: told by what the model's own labels say around it."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from services.triage.model import ClassKind, Model

LEAST_SHARE = 0.2
"""Of the rim: a lesion at an organ's edge has much of something else around it."""


def organ_around(
    labels: npt.NDArray[np.uint8], box: tuple[slice, ...], mask: npt.NDArray[np.bool_], model: Model
) -> str | None:
    """The name of the organ class that has the largest share of the lesion's rim, None where none has a fifth of it.

    labels: [slice, row, column] of the whole volume. box, mask: where in it the lesion lies, and its voxels in the box.
    The rim is one voxel wide; other tumour voxels in it do not count.
    """
    organs = {each.value: each.name for each in model.classes if each.kind is ClassKind.ORGAN}
    if not organs:
        return None
    wider = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in box)
    around = labels[wider]
    inside = np.zeros(around.shape, dtype=bool)
    offset = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wider, strict=True))
    inside[offset] = mask
    tumours = [each.value for each in model.classes if each.kind is ClassKind.TUMOUR]
    rim = around[binary_dilation(inside) & ~inside]
    rim = rim[~np.isin(rim, tumours)]
    counts = np.bincount(rim, minlength=256)
    best = max(organs, key=lambda value: int(counts[value]))
    return organs[best] if counts[best] >= LEAST_SHARE * max(len(rim), 1) and counts[best] else None
