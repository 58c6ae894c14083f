"""Writes a Triton model repository from a folder of bundles: `vigie models export`.

    <repository>/<bundle>/config.pbtxt
    <repository>/<bundle>/warmup/{voxels,affine}    a ball in air, by which an instance is warm before it is ready
    <repository>/<bundle>/<n>/model.py              names the class that vigie installs in Triton's Python
    <repository>/<bundle>/<n>/<bundle>/             the bundle, whole

<bundle> is the name of the bundle's folder, NAME or NAME@VERSION: each version is a model of its own in Triton, which
is loaded and unloaded alone. <n> counts the exports of one that changed.

Layout: docs.nvidia.com, Triton Inference Server user guide, Model Repository and Model Configuration.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from services.backends.inference import wire
from services.backends.inference.bundle_files import bundle_sha256
from services.backends.inference.catalogue import Catalogue
from services.triage.model import Model

MODEL_PY = '''"""Written by `vigie models export`: the bundle beside this file, run by vigie's own runner."""

from services.backends.inference.served import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''

WARMUP_SHAPE, WARMUP_SPACING_MM = (32, 48, 48), 5.0
AIR_HU, TISSUE_HU = -1000, 40


class Device(StrEnum):
    """Where the served instances run."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """One model of the repository, by the name that Triton has for it; its number, and whether it was written now."""

    name: str
    number: int
    written: bool


def export_repository(
    catalogue: Catalogue, repository: Path, *, device: Device = Device.CPU, instances: int = 1
) -> tuple[Exported, ...]:
    """Write every bundle of the catalogue. One that changed gets the next number; Triton serves the newest.

    Raises ModelRefused before anything is written when a bundle cannot be read.
    """
    if (unreadable := next(catalogue.unreadable(), None)) is not None:
        raise unreadable[1]
    return tuple(
        _export(catalogue.get(name, version), catalogue.bundle(name, version), repository, device, instances)
        for name in catalogue.names()
        for version in catalogue.versions(name)
    )


def _export(model: Model, bundle: Path, repository: Path, device: Device, instances: int) -> Exported:
    digest = bundle_sha256(bundle)
    folder = repository / bundle.name
    (folder / "warmup").mkdir(parents=True, exist_ok=True)
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    last = numbers[-1] if numbers else 0
    written = not numbers or bundle_sha256(folder / str(last) / bundle.name) != digest
    number = last + written
    _write_warmup(folder / "warmup", model)
    if written:
        _write_version(bundle, folder, number)
    _replace(folder / "config.pbtxt", _config(bundle.name, model, digest, device, instances))
    return Exported(name=bundle.name, number=number, written=written)


def _write_version(bundle: Path, folder: Path, number: int) -> None:
    """A version appears whole or not at all: Triton may be looking."""
    unfinished = folder / f".{number}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(bundle, unfinished / bundle.name, ignore=shutil.ignore_patterns("__pycache__"))
    (unfinished / "model.py").write_text(MODEL_PY, encoding="utf-8")
    unfinished.rename(folder / str(number))


def _shape(model: Model, shape: Sequence[int]) -> list[int]:
    """Of the voxels that travel (`wire.voxels_of`)."""
    return [*([len(model.inputs)] if model.inputs else []), *shape]


def _write_warmup(folder: Path, model: Model) -> None:
    radius = np.linalg.norm(np.indices(WARMUP_SHAPE).T - np.array(WARMUP_SHAPE) / 2, axis=-1).T
    ball = np.where(radius < 8, TISSUE_HU, AIR_HU).astype("<i2").tobytes()
    (folder / "voxels").write_bytes(ball * max(len(model.inputs), 1))
    affine = np.zeros((4, 4), dtype="<f8")
    affine[[2, 1, 0], [0, 1, 2]] = WARMUP_SPACING_MM
    affine[3, 3] = 1
    (folder / "affine").write_bytes(affine.tobytes())


def _config(name: str, model: Model, digest: str, device: Device, instances: int) -> str:
    inputs = ", ".join(
        f'{{ name: "{tensor}" data_type: {kind} dims: {_shape(model, (-1, -1, -1))} optional: true }}'
        for tensor, kind in ((wire.VOXELS["int16"], "TYPE_INT16"), (wire.VOXELS["float32"], "TYPE_FP32"))
    )
    outputs = ", ".join(
        f'{{ name: "{tensor}" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] }}'
        for tensor in (wire.LABELS, wire.PROBABILITY)
    )
    parameters = {
        wire.VERSION: model.identity.version,
        wire.WEIGHTS_SHA256: model.identity.weights_sha256,
        wire.BUNDLE_SHA256: digest,
    }
    told = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'
        for key, value in parameters.items()
    )
    ball = f'data_type: TYPE_INT16 dims: {_shape(model, WARMUP_SHAPE)} input_data_file: "voxels"'
    return f"""# Written by `vigie models export`; exporting again overwrites it.
name: "{name}"
backend: "python"
# a request is a whole volume: never batched, one at a time for each instance, the others wait in Triton
max_batch_size: 0
input [ {inputs}, {{ name: "{wire.AFFINE}" data_type: TYPE_FP64 dims: [ 4, 4 ] }} ]
output [ {outputs}, {{ name: "{wire.REPORT}" data_type: TYPE_STRING dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_{device.upper()} count: {instances} }} ]
version_policy {{ latest {{ num_versions: 1 }} }}
{told}
model_warmup [ {{
  name: "ball in air"
  batch_size: 1
  inputs {{ key: "{wire.VOXELS["int16"]}" value {{ {ball} }} }}
  inputs {{ key: "{wire.AFFINE}" value {{ data_type: TYPE_FP64 dims: [ 4, 4 ] input_data_file: "affine" }} }}
}} ]
"""


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
