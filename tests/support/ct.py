"""Small synthetic CT and MR series with any geometry, as pydicom data sets or files. All values are invented."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def ct_series(
    voxels: npt.ArrayLike | None = None,
    *,
    slices: int = 6,
    rows: int = 16,
    columns: int = 12,
    modality: str = "CT",
    spacing_mm: tuple[float, float, float] = (2.5, 0.8, 0.7),
    origin_mm: Sequence[float] = (-100.0, -120.0, 40.0),
    orientation: Sequence[float] = AXIAL,
    slope: float = 1,
    intercept: float = -1024,
    signed: bool = False,
    bits_stored: int = 16,
    study_uid: str | None = None,
    series_uid: str | None = None,
    series_number: int = 3,
    seed: int = 0,
    **attributes: object,
) -> list[Dataset]:
    """Make one classic CT or MR series, in slice order along the normal.

    voxels: [slice, row, column] rescaled values (HU for CT); default: random, fixed by `seed`.
    spacing_mm: (slice, row, column) as in `Volume.spacing_mm`. attributes: set on every data set, by DICOM keyword;
    None takes an attribute away.
    """
    stored = _stored(voxels, (slices, rows, columns), slope=slope, intercept=intercept, signed=signed, seed=seed)
    study_uid, series_uid = study_uid or generate_uid(), series_uid or generate_uid()
    frame_of_reference = generate_uid(entropy_srcs=[study_uid])
    across, down = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    step = np.cross(across, down) * spacing_mm[0]
    series = []
    for index, plane in enumerate(stored):
        dataset = _image(modality)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.FrameOfReferenceUID = frame_of_reference
        dataset.SeriesNumber, dataset.InstanceNumber = series_number, index + 1
        dataset.ImagePositionPatient = [round(float(x), 6) for x in np.asarray(origin_mm) + index * step]
        dataset.ImageOrientationPatient = [float(x) for x in orientation]
        dataset.PixelSpacing = [spacing_mm[1], spacing_mm[2]]
        dataset.SliceThickness = spacing_mm[0]
        dataset.BitsStored, dataset.HighBit = bits_stored, bits_stored - 1
        dataset.PixelRepresentation = int(signed)
        if modality != "MR":
            dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        set_pixels(dataset, plane)
        for keyword, value in attributes.items():
            if value is None:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, value)
        series.append(dataset)
    return series


def set_pixels(dataset: Dataset, stored: npt.NDArray[np.integer]) -> None:
    """Put one uncompressed 16-bit plane [row, column] of stored values into a data set."""
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()
    dataset["PixelData"].VR = "OW"


def write_series(series: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write data sets as Part 10 files into a folder; answers their paths, in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:04d}.dcm" for index in range(len(series))]
    for dataset, path in zip(series, paths, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def _stored(
    voxels: npt.ArrayLike | None,
    shape: tuple[int, int, int],
    *,
    slope: float,
    intercept: float,
    signed: bool,
    seed: int,
) -> npt.NDArray[np.integer]:
    dtype = np.int16 if signed else np.uint16
    if voxels is None:
        return np.random.default_rng(seed).integers(0, 2000, shape).astype(dtype)
    return np.rint((np.asarray(voxels, float) - intercept) / slope).astype(dtype)


def _image(modality: str) -> Dataset:
    """One image with its type 1 and type 2 attributes (PS3.3 A.3, A.4), without geometry and pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if modality != "MR" else ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20240102"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101112"
    dataset.AccessionNumber = "A0001"
    dataset.Modality = modality
    dataset.Manufacturer = "Phantom Works"
    dataset.ManufacturerModelName = "Builder"
    dataset.InstitutionName = "Test"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "CT chest"
    dataset.SeriesDescription = "Chest 2.5 mm"
    dataset.PatientName, dataset.PatientID = "Phantom^Test", "PHANTOM-1"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19600101", "O", "064Y"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = "HFS"
    dataset.StudyID = "1"
    dataset.AcquisitionNumber = 1
    dataset.PositionReferenceIndicator = ""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 16
    if modality == "CT":
        dataset.KVP, dataset.RescaleType, dataset.ConvolutionKernel = 120, "HU", "STANDARD"
        dataset.WindowCenter, dataset.WindowWidth = -500, 1500
    if modality == "MR":
        dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "NONE", ""
        dataset.MRAcquisitionType, dataset.EchoTime, dataset.RepetitionTime = "2D", 10, 500
        dataset.EchoTrainLength = 1
    return dataset


def enhanced(series: Sequence[Dataset]) -> Dataset:
    """Make one enhanced multi-frame object (PS3.3 A.36, A.38) of classic images, its frames in their order."""
    dataset = Dataset()
    dataset.update({tag: element for tag, element in series[0].items() if tag not in _PER_FRAME_TAGS})
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = EnhancedMRImageStorage if dataset.Modality == "MR" else EnhancedCTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.NumberOfFrames = len(series)
    dataset.PixelData = b"".join(source.PixelData for source in series)
    dataset["PixelData"].VR = "OW"
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = series[0].ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = series[0].PixelSpacing, series[0].SliceThickness
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(source) for source in series]
    return dataset


_PER_FRAME_TAGS = {
    tag_for_keyword(keyword)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
    )
}


def _frame(source: Dataset) -> Dataset:
    position, values, frame = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = source.ImagePositionPatient
    frame.PlanePositionSequence = [position]
    if "RescaleSlope" in source:
        values.RescaleSlope, values.RescaleIntercept = source.RescaleSlope, source.RescaleIntercept
        values.RescaleType = "HU"
        frame.PixelValueTransformationSequence = [values]
    return frame
