"""The model that Triton's Python backend runs: a bundle over a whole volume, by the runner of the embedded segmenter.

`vigie models export` writes a model.py that names this class; vigie is installed in Triton's Python (docs/triton.md).
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

from services.backends.inference import wire
from services.backends.inference.bundle_files import bundle_sha256
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.registration import is_trusted
from services.backends.inference.runner import BundleRunner
from services.memory import share_one_arena
from services.settings import Settings
from services.triage.errors import AnalysisCancelled, ModelRefused, RejectedError
from services.triage.volume import SliceSource, Volume


class TritonPythonModel:
    """One instance of a served bundle. It holds one request at a time; Triton queues the others."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle that lies beside model.py. Raises ModelRefused: then the model is not ready, and says why."""
        share_one_arena()  # before the threads of PyTorch and OpenVINO
        settings = Settings()
        torch.set_num_threads(settings.threads)
        name = args["model_name"].partition("@")[0]  # NAME or NAME@VERSION, of which the folder has one
        catalogue = Catalogue(Path(args["model_repository"]) / args["model_version"])
        self._digest = bundle_sha256(catalogue.bundle(name))
        declared = json.loads(args["model_config"])["parameters"][wire.BUNDLE_SHA256]["string_value"]
        if self._digest != declared:
            raise ModelRefused("other_bundle", f"the bundle has digest {self._digest}, its config says {declared}")
        if is_trusted(catalogue.bundle(name)):
            sys.path.insert(0, str(catalogue.bundle(name)))  # for its own scripts; this process serves nothing else
        self._on_gpu = args["model_instance_kind"] == "GPU"
        self._runner = BundleRunner(
            catalogue.bundle(name),
            catalogue.get(name),
            device=f"cuda:{args['model_instance_device_id']}" if self._on_gpu else "cpu",
            mode=settings.inference,
            converted=settings.converted_folder,
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request. A refusal is told as a coded error; anything else is Triton's to report."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        began_s, cpu_began_s = time.monotonic(), time.process_time()
        try:
            within_s = json.loads(request.parameters()).get(wire.FLIPS_WITHIN_S)
            segmentation = self._runner.run(_volume(request), cancelled=request.is_cancelled, flips_within_s=within_s)
        except AnalysisCancelled as cancelled:
            return _error(str(cancelled), pb_utils.TritonError.CANCELLED)
        except RejectedError as refusal:
            return _error(wire.refusal_to_text(refusal), pb_utils.TritonError.INTERNAL)
        served_s = {wire.SERVED_CPU: time.process_time() - cpu_began_s}
        if self._on_gpu:
            served_s[wire.SERVED_GPU] = time.monotonic() - began_s
        report = wire.Report(
            bundle_sha256=self._digest,
            timings_s=segmentation.timings_s | served_s,
            peak_memory_mb=segmentation.peak_memory_mb,
            inference=segmentation.inference,
            mirrored=segmentation.mirrored,
        )
        tensors = {
            wire.LABELS: segmentation.labels,
            wire.PROBABILITY: segmentation.tumour_probability,
            wire.REPORT: np.array([report.to_json().encode()], dtype=np.object_),
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in tensors.items()])


def _volume(request: Any) -> Volume:
    """The volume of a request; of identifiers none travels."""
    given = [pb_utils.get_input_tensor_by_name(request, name) for name in wire.VOXELS.values()]
    (voxels,) = (tensor.as_numpy() for tensor in given if tensor is not None)
    inputs = tuple(voxels) if voxels.ndim == 4 else ()
    voxels = inputs[0] if inputs else voxels
    source = SliceSource(sop_class_uid="", sop_instance_uid="")
    return Volume(
        voxels=voxels,
        affine=pb_utils.get_input_tensor_by_name(request, wire.AFFINE).as_numpy(),
        modality="",
        study_instance_uid="",
        series_instance_uid="",
        frame_of_reference_uid="",
        sources=(source,) * voxels.shape[0],
        inputs=inputs,
    )


def _error(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
