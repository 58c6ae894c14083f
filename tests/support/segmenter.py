"""A fast, deterministic Segmenter, used only to force faults and timing: what is bright is a lesion."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.triage.errors import ModelRefused, SegmenterUnavailable, VersionNotHere
from services.triage.model import Model
from services.triage.volume import Segmentation, Volume
from tests.support.lesion_case import LESION, a_model

BRIGHT_HU = 0


def one_of(models: Sequence[Model], name: str, version: str | None) -> Model:
    """See `Segmenter.model`; the first is the standing one."""
    found = [model for model in models if model.identity.name == name]
    if not found:
        raise ModelRefused("unknown_model", f"there is no model '{name}' here")
    wanted = next((model for model in found if version in (None, "", model.identity.version)), None)
    if wanted is None:
        raise VersionNotHere(f"there is no version {version} of '{name}' here")
    return wanted


@dataclass
class BrightSegmenter:
    """Waits `takes_s`, then raises the next of `errors`, if any is left; else voxels above 0 HU score 0.94.

    With `hangs` it computes for ever. calls: so many volumes; asked: so often for its model.
    """

    only: Model = field(default_factory=a_model)
    takes_s: float = 0.0
    errors: list[BaseException] = field(default_factory=list)
    hangs: bool = False
    calls: int = 0
    asked: int = 0
    away: bool = False

    def model(self, name: str, version: str | None = None) -> Model:
        self.asked += 1
        return one_of([self.only], name, version)

    def require_ready(self) -> None:
        if self.away:
            raise SegmenterUnavailable("the server does not answer")

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        self.calls += 1
        while self.hangs:
            pass
        time.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        bright = volume.voxels > BRIGHT_HU
        return Segmentation(
            labels=(bright * LESION).astype(np.uint8),
            tumour_probability=(bright * 240).astype(np.uint8),
            timings_s={"network": 0.0},
        )
