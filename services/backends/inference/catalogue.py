"""The catalogue of MONAI bundles in a folder: which models there are, and in which versions."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.backends.inference.bundle_files import (
    METADATA,
    REGISTRATION,
    TRIAGE,
    UNREADABLE,
    bundle_sha256,
    file_sha256,
    read_json,
    unreadable,
    weights_file,
    whole_metadata,
)
from services.backends.inference.triage_metadata import is_decided, model_of, read_metadata
from services.triage.errors import ModelRefused, VersionNotHere
from services.triage.model import Model, ModelIdentity


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A bundle on disk, and the version that it says it is; what its folder's name says where that cannot be read."""

    bundle: Path
    version: str


class Catalogue:
    """The bundles below a folder, one per sub-folder, which is called NAME or, beside other versions, NAME@VERSION."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> tuple[str, ...]:
        """Names of the models, each once."""
        return tuple(sorted({_name(bundle) for bundle in self._bundles()}))

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a model that can be read, the standing one first.

        Raises ModelRefused: a registration cannot be read, so that it cannot be told which one stands.
        """
        told = (_version(bundle) for bundle in _oldest_first(self._bundles(name)))
        return tuple(version for version in told if version is not None)

    def bundle(self, name: str, version: str | None = None) -> Path:
        """Folder of a bundle: of that version, or of the standing one. Raises ModelRefused when there is none.

        The standing version is the one that was here first: a version that is added changes nothing until it is asked
        for by name. Which one that is cannot be told, and is refused, while a registration cannot be read.
        """
        found = self._found(name, version)
        if not found:
            raise ModelRefused("unknown_version", f"'{name}' has no version '{version}' in {self._folder}")
        return found[0]

    def get(self, name: str, version: str | None = None) -> Model:
        """One model, of that version or the standing one. Raises ModelRefused when it is missing or cannot be read."""
        return _read(self.bundle(name, version))

    def model(self, name: str, version: str | None = None) -> Model:
        """As `get`, for a job: raises VersionNotHere where the model is here, and not in this version, or not yet."""
        found = self._found(name, version or None)
        if not found:
            raise VersionNotHere(f"there is no version {version} of '{name}' here")
        return _read(found[0])

    def bundle_of(self, model: Model) -> Path:
        """Folder of the bundle that a model was read from.

        Raises ModelRefused, or VersionNotHere: it was exchanged since, and another try reads what is there now.
        """
        name, version = model.identity.name, model.identity.version
        found = self._found(name, version)
        if not found or bundle_sha256(found[0]) != model.bundle_sha256:
            raise VersionNotHere(f"version {version} of '{name}' was exchanged since it was read")
        return found[0]

    def folders(self, name: str) -> tuple[Folder, ...]:
        """All versions of a model, of those too that cannot be used before it is told what their classes mean."""
        found = self._bundles(name, described=False)
        return tuple(Folder(bundle=one, version=_version(one) or one.name.partition("@")[2]) for one in found)

    def undescribed(self) -> tuple[Path, ...]:
        """Bundles of whose classes nobody has said what they mean: no models yet (`vigie models describe`)."""
        return tuple(bundle for bundle in self._bundles(described=False) if not _is_described(bundle))

    def unreadable(self) -> Iterator[tuple[Path, ModelRefused]]:
        """Bundles that cannot be read, each with the reason."""
        for bundle in self._bundles():
            try:
                _added_at(bundle)
                _read(bundle)
            except ModelRefused as refusal:
                yield bundle, refusal

    def _bundles(self, name: str | None = None, *, described: bool = True) -> list[Path]:
        """All, or a model's; of no other model is anything read."""
        found = sorted(one for one in self._folder.glob("[!.]*") if name in (None, _name(one)) and _is_bundle(one))
        return [bundle for bundle in found if not described or _is_described(bundle)]

    def _found(self, name: str, version: str | None) -> list[Path]:
        """The folder of that version, none where it is not there; without a version, of the standing one.

        Raises ModelRefused: there is no such model, two folders have the version, or the one that has it, to go by its
        name, cannot be read.
        """
        bundles = self._bundles(name)
        if not bundles and self._bundles(name, described=False):
            text = f"nobody has said what the classes of '{name}' mean ({TRIAGE}): vigie models describe {name}"
            raise ModelRefused("not_described", text)
        if not bundles:
            known = ", ".join(self.names()) or "none"
            raise ModelRefused("unknown_model", f"no bundle named '{name}' in {self._folder} (there are: {known})")
        if version is None:
            return _oldest_first(bundles)[:1]
        versions = {bundle: _version(bundle) for bundle in bundles}
        found = [bundle for bundle, told in versions.items() if told == version]
        if len(found) > 1:
            raise ModelRefused("unknown_version", f"'{name}' has more than one version '{version}' in {self._folder}")
        may_be = (one for one, told in versions.items() if told is None and one.name in (name, f"{name}@{version}"))
        return found or list(may_be)[:1]


def _read(bundle: Path) -> Model:
    digest = bundle_sha256(bundle)  # first: what changes under our hands is not told under its new digest
    metadata = read_metadata(bundle)
    try:
        weights_sha256 = file_sha256(weights_file(bundle))
    except UNREADABLE as error:
        raise unreadable(bundle, error) from error
    identity = ModelIdentity(name=_name(bundle), version=metadata.version, weights_sha256=weights_sha256)
    return model_of(identity, metadata, digest)


def _name(bundle: Path) -> str:
    return bundle.name.partition("@")[0]


def _is_bundle(folder: Path) -> bool:
    """Whether it has metadata; one that nobody may look into counts, so that this is said."""
    try:
        (folder / METADATA).stat()
    except PermissionError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False
    return True


def _oldest_first(bundles: list[Path]) -> list[Path]:
    """By when they were added; what was put here by hand counts as older."""
    return sorted(bundles, key=lambda one: (_added_at(one), one))


def _added_at(bundle: Path) -> str:
    try:
        told = read_json(bundle / REGISTRATION, bundle)
    except FileNotFoundError:
        return ""
    if not isinstance(told, dict):
        raise ModelRefused("bad_registration", f"{REGISTRATION} of '{bundle.name}' is no mapping")
    return str(told.get("added_at", ""))


def _version(bundle: Path) -> str | None:
    """The version that it says it is; None: it says none that can be read."""
    try:
        told = whole_metadata(bundle).get("version")
    except (ModelRefused, FileNotFoundError):
        return None
    return told if isinstance(told, str) else None


def _is_described(bundle: Path) -> bool:
    """Whether somebody has said what its classes mean; whether that can be used shows when it is read."""
    try:
        triage = whole_metadata(bundle).get("triage")
    except (ModelRefused, FileNotFoundError):  # or it goes at this moment
        return True
    if not isinstance(triage, dict):
        return triage is not None
    return is_decided(triage)
