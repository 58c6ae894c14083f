"""An organ class of a model and how much of it is in the image: told beside the lesions, and never one of them."""

from dataclasses import dataclass

from services.triage.errors import Reason

NO_TUMOUR_CLASS = Reason(code="no_tumour_class", text="the model has no tumour class: it looks for no lesions")


def organs_only(reason: Reason | None) -> bool:
    """Whether a study was not analysed because the model has organ classes alone: it looked, but not for lesions."""
    return reason is not None and reason.code == NO_TUMOUR_CLASS.code


@dataclass(frozen=True, kw_only=True, slots=True)
class Organ:
    """One organ class of a model in one volume.

    label: the name of the class. volume_ml: of the voxels with its own label; those of a tumour class are not among
    them, also where the tumour lies in the organ. None: not found, no voxel has its label.
    cut_off: such a voxel lies at the edge of the image, so the volume is that of the visible part.
    """

    label: str
    volume_ml: float | None
    cut_off: bool
