"""What travels between the Triton segmenter and the model that Triton serves: names of tensors, parameters, outputs.

Voxels go as one of two optional inputs, by their type. The axis order is that of `Volume`: [slice, row, column].
"""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.triage.errors import AnalysisFailed, ModelRefused, Reason, RejectedError
from services.triage.inference import REFERENCE, Inference, InferenceMode
from services.triage.volume import Volume

VOXELS = {"int16": "voxels_int16", "float32": "voxels_float32"}
"""Input by NumPy type: [slice, row, column], rescaled values; [input, slice, row, column] for several series."""

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

SERVED_GPU = "gpu"
"""Likewise: seconds that the model had its GPU. Not there: it ran on a CPU, or the server is older."""

FLIPS_WITHIN_S = "flips_within_s"
"""Parameter of a request, whole seconds: run again on mirrored images. Older servers look past it."""

VERSION, WEIGHTS_SHA256, BUNDLE_SHA256 = "model_version", "weights_sha256", "bundle_sha256"
"""Parameters of the served model's config, by which a client knows that it is the catalogue's."""


def voxels_of(volume: Volume) -> npt.NDArray[Any]:
    """What of a volume travels: its voxels, or those of all its inputs, in their order, of one type."""
    return np.stack(volume.inputs) if volume.inputs else volume.voxels


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the server says beside the tensors; the digest is that of the bundle it has loaded.

    The reference mode travels as nothing, so that workers of before the fast one understand it. So do mirrored runs
    that nobody asked for. mirrored: see `Segmentation`; it is no tensor of its own, for a model that was exported
    before has no such output.
    """

    bundle_sha256: str
    timings_s: dict[str, float]
    peak_memory_mb: float | None
    inference: Inference = REFERENCE
    mirrored: npt.NDArray[np.uint8] | Reason | None = None

    def to_json(self) -> str:
        """The report as it travels."""
        told: dict[str, Any] = {
            "bundle_sha256": self.bundle_sha256,
            "timings_s": self.timings_s,
            "peak_memory_mb": self.peak_memory_mb,
        }
        if self.inference != REFERENCE:
            told["inference"] = asdict(self.inference)
        if self.mirrored is not None:
            told["mirrored"] = _mirrored_as_json(self.mirrored)
        return json.dumps(told)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Report":
        """The report as it came."""
        told = json.loads(text)
        parts = {"inference": _inference(told.get("inference", {})), "mirrored": _mirrored(told.get("mirrored"))}
        return cls(**{**told, **parts})


def _inference(told: dict[str, Any]) -> Inference:
    why = told.get("why")
    return Inference(mode=InferenceMode(told.get("mode", REFERENCE.mode)), why=Reason(**why) if why else None)


def _mirrored_as_json(mirrored: npt.NDArray[np.uint8] | Reason) -> dict[str, Any]:
    if isinstance(mirrored, Reason):
        return {"why": asdict(mirrored)}
    return {"runs": len(mirrored), "zlib": b64encode(zlib.compress(mirrored.tobytes(), level=1)).decode()}


def _mirrored(told: dict[str, Any] | None) -> npt.NDArray[np.uint8] | Reason | None:
    if told is None:
        return None
    if "why" in told:
        return Reason(**told["why"])
    return np.frombuffer(zlib.decompress(b64decode(told["zlib"])), np.uint8).reshape(told["runs"], -1)


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
