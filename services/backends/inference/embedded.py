"""The embedded Segmenter: bundles run in this process."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch

from services.backends.inference.asked import AskedCatalogue
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.runner import BundleRunner
from services.triage.inference import InferenceMode
from services.triage.model import Model
from services.triage.volume import Segmentation, Volume

KEPT_S = 3600.0
"""A network that was not asked for in so long leaves when another is: its version may be out of service. A number of
networks would not do: a worker of many models needs them all, one of a single model would keep what was replaced."""


class _Loaded(NamedTuple):
    """digest: of its bundle. asked_s: when it was last asked for, on the monotonic clock."""

    digest: str
    runner: BundleRunner
    asked_s: float


class EmbeddedSegmenter:
    """Implements `services.triage.ports.Segmenter`.

    Each bundle is loaded when it is first asked for, and anew when anything of it has changed or it was not asked for
    in long.

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
        self._loaded: dict[Path, _Loaded] = {}  # by the bundle's folder
        self._lock = Lock()  # of what is loaded; loading itself holds up nobody
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
        runner = self._still_loaded(bundle, model.bundle_sha256)
        if runner is None:
            runner = BundleRunner(bundle, model, mode=self._mode, converted=self._converted)
            self._catalogue.bundle_of(model)  # files that were exchanged while they were read are not kept
        with self._lock:
            self._loaded[bundle] = _Loaded(model.bundle_sha256, runner, time.monotonic())
        return runner

    def _still_loaded(self, bundle: Path, digest: str) -> BundleRunner | None:
        """Of that bundle as it is now. All else that is out of date leaves: its memory is free before another loads."""
        begin_s = time.monotonic() - KEPT_S
        with self._lock:
            self._loaded = {
                folder: one
                for folder, one in self._loaded.items()
                if (one.digest == digest if folder == bundle else one.asked_s > begin_s)
            }
            found = self._loaded.get(bundle)
        return found.runner if found else None
