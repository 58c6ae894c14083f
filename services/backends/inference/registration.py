"""What Vigie writes down beside a bundle that it was brought: registration.json, and whether its code is trusted.

added_at, added_by, source (name of the folder or ZIP), licence, sha256 (of the bundle as it came), trusted (null, or by
whom, when and why).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from services.backends.inference.bundle_code import in_triton, outside_of, outside_of_bundle, told
from services.backends.inference.bundle_files import CALIBRATION, REGISTRATION, TRIAGE, UNFINISHED, file_sha256
from services.triage.errors import ModelRefused

NOT_OF_THE_BUNDLE = ("__pycache__", ".git")
_OURS = frozenset({Path(REGISTRATION), Path(f".{REGISTRATION}"), TRIAGE, *CALIBRATION})


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """Who has taken responsibility for a bundle's code, when (ISO 8601), and why."""

    by: str
    at: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """How a bundle came. sha256: `content_sha256` of it then; a trust holds for nothing else."""

    added_at: str
    added_by: str
    source: str
    licence: str
    sha256: str
    trusted: Trust | None = None

    def write(self, bundle: Path) -> None:
        """Beside the bundle's own files."""
        unfinished = bundle / f".{REGISTRATION}"
        unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        unfinished.replace(bundle / REGISTRATION)


def registration_of(bundle: Path) -> Registration | None:
    """None for a bundle that was put there by hand. Raises ModelRefused."""
    try:
        told = json.loads((bundle / REGISTRATION).read_text(encoding="utf-8"))
        trusted = told.pop("trusted", None)
        return Registration(**told, trusted=Trust(**trusted) if trusted else None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelRefused(
            "bad_registration", f"{REGISTRATION} of '{bundle.name}' is not as Vigie writes it"
        ) from error


def files_of(bundle: Path) -> Iterator[Path]:
    """A bundle's own files, sorted; not what Vigie or Python put beside them."""
    for path in sorted(bundle.rglob("*")):
        inside = path.relative_to(bundle)
        ours = inside in _OURS or (inside.parent == Path() and inside.suffix == UNFINISHED)
        if path.is_file() and not ours and not any(part in NOT_OF_THE_BUNDLE for part in inside.parts):
            yield path


def content_sha256(bundle: Path) -> str:
    """Digest (hex) of the names and contents of all files of a bundle, but for what its classes and scores mean."""
    lines = (f"{path.relative_to(bundle).as_posix()} {file_sha256(path)}\n" for path in files_of(bundle))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_trusted(bundle: Path) -> bool:
    """Whether somebody trusts the code of a bundle as it is now. Raises ModelRefused."""
    registration = registration_of(bundle)
    return bool(registration and registration.trusted and registration.sha256 == content_sha256(bundle))


def require_allowed(bundle: Path, config: Path | None = None) -> None:
    """Raises ModelRefused unless a config holds only what any bundle may, or is trusted and this is Triton's process.

    config: None for the inference config that the bundle has. Called before MONAI's parser sees it.
    """
    found = outside_of(config) if config is not None else outside_of_bundle(bundle)
    if not found:
        return
    if not is_trusted(bundle):
        advice = "take it out, or trust the bundle's code: vigie models add --trust (docs/models.md)"
        raise ModelRefused("needs_trust", f"the config of '{bundle.name}' would run code: {told(found)}. {advice}")
    if not in_triton():
        raise ModelRefused(
            "runs_only_in_triton", f"'{bundle.name}' runs code of its own, so in Triton only: set VIGIE_TRITON"
        )
