"""Lesions on the images that they lie in: what every overlay is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from services.triage.finding import Finding
from services.triage.lesion import Lesion
from services.triage.model import Model
from services.triage.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A finding with at least one lesion, and where its lesions are.

    headers: of the analysed series, classic or multi-frame. label_map: [slice, row, column], value n is lesion n.
    """

    finding: Finding
    model: Model
    headers: Sequence[Dataset]
    volume: Volume
    label_map: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    now: datetime

    @cached_property
    def _by_uid(self) -> Mapping[str, Dataset]:
        return {header.SOPInstanceUID: header for header in self.headers}

    def header_of(self, index: int) -> Dataset:
        """The header of the instance that holds a slice."""
        return self._by_uid[self.volume.sources[index].sop_instance_uid]

    def slices_of(self, lesion: Lesion) -> list[int]:
        """Every slice that has voxels of a lesion, in the volume's order."""
        first, last = lesion.slice_range
        return [index for index in range(first, last + 1) if (self.label_map[index] == lesion.number).any()]

    @property
    def key_slices(self) -> list[int]:
        """The slices of the long axes, each once, in the order of the lesions (by falling score)."""
        return list(dict.fromkeys(lesion.key_slice for lesion in self.finding.lesions))
