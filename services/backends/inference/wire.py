"""What travels between the Triton segmenter and the model that Triton serves: names of tensors, parameters, outputs.

Voxels go as one of two optional inputs, by their type. The axis order is that of `Volume`: [slice, row, column].
"""

import json
from dataclasses import asdict, dataclass

from services.triage.errors import AnalysisFailed, ModelRefused, RejectedError

VOXELS = {"int16": "voxels_int16", "float32": "voxels_float32"}
"""Input by NumPy type: [slice, row, column], rescaled values."""

AFFINE = "affine"
"""Input, float64 [4, 4]: (slice, row, column, 1) to LPS millimetres."""

LABELS, PROBABILITY = "labels", "tumour_probability"
"""Outputs, uint8 [slice, row, column]."""

REPORT = "report"
"""Output, one string: `Report` as JSON."""

SERVED_CPU = "cpu"
"""Among the timings of a report, and no stage of it: seconds of CPU of the process that ran the model.

There, and not in a field of its own, it does no harm to workers of before it was told.
"""

VERSION, WEIGHTS_SHA256, BUNDLE_SHA256 = "model_version", "weights_sha256", "bundle_sha256"
"""Parameters of the served model's config, by which a client knows that it is the catalogue's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the server says beside the tensors; the digest is that of the bundle it has loaded."""

    bundle_sha256: str
    timings_s: dict[str, float]
    peak_memory_mb: float | None

    def to_json(self) -> str:
        """The report as it travels."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Report":
        """The report as it came."""
        return cls(**json.loads(text))


_REJECTED: dict[str, type[RejectedError]] = {kind.__name__: kind for kind in (AnalysisFailed, ModelRefused)}


def refusal_to_text(refusal: RejectedError) -> str:
    """A refusal as the message of a Triton error."""
    return json.dumps({"kind": type(refusal).__name__, "code": refusal.reason.code, "text": refusal.reason.text})


def refusal_from_text(message: str) -> RejectedError | None:
    """The refusal in a Triton error's message; None: the error is Triton's own."""
    try:
        told = json.loads(message)
        return _REJECTED[told["kind"]](told["code"], told["text"])
    except (ValueError, KeyError, TypeError):
        return None
