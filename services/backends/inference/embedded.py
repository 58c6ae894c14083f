"""The embedded Segmenter: bundles run in this process."""

from collections.abc import Callable
from pathlib import Path

import torch

from services.backends.inference.asked import AskedCatalogue
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.runner import BundleRunner
from services.triage.inference import InferenceMode
from services.triage.model import Model
from services.triage.volume import Segmentation, Volume


class EmbeddedSegmenter:
    """Implements `services.triage.ports.Segmenter`.

    Each bundle is loaded when it is first asked for, and anew when anything of it has changed.

    mode, converted, flips_within_s: see `BundleRunner`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        threads: int,
        mode: InferenceMode = InferenceMode.REFERENCE,
        converted: Path | None = None,
        flips_within_s: float | None = None,
    ) -> None:
        self._catalogue, self._asked = catalogue, AskedCatalogue(catalogue)
        self._mode, self._converted, self._flips_within_s = mode, converted, flips_within_s
        self._runners: dict[Path, tuple[str, BundleRunner]] = {}  # of a bundle's folder: its digest, and it
        torch.set_num_threads(threads)

    def model(self, name: str, version: str | None = None) -> Model:
        """The catalogue's model."""
        return self._asked.model(name, version)

    def require_ready(self) -> None:
        """Nothing: this process is there."""

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Run the model's bundle over the volume.

        Raises ModelRefused, AnalysisFailed, AnalysisCancelled, VersionNotHere (it was exchanged since it was read).
        """
        return self._runner(model).run(volume, cancelled=cancelled, flips_within_s=self._flips_within_s)

    def _runner(self, model: Model) -> BundleRunner:
        bundle = self._catalogue.bundle_of(model)
        digest, runner = self._runners.get(bundle, ("", None))
        if runner is None or digest != model.bundle_sha256:
            self._runners.pop(bundle, None)
            del runner  # its memory is free before the next network is loaded
            runner = BundleRunner(bundle, model, mode=self._mode, converted=self._converted)
            self._catalogue.bundle_of(model)  # files that were exchanged while they were read are not kept
            self._runners[bundle] = (model.bundle_sha256, runner)
        return runner
