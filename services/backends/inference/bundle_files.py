"""The files of a bundle in MONAI's layout: where they lie, their digests, and JSON as it came.

The metadata are configs/metadata.json, the weights models/model.pt. What the classes mean is told by
configs/triage.json, which lies beside a bundle's own files and leaves them as they came, or by the `triage` section of
its metadata (docs/models.md).
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from services.triage.errors import ModelRefused

WEIGHTS = Path("models") / "model.pt"
WEIGHTS_SUFFIXES = (".pt", ".pth", ".safetensors")
METADATA = Path("configs") / "metadata.json"
TRIAGE = Path("configs") / "triage.json"
REGISTRATION = "registration.json"
"""Of a bundle that `vigie models add` has brought: when, from where, by whom."""
CALIBRATION = tuple(Path("calibration") / name for name in ("README.md", "calibration.json", "calibration.png"))
"""What `vigie models calibrate` writes beside the map: a model card of it, what was fitted, its diagram."""

UNFINISHED = ".unfinished"
"""What `services.backends.files.durable` is still writing; told again here, for Triton's Python cannot import that."""

UNREADABLE = (PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors of a file that stay until a person acts; another may pass, and the work is worth another try."""


def weights_file(bundle: Path) -> Path:
    """The file of a bundle's weights: models/model.pt, or the only one there is, or that the inference config names.

    Raises ModelRefused.
    """
    usual = bundle / WEIGHTS
    if usual.is_file():
        return usual
    found = sorted(path for path in (bundle / WEIGHTS.parent).glob("*") if path.suffix in WEIGHTS_SUFFIXES)
    named = [path for path in found if path.name in _inference_config(bundle)]
    if len(found) == 1 or len(named) == 1:
        return (named or found)[0]
    told = f"{len(found)} files of weights and none is {WEIGHTS.name}" if found else f"no {WEIGHTS}"
    raise ModelRefused("no_weights", f"bundle '{bundle.name}' has {told}")


def bundle_sha256(bundle: Path) -> str:
    """Digest (hex) of all that decides a bundle's answer: names and contents of configs, weights, and code of its own.

    Raises ModelRefused: it has no weights, or a file that cannot be read.
    """
    digest = hashlib.sha256()
    try:
        weights_file(bundle)
        decisive = [path for path in (bundle / "configs").rglob("*") if path.is_file()]
        decisive += [path for path in (bundle / WEIGHTS.parent).rglob("*") if path.suffix in WEIGHTS_SUFFIXES]
        decisive += (bundle / "scripts").rglob("*.py")
        for path in sorted(decisive):
            digest.update(f"{path.relative_to(bundle)} {file_sha256(path)}\n".encode())
    except UNREADABLE as error:
        raise unreadable(bundle, error) from error
    return digest.hexdigest()


def metadata_of(bundle: Path) -> dict[str, Any]:
    """MONAI's metadata of a bundle, as they came. Raises ModelRefused: none that can be read are there."""
    try:
        return _metadata(bundle)
    except FileNotFoundError as error:
        text = f"'{bundle.name}' has no {METADATA}: is this the bundle's top folder?"
        raise ModelRefused("no_metadata", text) from error


def triage_of(bundle: Path) -> dict[str, Any]:
    """What is said of a bundle's classes, complete or not; nothing where nobody has. Raises ModelRefused."""
    metadata = metadata_of(bundle)
    try:
        where, told = str(TRIAGE), read_json(bundle / TRIAGE, bundle)
    except FileNotFoundError:
        where, told = f"'triage' in {METADATA}", metadata.get("triage")
    if not isinstance(told, dict | None):
        raise ModelRefused("bad_metadata", f"{where} of '{bundle.name}' is no mapping")
    return told or {}


def whole_metadata(bundle: Path) -> dict[str, Any]:
    """The metadata with the triage section that counts. Raises ModelRefused; FileNotFoundError: there are none."""
    raw = _metadata(bundle)
    try:
        return {**raw, "triage": read_json(bundle / TRIAGE, bundle)}
    except FileNotFoundError:
        return raw


def _metadata(bundle: Path) -> dict[str, Any]:
    metadata = read_json(bundle / METADATA, bundle)
    if not isinstance(metadata, dict):
        raise ModelRefused("bad_metadata", f"{METADATA} of '{bundle.name}' is no mapping")
    return metadata


def read_json(path: Path, bundle: Path) -> Any:
    """A JSON file of a bundle. Raises ModelRefused, FileNotFoundError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise unreadable(bundle, error) from error
    except (ValueError, RecursionError) as error:
        where = path.relative_to(bundle)
        raise ModelRefused("bad_metadata", f"{where} of '{bundle.name}' is not JSON: {error}") from error


def unreadable(bundle: Path, error: OSError) -> ModelRefused:
    """What an error of `UNREADABLE` means."""
    where = Path(str(error.filename)).relative_to(bundle)
    return ModelRefused("unreadable", f"{where} of '{bundle.name}' cannot be read: {error.strerror}")


def _inference_config(bundle: Path) -> str:
    """Its text; what it says is not looked into."""
    found = sorted((bundle / "configs").glob("inference.*"))
    return found[0].read_text(encoding="utf-8", errors="replace") if found else ""


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, read again only when it has changed."""
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - both make a changed file a new key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
