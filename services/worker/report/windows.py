"""Windows: which values of an image are shown from black to white (PS3.3 C.11.2.1.2)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.multival import MultiValue

from services.triage.model import Model
from services.triage.volume import SliceSource, Volume
from services.worker.report.planes import attribute_of

# Lung structure, thorax, chest (SNOMED CT): where a lung window shows what a model looked for.
LUNG_REGIONS = frozenset({"39607008", "51185008", "816094009"})
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, kw_only=True)
class Window:
    """Centre and width in the rescaled units of the image (HU for CT), and the VOI LUT Function."""

    centre: float
    width: float
    function: str = "LINEAR"

    def grey(self, values: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Values as grey levels 0..255; the function is taken as linear."""
        level = (values - (self.centre - 0.5)) / max(self.width - 1, 1e-6) + 0.5
        return np.asarray(np.rint(np.clip(level, 0, 1) * 255), dtype=np.uint8)


LUNG = Window(centre=-600.0, width=1500.0)


def key_image_window(model: Model, volume: Volume, index: int, header: Dataset) -> Window:
    """The window of a picture of a slice: the lung window for a CT of the chest, else the source's or its values'."""
    if volume.modality == "CT" and model.anatomic_region.value in LUNG_REGIONS:
        return LUNG
    return source_window(header, volume.sources[index]) or _of_values(volume, index)


def state_window(model: Model, volume: Volume, index: int, header: Dataset) -> Window:
    """The window of a presentation state: the source's, as the reader is used to it; where it has none, a picture's."""
    return source_window(header, volume.sources[index]) or key_image_window(model, volume, index, header)


def source_window(header: Dataset, source: SliceSource) -> Window | None:
    """The first window of a source image, None where it has none that can be used."""
    centre, width, function = (
        _first(attribute_of(header, source, "FrameVOILUTSequence", keyword))
        for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction")
    )
    try:
        window = Window(centre=float(str(centre)), width=float(str(width)), function=str(function or "LINEAR"))
    except ValueError:
        return None
    narrowest = 1 if window.function == "LINEAR" else 1e-6
    usable = np.isfinite(window.centre) and narrowest <= window.width < np.inf and window.function in FUNCTIONS
    return window if usable else None


def _of_values(volume: Volume, index: int) -> Window:
    low, high = np.percentile(volume.voxels[index], (1, 99)).tolist()
    return Window(centre=(low + high) / 2, width=max(high - low, 1.0))


def _first(value: object) -> object:
    return (value[0] if value else None) if isinstance(value, MultiValue) else value
