"""The embedded Segmenter: bundles run in this process."""

from collections.abc import Callable

import torch

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.runner import BundleRunner
from services.triage.model import Model, ModelIdentity
from services.triage.volume import Segmentation, Volume


class EmbeddedSegmenter:
    """Implements `services.triage.ports.Segmenter`; each network is loaded once, when it is first asked for."""

    def __init__(self, catalogue: Catalogue, *, threads: int) -> None:
        self._catalogue = catalogue
        self._runners: dict[ModelIdentity, BundleRunner] = {}
        torch.set_num_threads(threads)

    def models(self) -> tuple[Model, ...]:
        """The catalogue's models."""
        return self._catalogue.models()

    def require_ready(self) -> None:
        """Nothing: this process is there."""

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Run the model's bundle over the volume. Raises ModelRefused, AnalysisFailed, AnalysisCancelled."""
        runner = self._runners.get(model.identity)
        if runner is None:
            runner = BundleRunner(self._catalogue.bundle(model.identity.name), model)
            self._runners[model.identity] = runner
        return runner.run(volume, cancelled=cancelled)
