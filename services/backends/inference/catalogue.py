"""The catalogue of MONAI bundles in a folder: which models there are, and what their metadata says of them.

A bundle has the standard layout (configs/metadata.json, configs/inference.json or .yaml, models/model.pt). What its
classes mean and where its thresholds lie is told by the `triage` section of its metadata (docs/models.md).
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.triage.errors import ModelRefused
from services.triage.model import ClassKind, Code, Model, ModelClass, ModelIdentity, Thresholds

WEIGHTS = Path("models") / "model.pt"
METADATA = Path("configs") / "metadata.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Code(_Strict):
    value: str
    scheme: str
    meaning: str


class _Class(_Strict):
    name: str
    kind: ClassKind


class _Thresholds(_Strict):
    equivocal_low: float
    detect: float
    elevated: float
    urgent: float


class _Triage(_Strict):
    """The `triage` section of a bundle's metadata."""

    modality: str
    anatomic_region: _Code
    classes: dict[int, _Class] = Field(min_length=1)
    probability_threshold: float = Field(gt=0, lt=1)
    min_volume_ml: float = Field(ge=0)
    min_slices: int = Field(ge=1)
    thresholds: _Thresholds
    calibrated: bool
    scope_statement: str
    sensitivity_statement: str


class _Metadata(_Strict):
    version: str
    description: str = ""
    triage: _Triage


class Catalogue:
    """The bundles below a folder, one per sub-folder; the folder's name is the model's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> tuple[str, ...]:
        """Names of the sub-folders that hold a bundle's metadata."""
        return tuple(sorted(path.parents[1].name for path in self._folder.glob(f"*/{METADATA}")))

    def models(self) -> tuple[Model, ...]:
        """All models. Raises ModelRefused at the first bundle that cannot be read."""
        return tuple(self.get(name) for name in self.names())

    def bundle(self, name: str) -> Path:
        """Folder of a bundle. Raises ModelRefused when there is none."""
        if name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise ModelRefused("unknown_model", f"no bundle named '{name}' in {self._folder} (there are: {known})")
        return self._folder / name

    def get(self, name: str) -> Model:
        """One model. Raises ModelRefused when its bundle is missing or cannot be read."""
        bundle = self.bundle(name)
        weights = bundle / WEIGHTS
        if not weights.is_file():
            raise ModelRefused("no_weights", f"bundle '{name}' has no {WEIGHTS}")
        metadata = _read_metadata(bundle)
        identity = ModelIdentity(name=name, version=metadata.version, weights_sha256=_file_sha256(weights))
        return _model(identity, metadata)


def bundle_sha256(bundle: Path) -> str:
    """Digest (hex) of all that decides a bundle's answer: the names and contents of its configs and weights."""
    digest = hashlib.sha256()
    for path in sorted((bundle / "configs").rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(bundle)} {_file_sha256(path)}\n".encode())
    digest.update(f"{WEIGHTS} {_file_sha256(bundle / WEIGHTS)}\n".encode())
    return digest.hexdigest()


def _read_metadata(bundle: Path) -> _Metadata:
    try:
        raw: Any = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
        return _Metadata.model_validate(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelRefused("bad_metadata", f"{METADATA} of '{bundle.name}' is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelRefused("bad_metadata", f"{METADATA} of '{bundle.name}': {where}: {first['msg']}") from error


def _model(identity: ModelIdentity, metadata: _Metadata) -> Model:
    triage = metadata.triage
    try:
        thresholds = Thresholds(**triage.thresholds.model_dump())
    except ValueError as error:
        raise ModelRefused("bad_metadata", f"triage.thresholds of '{identity.name}': {error}") from error
    return Model(
        identity=identity,
        modality=triage.modality,
        anatomic_region=Code(**triage.anatomic_region.model_dump()),
        classes=tuple(
            ModelClass(value=value, name=told.name, kind=told.kind) for value, told in sorted(triage.classes.items())
        ),
        thresholds=thresholds,
        probability_threshold=triage.probability_threshold,
        min_volume_ml=triage.min_volume_ml,
        min_slices=triage.min_slices,
        calibrated=triage.calibrated,
        scope_statement=triage.scope_statement,
        sensitivity_statement=triage.sensitivity_statement,
        description=metadata.description,
    )


def _file_sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - both make a changed file a new key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
