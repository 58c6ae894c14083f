"""Writes a volume as a classic CT series: one CT Image Storage instance per slice (PS3.3 A.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

# Twelve stored bits above air, as scanners write them.
RESCALE_INTERCEPT_HU = -1024
STORED_BITS = 12
IMPLEMENTATION_CLASS_UID = UID(f"2.25.{uuid5(NAMESPACE_URL, 'vigie/dicom_samples').int}")


@dataclass(frozen=True, kw_only=True)
class CtSeries:
    """A CT series to be written.

    voxels: int16 [slice, row, column] in HU, within -1024..3071.
    affine: 4x4; maps (slice, row, column, 1) to millimetres in LPS; slices step along the normal, towards the head.
    name: the seed of every UID, so that the same series is the same objects wherever it is written.
    source, source_version: where the voxels come from, told as Manufacturer and Software Versions.
    study_date (YYYYMMDD), study_time (HHMMSS) and the patient are fictional.
    """

    voxels: npt.NDArray[np.int16]
    affine: npt.NDArray[np.float64]
    name: str
    patient_name: str
    patient_id: str
    study_date: str
    study_time: str
    source: str
    source_version: str
    series_description: str
    study_description: str = "CT chest"
    body_part_examined: str = "CHEST"


def uid_of(*words: str) -> UID:
    """A UID below 2.25 that is the same for the same words (PS3.5 B.2)."""
    return UID(f"2.25.{uuid5(NAMESPACE_URL, '/'.join(('vigie', 'dicom_samples', *words))).int}")


def write_ct_series(series: CtSeries, folder: Path, *, transfer_syntax_uid: UID = ExplicitVRLittleEndian) -> list[Path]:
    """Write one Part 10 file per slice into `folder`; answers the paths in slice order.

    transfer_syntax_uid: Explicit VR Little Endian, or a lossless one that pydicom can encode.

    Instance Number counts from the head, as on most scanners: against the order of the slices here.
    Raises ValueError when a voxel does not fit into twelve bits, or the slices do not step along their normal.
    """
    stored = _stored(series.voxels)
    orientation = _orientation(series.affine)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, pixels in enumerate(stored):
        number = len(stored) - index
        instance = _header(series)
        _place(instance, series.affine, orientation, index, number)
        _fill(instance, pixels)
        instance.SOPInstanceUID = uid_of(series.name, "instance", str(number))
        instance.file_meta = _file_meta(instance)
        if transfer_syntax_uid.is_compressed:
            instance.compress(transfer_syntax_uid, generate_instance_uid=False)
        paths.append(folder / f"IM{number:04d}.dcm")
        instance.save_as(paths[-1], enforce_file_format=True)
    return paths


def _stored(voxels: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
    stored = voxels.astype(np.int32) - RESCALE_INTERCEPT_HU
    if stored.min() < 0 or stored.max() >= 1 << STORED_BITS:
        raise ValueError(f"voxels of {voxels.min()} to {voxels.max()} HU do not fit into {STORED_BITS} bits")
    return stored.astype(np.uint16)


def _orientation(affine: npt.NDArray[np.float64]) -> list[float]:
    """Image Orientation (Patient): the direction of a row (columns step), then of a column (rows step)."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    step, column, row = unit.T
    if not np.allclose(np.cross(row, column), step, atol=1e-4):
        raise ValueError("the slices do not step along their normal")
    return [*_decimals(row), *_decimals(column)]


def _decimals(values: Sequence[float] | npt.NDArray[np.float64]) -> list[float]:
    """Rounded to what a Decimal String holds (16 characters, PS3.5 6.2), without a negative zero."""
    return [round(float(value), 7) + 0.0 for value in values]


def _header(series: CtSeries) -> Dataset:
    """What all instances of the series have in common: patient, study, series, equipment, frame of reference."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(header, f"{kind}Date", series.study_date)
        setattr(header, f"{kind}Time", series.study_time)
    header.AccessionNumber = ""
    header.Modality = "CT"
    header.Manufacturer = series.source
    header.SoftwareVersions = series.source_version
    header.ReferringPhysicianName = ""
    header.StudyDescription = series.study_description
    header.SeriesDescription = series.series_description
    header.PatientName = series.patient_name
    header.PatientID = series.patient_id
    header.PatientBirthDate = ""
    header.PatientSex = ""
    header.BodyPartExamined = series.body_part_examined
    header.KVP = None
    header.PatientPosition = "HFS"
    header.StudyInstanceUID = uid_of(series.name, "study")
    header.SeriesInstanceUID = uid_of(series.name, "series")
    header.StudyID = "1"
    header.SeriesNumber = 1
    header.AcquisitionNumber = 1
    header.FrameOfReferenceUID = uid_of(series.name, "frame of reference")
    header.PositionReferenceIndicator = ""
    return header


def _place(
    instance: Dataset, affine: npt.NDArray[np.float64], orientation: list[float], index: int, number: int
) -> None:
    """Image Plane Module (PS3.3 C.7.6.2)."""
    between_slices, between_rows, between_columns = np.linalg.norm(affine[:3, :3], axis=0)
    instance.InstanceNumber = number
    instance.SliceThickness = _decimals([between_slices])[0]
    instance.SpacingBetweenSlices = instance.SliceThickness
    instance.PixelSpacing = _decimals([between_rows, between_columns])
    instance.ImageOrientationPatient = orientation
    instance.ImagePositionPatient = _decimals(affine[:3, 0] * index + affine[:3, 3])
    instance.SliceLocation = instance.ImagePositionPatient[2]


def _fill(instance: Dataset, pixels: npt.NDArray[np.uint16]) -> None:
    """Image Pixel and CT Image Modules (PS3.3 C.7.6.3, C.8.2.1), and the two windows of a chest."""
    instance.Rows, instance.Columns = pixels.shape
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.BitsAllocated = 16
    instance.BitsStored = STORED_BITS
    instance.HighBit = STORED_BITS - 1
    instance.PixelRepresentation = 0
    instance.RescaleIntercept = RESCALE_INTERCEPT_HU
    instance.RescaleSlope = 1
    instance.RescaleType = "HU"
    instance.WindowCenter = [-600, 40]
    instance.WindowWidth = [1500, 400]
    instance.WindowCenterWidthExplanation = ["LUNG", "MEDIASTINUM"]
    instance.PixelData = pixels.astype("<u2").tobytes()


def _file_meta(instance: Dataset) -> FileMetaDataset:
    """File Meta Information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = instance.SOPClassUID
    meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "VIGIE_SAMPLES"
    return meta
