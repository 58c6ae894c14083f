"""Synthetic studies of any kind of the mix, made in milliseconds: copies of one data set per kind, with other UIDs.

Every value is invented. The pixels of all instances of a kind are the same noise; what makes two instances different
contents is their header.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from services.backends import part10
from services.sizing.mix import MIX, Kind

PATIENT_NAME, PATIENT_ID = "Load^Nobody", "LOAD-4711"
STORED_BITS = 12

# Stand-ins for what differs, each as long as what takes its place.
_STUDY, _SERIES, _INSTANCE, _FRAME = (f"2.25.{digit * 39}" for digit in "1234")
_NUMBER, _POSITION_MM = "987654", "+12345.5"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study on disk. digests: SHA-256 of each data set after group 2, in the order of `paths`."""

    uid: str
    kind: Kind
    paths: tuple[Path, ...]
    digests: tuple[str, ...]


def write_study(kind: Kind, folder: Path, *, seed: int) -> Study:
    """Write one study; the same seed is the same study."""
    dice = random.Random(seed)
    study, series, frame = _uid(dice), _uid(dice), _uid(dice)
    head, pixels = _template(kind.modality)
    folder.mkdir(parents=True)
    paths, digests = [], []
    for number in range(1, dice.randint(*kind.instances) + 1):
        own = head
        for stand_in, value in (
            (_STUDY, study),
            (_SERIES, series),
            (_INSTANCE, _uid(dice)),
            (_FRAME, frame),
            (_NUMBER, f"{number:06d}"),
            (_POSITION_MM, f"{number - 300.0:+08.1f}"),
        ):
            own = own.replace(stand_in.encode(), value.encode())
        assert len(own) == len(head), "a stand-in is not as long as its value"
        content = own + pixels
        paths.append(folder / f"{number:04d}.dcm")
        paths[-1].write_bytes(content)
        digests.append(hashlib.sha256(memoryview(content)[_offset(kind.modality) :]).hexdigest())
    return Study(uid=study, kind=kind, paths=tuple(paths), digests=tuple(digests))


def draw(dice: random.Random, kinds: Sequence[Kind] = MIX) -> Kind:
    """One of these kinds, as often as it is in the mix."""
    return dice.choices(kinds, [kind.an_hour for kind in kinds])[0]


def arrivals_s(dice: random.Random, *, an_hour: float, minutes: float) -> Iterator[float]:
    """When studies come, in seconds from the start: a Poisson process."""
    at = dice.expovariate(an_hour / 3600)
    while at < minutes * 60:
        yield at
        at += dice.expovariate(an_hour / 3600)


def _uid(dice: random.Random) -> str:
    """A UID below 2.25 (PS3.5 B.2) of 44 characters."""
    return f"2.25.{dice.randrange(10**38, 2**128)}"


@cache
def _template(modality: str) -> tuple[bytes, bytes]:
    """A Part 10 file up to its pixels, and the pixels."""
    kind = next(one for one in MIX if one.modality == modality)
    high = 256 if kind.octets == 1 else 1 << STORED_BITS
    pixels = np.random.default_rng(len(modality)).integers(0, high, kind.instance_bytes // kind.octets)
    raw = pixels.astype("<u1" if kind.octets == 1 else "<u2").tobytes()
    buffer = BytesIO()
    _data_set(kind, raw).save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    assert content.endswith(raw)
    return content[: -len(raw)], raw


@cache
def _offset(modality: str) -> int:
    return part10.open_part10(b"".join(_template(modality))).data_set_offset


def _data_set(kind: Kind, raw: bytes) -> Dataset:
    """One image; PS3.3 C.7.6.2, C.7.6.3 and the patient, study and series about it."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind.sop_class_uid, _INSTANCE
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = _STUDY, _SERIES, _FRAME
    dataset.Modality, dataset.BodyPartExamined = kind.modality, "CHEST"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = (
        PATIENT_NAME,
        PATIENT_ID,
        "",
        "O",
    )
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20260105", "080000", "", ""
    dataset.ReferringPhysicianName, dataset.Manufacturer = "", "Load"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesNumber, dataset.InstanceNumber = 1, _NUMBER
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = kind.rows, kind.columns, kind.samples
    dataset.PhotometricInterpretation = "RGB" if kind.samples == 3 else "MONOCHROME2"
    if kind.samples == 3:
        dataset.PlanarConfiguration = 0
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    dataset.BitsAllocated = 8 * kind.octets
    dataset.BitsStored = 8 if kind.octets == 1 else STORED_BITS
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    if kind.volume:
        dataset.ImageOrientationPatient, dataset.PixelSpacing, dataset.SliceThickness = (
            [1, 0, 0, 0, 1, 0],
            [0.8, 0.8],
            1.0,
        )
        dataset.ImagePositionPatient = ["-200", "-200", _POSITION_MM]
    if kind.modality in ("CT", "PT"):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024 if kind.modality == "CT" else 0
    dataset.PixelData = raw
    dataset["PixelData"].VR = "OB" if kind.octets == 1 else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        kind.sop_class_uid,
        UID(_INSTANCE),
    )
    return dataset
