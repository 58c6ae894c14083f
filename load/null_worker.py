"""`vigie worker` with a segmenter that finds nothing at once: all that it costs is ours.

python -m load.null_worker
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.backends.queue import open_queue
from services.backends.store import open_store
from services.logs import configure_logging
from services.patience import wait_for
from services.settings import Settings
from services.supervisor import run_part
from services.triage.model import ClassKind, Code, Model, ModelClass, ModelIdentity, Thresholds
from services.triage.volume import Segmentation, Volume
from services.worker.main import run_worker

MODEL = "null"

ROUTING = f"""\
[[rule]]
name = "everything"
model = "{MODEL}"
modalities = ["CR", "CT", "DX", "MG", "MR", "NM", "PT", "RF", "US", "XA"]
body_parts = ["CHEST"]
min_slices = 16
"""
"""Claims every study of the mix: of the volumes it finds nothing, the others are 'not analysed'. All have a report."""


@dataclass(frozen=True)
class NullSegmenter:
    """Finds nothing."""

    def model(self, name: str, version: str | None = None) -> Model:
        """The one there is, whatever is asked for."""
        _ = name, version
        return _MODEL

    def require_ready(self) -> None:
        """It always is."""

    def segment(self, volume: Volume, _model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Background everywhere."""
        _ = cancelled
        nothing = np.zeros(volume.voxels.shape, np.uint8)
        return Segmentation(labels=nothing, tumour_probability=nothing, timings_s={})


_MODEL = Model(
    identity=ModelIdentity(name=MODEL, version="1.0.0", weights_sha256="00" * 32),
    modality="CT",
    anatomic_region=Code(value="39607008", scheme="SCT", meaning="Lung structure"),
    classes=(ModelClass(value=1, name="lesion", kind=ClassKind.TUMOUR),),
    thresholds=Thresholds(equivocal_low=0.3, detect=0.5, elevated=0.7, urgent=0.9),
    probability_threshold=0.5,
    min_volume_ml=0.01,
    min_slices=3,
    calibrated=False,
    scope_statement="Looks at nothing; for measurements of load.",
    sensitivity_statement="Finds nothing.",
)


def worker(settings: Settings) -> None:
    """See `services.parts.worker`."""
    wait_for("database", lambda: open_store(settings.store_url()).close())
    wait_for("queue", lambda: open_queue(settings).close())
    run_worker(settings, NullSegmenter())


if __name__ == "__main__":
    in_force = Settings()
    configure_logging(in_force.log_level)
    run_part(worker, in_force)
