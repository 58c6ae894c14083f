"""A small volume with one bright spot. Nothing here loads torch."""

import numpy as np

from services.triage.volume import SliceSource, Volume

SPOT = (slice(5, 9), slice(10, 20), slice(8, 15))


def a_volume(shape: tuple[int, int, int] = (24, 32, 30), dtype: type = np.int16) -> Volume:
    """Soft tissue with one bright spot, `SPOT`, on an anisotropic grid."""
    voxels = np.full(shape, 40, dtype)
    voxels[SPOT] = 900
    affine = np.array([[0, 0, 0.7, -100], [0, 0.8, 0, -80], [2.5, 0, 0, 15], [0, 0, 0, 1]])
    source = SliceSource(sop_class_uid="1.2", sop_instance_uid="1.2.3")
    return Volume(
        voxels=voxels, affine=affine, modality="CT", study_instance_uid="1.1", series_instance_uid="1.1.1",
        frame_of_reference_uid="1.1.2", sources=(source,) * shape[0],
    )  # fmt: skip
