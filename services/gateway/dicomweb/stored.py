"""The bytes of a stored instance: as they came, or in Explicit VR Little Endian."""

import mmap
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom.dataset
import pydicom.filewriter
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from services.backends import part10, rle  # noqa: F401 - rle: its decoder is pydicom's from here on
from services.backends.files.pixels import UNREADABLE
from services.backends.store.archive import StoredInstance
from services.gateway.desk import Desk
from services.gateway.dicomweb.gone import images_gone
from services.gateway.problems import ProblemError
from services.triage.errors import InstanceRefused

# pydicom's own puts the traceback so far into the text of an error: with each level of nesting the text doubles, and a
# few kilobytes of nested sequences take all memory there is
for _module in (pydicom.dataset, pydicom.filewriter):
    vars(_module)["tag_in_exception"] = nullcontext

CHUNK_BYTES = 1 << 18
_IN_PLACE = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian})
_NATIVE = _IN_PLACE | {ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
_WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A stored instance and its file."""

    instance: StoredInstance
    path: Path

    @property
    def transfer_syntax(self) -> UID:
        """In which it is stored."""
        return UID(self.instance.transfer_syntax_uid)

    @property
    def is_encapsulated(self) -> bool:
        """Whether its pixels, if it has any, are in fragments (PS3.5 A.4)."""
        return self.transfer_syntax not in _NATIVE

    @property
    def is_convertible(self) -> bool:
        """Whether there is a decoder for its transfer syntax, so far as the syntax alone can tell."""
        try:
            return not self.is_encapsulated or get_decoder(self.transfer_syntax).is_available
        except NotImplementedError:
            return False

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they were received; only the preamble is made harmless, and File Meta Information completed."""
        with self.path.open("rb") as file:
            offset = _data_set_offset(file)
            if offset is not None:
                yield part10.wrap(
                    b"",
                    sop_class_uid=self.instance.sop_class_uid,
                    sop_instance_uid=self.instance.sop_instance_uid,
                    transfer_syntax_uid=self.instance.transfer_syntax_uid,
                    source_ae_title=part10.IMPLEMENTATION_VERSION_NAME,
                )
                file.seek(offset)
            else:
                yield part10.harmless(file.read(part10.PREAMBLE_BYTES))
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def open(self) -> BinaryIO:
        """A whole Part 10 file whose values lie as they are read: little endian, not deflated. Close it.

        The few stored otherwise are turned into such a file in memory. Raises ProblemError (406).
        """
        if self.is_encapsulated or self.transfer_syntax in _IN_PLACE:
            file = self.path.open("rb")
            if _data_set_offset(file) is None:
                return file
            file.close()
            if self.is_encapsulated:
                return BytesIO(b"".join(self.chunks()))
        return self.explicit_little_endian()

    def explicit_little_endian(self) -> BytesIO:
        """In Explicit VR Little Endian, decoded; colour as RGB. In memory. Raises ProblemError (406)."""
        try:
            dataset = dcmread(self.path, force=True)
            _complete_file_meta(dataset, self.instance)
            dataset.preamble = bytes(part10.PREAMBLE_BYTES)  # what is written anew is no TIFF any more
            if self.is_encapsulated and "PixelData" in dataset:
                # never a new UID: the caller asked for this instance, and nothing is lost by decoding
                dataset.decompress(as_rgb=True, generate_instance_uid=False)
            elif self.transfer_syntax == ExplicitVRBigEndian:
                dataset.walk(_swap_words)
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            content = BytesIO()
            dcmwrite(content, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
        except (*UNREADABLE, OSError) as error:
            raise undecodable() from error
        content.seek(0)
        return content


def stored_file(desk: Desk, instance: StoredInstance) -> StoredFile:
    """Its file. Raises ProblemError (410: it was deleted at this moment; 500) when it is not there."""
    files = desk.files
    try:
        path = files.result_path(instance.digest) if instance.is_result else files.path(instance.digest)
    except FileNotFoundError as error:
        uids = instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
        if not instance.is_result and desk.store.archive.gone(*uids):
            raise images_gone() from error
        raise ProblemError(
            500,
            "file_missing",
            "The file of an instance is missing",
            detail="The store knows the instance, but its file is not in the data folder.",
            way_out="Restore the data folder from a backup that matches the database.",
        ) from error
    return (desk.stored_as or StoredFile)(instance=instance, path=path)


def undecodable() -> ProblemError:
    """The answer where a stored instance can be given as it is, but not be understood."""
    return ProblemError(
        406,
        "undecodable",
        "The stored instance cannot be decoded",
        detail="The instance is kept as it was received, but no decoder here can read all of it.",
        way_out="Ask for the instance with transfer-syntax=*: that gives the bytes as they were received.",
    )


def _data_set_offset(file: BinaryIO) -> int | None:
    """Where the data set begins in a file that lacks preamble or transfer syntax; None: it lacks neither."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
        try:
            found = part10.open_part10(view)
        except InstanceRefused:  # damaged since it was received: let it be tried as it is
            return None
        is_whole = bytes(view[128:132]) == b"DICM" and found.transfer_syntax_uid
        return None if is_whole else found.data_set_offset


def _complete_file_meta(dataset: Dataset, instance: StoredInstance) -> None:
    dataset.file_meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(instance.transfer_syntax_uid)
    dataset.file_meta.MediaStorageSOPClassUID = UID(instance.sop_class_uid)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance.sop_instance_uid)


def _swap_words(_dataset: Dataset, element: DataElement) -> None:
    """Pydicom swaps numbers when it reads them, but not these."""
    size = _WORD_BYTES.get(element.VR)
    if size and element.value:
        element.value = np.frombuffer(element.value, f">u{size}").astype(f"<u{size}").tobytes()
