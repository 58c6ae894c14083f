"""Converted networks that passed their comparison, kept in a folder for the next process.

Each is a file, its name the digest of all that its answers depend on, its content OpenVINO's own form of a compiled
network behind a line that tells that digest's parts, the comparison, and the digest of the whole. Whatever does not
hold is told and taken for nothing: the network is then converted and compared as if the folder were empty.
"""

import hashlib
import json
import logging
import os
import platform
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from services.backends.inference.bundle_files import UNFINISHED

log = logging.getLogger(__name__)  # Triton's Python has no structlog

MOST_BYTES = 2 * 2**30
"""Of all kept networks together; those go first that were not asked for the longest."""

_SUFFIX = ".network"
_LEFT_BEHIND_S = 3600.0  # an unfinished file of this age is that of a process that was killed
_LONGEST_HEAD = 64 * 1024  # digest, key and comparison
_PACKAGES = ("monai", "openvino", "torch", "vigie")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Of two answers to the first windows. difference: the greatest of any element; scale: PyTorch's greatest value."""

    difference: float
    scale: float

    def holds(self, tolerance: float) -> bool:
        """Whether no element is off by more than this share of the scale; false for NaN."""
        return self.difference <= tolerance * self.scale


Key = Mapping[str, str]
"""All that the answers of a converted network depend on, by name."""


def key_of(network: torch.nn.Module, shape: Sequence[int], kind: torch.dtype, *, bundle: str, processor: Key) -> Key:
    """The key of a network for windows of this shape [N, C, ...] and type.

    bundle: digest of the bundle that defines it; what is in memory of its weights is in the key all the same.
    processor: what OpenVINO tells of it, and the hints that it is given; another one sums in another order.
    """
    return {
        "bundle": bundle,
        "network": _network_sha256(network),
        "windows": f"{kind} {list(shape)}",
        "machine": platform.machine(),
        **{f"version of {name}": version(name) for name in _PACKAGES},
        **processor,
    }


class ConvertedNetworks:
    """The folder. It is made if need be, for us alone; one that others may enter is told once and not used."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._usable = True

    def read(self, key: Key) -> tuple[memoryview, Comparison] | None:
        """The compiled network with this key and the comparison that it passed, if they are here, whole and ours."""
        if not self._ready():
            return None
        path = self._path(key)
        try:
            found = _opened(memoryview(_owned_bytes(path)), key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a kept network is not used and is made anew: %s: %s", path.name, error)
            self.drop(key)
            return None
        with suppress(OSError):  # it may lie where nothing can be written
            os.utime(path)
        return found

    def keep(self, key: Key, network: bytes | memoryview, comparison: Comparison) -> None:
        """Keep a compiled network; where that fails it is told, and the network goes on from memory."""
        if len(network) > self._most_bytes or not self._ready():
            return
        try:
            self._write(self._path(key), _closed(network, key, comparison))
            self._bound()
        except OSError as error:
            log.warning("a converted network could not be kept: %s", error.strerror)

    def drop(self, key: Key) -> None:
        """Have it no more."""
        with suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: Key) -> Path:
        return self._folder / f"{hashlib.sha256(_line(key)).hexdigest()}{_SUFFIX}"

    def _ready(self) -> bool:
        if not self._usable:
            return False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            told = self._folder.stat()
        except OSError as error:
            return self._useless(error.strerror or "cannot be made")
        if told.st_uid != os.geteuid() or told.st_mode & 0o077:
            return self._useless("others may use it; it must be ours, with mode 0700")
        return True

    def _useless(self, why: str) -> bool:
        self._usable = False
        log.warning("converted networks are not kept, for their folder does not do: %s", why)
        return False

    def _write(self, path: Path, parts: Sequence[bytes | memoryview]) -> None:
        """Whole or absent. It is not waited for: what a power cut leaves of it does not have its digest."""
        descriptor, unfinished = tempfile.mkstemp(dir=self._folder, suffix=UNFINISHED)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(parts)
            Path(unfinished).replace(path)
        finally:
            Path(unfinished).unlink(missing_ok=True)

    def _bound(self) -> None:
        for path in self._folder.glob(f"*{UNFINISHED}"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _LEFT_BEHIND_S:
                    path.unlink()
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):  # another process was first
                told = path.stat()
                found.append((told.st_mtime_ns, told.st_size, path))
        room = self._most_bytes
        for _, size, path in sorted(found, reverse=True):
            room -= size
            if room < 0:
                path.unlink(missing_ok=True)


def _closed(network: bytes | memoryview, key: Key, comparison: Comparison) -> tuple[bytes | memoryview, ...]:
    """The parts of a file: the digest of what follows, key and comparison, the network."""
    line = _line({"key": dict(key), "comparison": asdict(comparison)}) + b"\n"
    digest = hashlib.sha256(line)
    digest.update(network)
    return digest.hexdigest().encode() + b"\n", line, network


def _opened(content: memoryview, key: Key) -> tuple[memoryview, Comparison]:
    """What `_closed` has put together. Raises ValueError: it is damaged, or of another key."""
    digest, _, rest = bytes(content[:_LONGEST_HEAD]).partition(b"\n")
    whole = content[len(digest) + 1 :]
    if hashlib.sha256(whole).hexdigest().encode() != digest:
        raise ValueError("it is damaged")
    line = rest.partition(b"\n")[0]
    told = json.loads(line)
    if told["key"] != dict(key):
        raise ValueError("it is another network")
    return whole[len(line) + 1 :], Comparison(**told["comparison"])


def _owned_bytes(path: Path) -> bytes:
    """Of a plain file that is ours alone. Raises OSError, ValueError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        told = os.fstat(file.fileno())
        if not stat.S_ISREG(told.st_mode) or told.st_uid != os.geteuid() or told.st_mode & 0o022:
            raise ValueError("it is not ours alone")
        return file.read()


def _network_sha256(network: torch.nn.Module) -> str:
    """Digest (hex) of the layers as they print themselves, and of parameters and buffers by name, type and content."""
    digest = hashlib.sha256(repr(network).encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _line(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
