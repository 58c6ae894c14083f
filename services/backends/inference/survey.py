"""What is wrong with a bundle that is brought: all of it at once, each with what to do. Nothing of it is run."""

import hashlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from services.backends.inference.bundle_code import CONFIGS, Outside, config_file, outside_of_bundle
from services.backends.inference.bundle_files import METADATA, metadata_of, triage_of, weights_file
from services.backends.inference.registration import content_sha256
from services.backends.inference.triage_metadata import wrong_in
from services.triage.errors import ModelRefused

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}")
_NETWORKS = ("network", "network_def")
_SECTIONS = ("preprocessing", "inferer", "postprocessing")
_LFS = b"version https://git-lfs"
_FROM_A_HOST = re.compile(r"(@.*|[_-]v?\d+\.\d+(\.\d+)?)$")
_HASHES = ("md5", "sha1", "sha256")
_OPEN = """
import sys, torch
torch.load(sys.argv[1], map_location="cpu", weights_only=True)
"""
_OPEN_SAFETENSORS = """
import sys
from safetensors.torch import load_file
load_file(sys.argv[1])
"""
_OPEN_WITHIN_S = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a bundle is, and what is wrong with it. outside: of what any bundle may run; notes: what was not checked."""

    name: str
    version: str
    licence: str
    sha256: str
    outside: tuple[Outside, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def survey(bundle: Path, *, name: str | None = None) -> Survey:
    """Look a bundle over. name: another than its folder's."""
    problems: list[str] = []
    notes: list[str] = []
    metadata = _metadata(bundle, problems)
    version, licence = str(metadata.get("version", "")), _licence(bundle)
    chosen = name or _FROM_A_HOST.sub("", bundle.name)
    if not NAME.fullmatch(chosen):
        problems.append(f"'{chosen}' is no name for a model (letters, digits, '_', '-', '.'): give one with --name")
    if version and not VERSION.fullmatch(version):
        problems.append(f"{METADATA}: version '{version}' has other characters than letters, digits and '.+-_'")
    if not licence:
        problems.append("there is no LICENSE: nobody can tell whether it may be used here; put its licence beside it")
    problems.extend(_inference(bundle))
    problems.extend(_weights(bundle, notes))
    return Survey(
        name=chosen,
        version=version,
        licence=licence,
        sha256=content_sha256(bundle),
        outside=outside_of_bundle(bundle),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _metadata(bundle: Path, problems: list[str]) -> dict[str, Any]:
    """The keys of MONAI's metadata schema that Vigie needs."""
    try:
        metadata = metadata_of(bundle)
    except ModelRefused as refusal:
        problems.append(refusal.reason.text)
        return {}
    if not isinstance(metadata.get("version"), str):
        problems.append(f"{METADATA} has no 'version': every result names it")
    data_format = metadata.get("network_data_format")
    told = data_format if isinstance(data_format, dict) else {}
    lacking = [part for part in ("inputs", "outputs") if not (isinstance(told.get(part), dict) and told[part])]
    problems.extend(
        f"{METADATA} has no 'network_data_format.{part}': what the network takes or gives" for part in lacking
    )
    try:
        problems.extend(wrong_in(triage_of(bundle)))
    except ModelRefused as refusal:
        problems.append(refusal.reason.text)
    return metadata


def _licence(bundle: Path) -> str:
    """The first line of its licence."""
    for path in sorted(bundle.glob("*")):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip()[:80] for line in lines if line.strip()), path.name)
    return ""


def _inference(bundle: Path) -> Iterator[str]:
    config = next((path for name in CONFIGS if (path := bundle / "configs" / name).is_file()), None)
    if config is None:
        yield f"there is no configs/{' or '.join(CONFIGS)}: only bundles with an inference config run here"
        return
    try:
        content = config_file.read(config)
    except config_file.Unreadable:
        return  # told as what is outside
    if not any(key in content for key in _NETWORKS):
        yield f"{config.name} has no '{' or '.join(_NETWORKS)}'"
    for key in _SECTIONS:
        if key not in content:
            yield f"{config.name} has no '{key}'"


def _weights(bundle: Path, notes: list[str]) -> Iterator[str]:
    listed = _large_files(bundle)
    for path, entry in listed.items():
        yield from _as_listed(bundle / path, path, entry)
    try:
        weights = weights_file(bundle)
    except ModelRefused as refusal:
        if not any(path.startswith("models/") and not path.endswith(".ts") for path in listed):
            scripted = list((bundle / "models").glob("*.ts"))
            only = f" (only TorchScript, {scripted[0].name}, which is code and is not run)" if scripted else ""
            yield f"{refusal.reason.text}{only}"
        return
    with weights.open("rb") as file:
        begin = file.read(len(_LFS))
    where = weights.relative_to(bundle)
    if begin == _LFS:
        yield f"{where} is a pointer of git-lfs and not the weights: git lfs pull"
    else:
        yield from _opened(weights, where, notes)


def _large_files(bundle: Path) -> dict[str, dict[str, Any]]:
    """What large_files.yml says: files that are not in the bundle's repository, by path."""
    found = next((path for path in sorted(bundle.glob("large_files.y*ml"))), None)
    try:
        content = yaml.safe_load(found.read_text(encoding="utf-8")) if found is not None else {}
        listed = {str(each["path"]): each for each in (content or {}).get("large_files", ())}
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {path: each for path, each in listed.items() if not path.startswith("/") and ".." not in Path(path).parts}


def _as_listed(file: Path, path: str, entry: dict[str, Any]) -> Iterator[str]:
    if path.endswith(".ts"):
        return  # TorchScript, which is not used
    kind = str(entry.get("hash_type", "")).lower()
    known = f" ({kind} {entry['hash_val']})" if kind in _HASHES and "hash_val" in entry else ""
    if not file.is_file():
        yield f"{path} is not there: download {entry.get('url', 'it')} to {path}{known}"
    elif known:
        with file.open("rb") as content:
            if hashlib.file_digest(content, kind).hexdigest() != str(entry["hash_val"]).lower():
                yield f"{path} is not the file that large_files.yml names{known}: download it again"


def _opened(weights: Path, where: Path, notes: list[str]) -> Iterator[str]:
    """In a process of its own: PyTorch's own reader without code (weights_only), or safetensors."""
    safe = weights.suffix == ".safetensors"
    package = "safetensors" if safe else "torch"
    if importlib.util.find_spec(package) is None:
        notes.append(f"{where} was not opened: {package} is not installed here; a worker or Triton will open it")
        return
    program = [sys.executable, "-c", _OPEN_SAFETENSORS if safe else _OPEN, str(weights)]
    try:
        done = subprocess.run(program, capture_output=True, timeout=_OPEN_WITHIN_S, check=False)  # noqa: S603 - our own program
    except subprocess.TimeoutExpired:
        yield f"{where} could not be opened within {_OPEN_WITHIN_S} s"
        return
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it ended"]
        error = next((line for line in reversed(lines) if "Error" in line), lines[-1])
        advice = "weights hold tensors and nothing else: save the network's state_dict()"
        yield f"{where} cannot be opened without running code of it ({error[:200]}): {advice}"
