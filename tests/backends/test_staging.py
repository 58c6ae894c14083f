"""ZIPs on their way in: of whatever bytes comes a bundle or a refusal; what a disk says stays what it is."""

import errno
import os
import zipfile
from pathlib import Path

import pytest

from services.backends.inference import staging
from services.backends.inference.staging import staged
from services.triage.errors import ModelRefused

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bz2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
FILES = {"b/LICENSE": "Apache License 2.0 " * 5, "b/docs/Übersicht.md": "Lung " * 9}


def zipped(path: Path, files: dict[str, str], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def code_of(source: Path, folder: Path) -> str | None:
    """Of the refusal; None: it was unpacked."""
    try:
        with staged(source, folder / "models") as bundle:
            assert bundle.is_dir()
    except ModelRefused as refusal:
        return refusal.reason.code
    finally:
        assert list((folder / "models").iterdir()) == [], "nothing is left behind"
    return None


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_with_a_damaged_byte_is_unpacked_or_refused(method: str, tmp_path: Path) -> None:
    source = zipped(tmp_path / "b.zip", FILES, METHODS[method])
    whole = source.read_bytes()
    assert code_of(source, tmp_path) is None
    end = whole.rindex(b"PK\x05\x06")
    for place, byte in enumerate(whole):
        source.write_bytes(whole[:place] + bytes([byte ^ 0xFF]) + whole[place + 1 :])
        # without the record at its end it is no ZIP at all
        allowed = (None, "bad_zip", "no_bundle") if place >= end else (None, "bad_zip")
        assert code_of(source, tmp_path) in allowed, f"byte {place} of {len(whole)}"


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_that_ends_early_is_refused(method: str, tmp_path: Path) -> None:
    source = zipped(tmp_path / "b.zip", FILES, METHODS[method])
    os.truncate(source, source.stat().st_size // 2)
    assert code_of(source, tmp_path) == "no_bundle"


@pytest.mark.parametrize(
    "names",
    [
        ["b/x", "b/x/y"],
        ["b/x/y", "b/x"],
        ["b/x", "b/x/y/z"],
        ["b/x/", "b/x"],
        ["b", "b/x"],
        ["b/" + "x" * 300],
        ["b/" + "d/" * 3000 + "x"],
    ],
)
def test_entries_that_cannot_lie_side_by_side_or_anywhere_are_refused(names: list[str], tmp_path: Path) -> None:
    assert code_of(zipped(tmp_path / "b.zip", dict.fromkeys(names, "")), tmp_path) == "bad_zip"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_what_the_disk_says_is_not_said_of_the_zip(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(staging, "_unpack", unpack)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        code_of(zipped(tmp_path / "b.zip", FILES), tmp_path)
    assert caught.value.errno == number
