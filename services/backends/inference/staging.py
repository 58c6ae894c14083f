"""A bundle on its way in: out of a folder, or of a ZIP as the Model Zoo's hosts give it (one top folder), to its place.

Nothing of a ZIP is written outside of its folder, links are not followed, and what is unpacked has a bound. The bundle
appears under its name whole or not at all, after a power cut, too (fsync).
"""

import errno
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from services.backends.files import durable
from services.backends.inference.registration import NOT_OF_THE_BUNDLE, files_of
from services.triage.errors import ModelRefused

MOST_FILES = 5_000
MOST_BYTES = 16 * 2**30
_CHUNK = 2**20
_IGNORED = ("__MACOSX", *NOT_OF_THE_BUNDLE)
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)
"""What zipfile raises of a ZIP that is damaged, encrypted, or packed by a method that it does not know."""

_OF_THE_ZIP = (None, errno.EINVAL, errno.ENAMETOOLONG)
"""Numbers of an OSError for which the ZIP is to blame: none (bz2's own), an entry before its begin, a long name."""


@contextmanager
def staged(source: Path, beside: Path) -> Iterator[Path]:
    """A copy of the bundle in a hidden folder of `beside`, which is gone afterwards unless `install` has moved it.

    The copy has the name of the bundle's folder. Raises ModelRefused: no bundle, or a ZIP that is not to be unpacked.
    """
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".adding-") as folder:
        if source.is_dir():
            yield _copied(source, Path(folder))
        elif zipfile.is_zipfile(source):
            yield _unpacked(source, Path(folder))
        else:
            raise ModelRefused("no_bundle", f"{source} is neither a folder nor a ZIP")


def install(bundle: Path, place: Path) -> None:
    """Move a staged bundle to its place, durably. Raises ModelRefused when something is there."""
    for path in files_of(bundle):
        _sync(path)
    for folder in (bundle, *(path for path in bundle.rglob("*") if path.is_dir())):
        durable.sync_folder(folder)
    if place.exists():
        raise ModelRefused("is_there", f"there is a folder {place.name} already")
    bundle.rename(place)
    durable.sync_folder(place.parent)


def remove(bundle: Path) -> OSError | None:
    """Take a bundle out of its folder of models: out of sight at once and durably, then its files.

    Of a link only the link goes. Raises OSError: it is still there. Answers why files of it could not be deleted: they
    lie hidden, as after a kill, and go when the same name is removed again.
    """
    gone = bundle.with_name(f".removing-{bundle.name}")
    if bundle.is_symlink():
        bundle.unlink()
    else:
        shutil.rmtree(gone, ignore_errors=True)
        bundle.rename(gone)
    durable.sync_folder(bundle.parent)
    try:
        shutil.rmtree(gone)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def _copied(source: Path, folder: Path) -> Path:
    links = [path for path in source.rglob("*") if path.is_symlink()]
    if links:
        where = links[0].relative_to(source)
        raise ModelRefused("link", f"{where} is a link: a bundle holds its files itself")
    ignored = shutil.ignore_patterns(*NOT_OF_THE_BUNDLE)
    copy = folder / source.resolve().name
    try:
        shutil.copytree(source, copy, ignore=ignored, copy_function=shutil.copyfile)
    except shutil.Error as error:
        file, _, why = error.args[0][0]
        raise ModelRefused("unreadable", f"{Path(file).relative_to(source)} cannot be copied: {why}") from error
    for path in (copy, *copy.rglob("*")):
        if path.is_dir():  # a read-only source is none here
            path.chmod(0o755)
    return copy


def _unpacked(source: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(source) as archive:
            members = [each for each in archive.infolist() if not set(_IGNORED) & set(Path(each.filename).parts)]
            _require_harmless(members)
            left = MOST_BYTES
            for info in members:
                if not info.is_dir():
                    left -= _unpack(archive, info, folder / info.filename, left)
    except _DAMAGED as error:
        raise ModelRefused("bad_zip", f"{source.name} cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno not in _OF_THE_ZIP:
            raise
        raise ModelRefused("bad_zip", f"{source.name} cannot be unpacked: {error.strerror or error}") from error
    tops = list(folder.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        raise ModelRefused("bad_zip", f"{source.name} must hold one folder, the bundle's; it holds {len(tops)} entries")
    return tops[0]


def _require_harmless(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_FILES:
        raise ModelRefused("bad_zip", f"it holds more than {MOST_FILES} files")
    names = [PurePosixPath(info.filename) for info in members]
    for info, name in zip(members, names, strict=True):
        if not name.parts:
            raise ModelRefused("bad_zip", "it holds an entry without a name")
        if name.is_absolute() or ".." in name.parts or "\\" in info.filename or ":" in info.filename:
            raise ModelRefused("bad_zip", f"the entry '{info.filename}' reaches out of its folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ModelRefused("bad_zip", f"the entry '{info.filename}' is a link")
    if len(set(names)) != len(names):
        raise ModelRefused("bad_zip", "it holds two entries of one name")
    files = {name for info, name in zip(members, names, strict=True) if not info.is_dir()}
    for name in names:
        if not files.isdisjoint(name.parents):
            raise ModelRefused("bad_zip", f"the entry '{name}' lies in another, which is a file")


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, most: int) -> int:
    """Answers how many bytes it had: what the ZIP says of them need not be true."""
    place.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(info) as packed, place.open("xb") as file:
        while chunk := packed.read(_CHUNK):
            size += len(chunk)
            if size > most:
                raise ModelRefused("bad_zip", f"it unpacks to more than {MOST_BYTES} bytes")
            file.write(chunk)
    return size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
