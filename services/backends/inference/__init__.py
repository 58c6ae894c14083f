"""Segmenter: models in this process, or served by Triton. Each is imported only when it is asked for."""

from services.settings import Settings
from services.triage.ports import Segmenter


def open_segmenter(settings: Settings) -> Segmenter:
    """The segmenter that the settings name. Only the embedded one needs torch and MONAI."""
    from services.backends.inference.catalogue import Catalogue

    catalogue = Catalogue(settings.models)
    if settings.triton is not None:
        from services.backends.inference.triton import TritonSegmenter

        return TritonSegmenter(
            catalogue, settings.triton, deadline_s=settings.triton_deadline_s, flips_within_s=settings.flips_within_s
        )
    from services.backends.inference.embedded import EmbeddedSegmenter

    return EmbeddedSegmenter(
        catalogue,
        threads=settings.threads,
        mode=settings.inference,
        converted=settings.converted_folder,
        flips_within_s=settings.flips_within_s,
    )
