"""The catalogue as jobs ask it: for one model at a time. A bundle that cannot be used is said in the log, once."""

import structlog

from services.backends.inference.catalogue import Catalogue
from services.logs import Conditions
from services.triage.errors import ModelRefused
from services.triage.model import Model

log = structlog.get_logger(__name__)


class AskedCatalogue:
    """What both segmenters answer `Segmenter.model` with; Triton's Python has the catalogue, and no structlog."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._conditions = Conditions(log)

    def model(self, name: str, version: str | None = None) -> Model:
        """See `Segmenter.model`. Raises ModelRefused, VersionNotHere."""
        subject, told = f"{name}@{version or ''}", {"model": name, "version": version}
        try:
            model = self._catalogue.model(name, version)
        except ModelRefused as refusal:
            self._conditions.begins("model_refused", subject, **told, reason=str(refusal))
            raise
        self._conditions.ends("model_refused", subject, **told)
        return model
