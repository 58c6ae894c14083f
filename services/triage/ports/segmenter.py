"""What runs a model."""

from collections.abc import Callable
from typing import Protocol

from services.triage.model import Model
from services.triage.volume import Segmentation, Volume


class Segmenter(Protocol):
    """Runs a model over a whole volume."""

    def model(self, name: str, version: str | None = None) -> Model:
        """The model of that version; without one (None or ''), of the standing version. As it is now, at each call.

        Raises ModelRefused (there is no such model, or its bundle cannot be read), VersionNotHere (there is, and not in
        this version, or not yet), SegmenterUnavailable.
        """

    def require_ready(self) -> None:
        """Raises SegmenterUnavailable while no volume at all could be segmented, whatever the model."""

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Run the model over the volume.

        `cancelled` is asked again and again while the model runs (between sliding windows, or several times a
        second): once it says True, the work ends within seconds. It is called in the caller's thread.
        Raises SegmenterUnavailable (retry), VersionNotHere (retry with the model as it is then: the bundle was
        exchanged since `model` read it), AnalysisFailed (out of memory, broken model: coded reason), ModelRefused (the
        bundle cannot be used, or another one is served under its name), AnalysisCancelled.
        """
