"""A data set without patient identity: only what is needed to display it stays, and every UID is another.

Stricter than the Basic Application Level Confidentiality Profile (PS3.15 annex E), which removes what it knows of: of
what is not named here nothing stays, private attributes, free text, dates, overlays and curves among them. A test holds
the names against the profile.
"""

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement

from services.triage.training import pseudonym

DISPLAYED = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID Modality StudyInstanceUID SeriesInstanceUID
FrameOfReferenceUID SeriesNumber InstanceNumber AcquisitionNumber BodyPartExamined PatientPosition SliceThickness
SpacingBetweenSlices ImagePositionPatient ImageOrientationPatient SliceLocation SamplesPerPixel
PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing ImagerPixelSpacing
PixelAspectRatio BitsAllocated BitsStored HighBit PixelRepresentation SmallestImagePixelValue LargestImagePixelValue
PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope RescaleType WindowCenter WindowWidth
VOILUTFunction BurnedInAnnotation RecognizableVisualFeatures LossyImageCompression LossyImageCompressionRatio
LossyImageCompressionMethod ModalityLUTSequence VOILUTSequence LUTDescriptor LUTData ModalityLUTType
RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor
RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData PresentationLUTShape
Units SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlanePositionSequence
PlaneOrientationSequence FrameContentSequence DimensionIndexValues FrameVOILUTSequence
PixelValueTransformationSequence DerivationImageSequence SourceImageSequence ReferencedSOPClassUID
ReferencedSOPInstanceUID ReferencedSeriesSequence ReferencedInstanceSequence ReferencedFrameNumber
DimensionOrganizationSequence DimensionOrganizationUID DimensionOrganizationType DimensionIndexSequence
DimensionIndexPointer FunctionalGroupPointer SegmentationType SegmentationFractionalType MaximumFractionalValue
SegmentSequence SegmentNumber SegmentLabel SegmentAlgorithmType SegmentAlgorithmName SegmentIdentificationSequence
ReferencedSegmentNumber SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence CodeValue
CodingSchemeDesignator CodeMeaning RecommendedDisplayCIELabValue ContentLabel PixelData FloatPixelData
DoubleFloatPixelData ExtendedOffsetTable ExtendedOffsetTableLengths
"""
"""Keywords, those of colour, of multi-frame images and of segmentations among them."""

_KEPT = frozenset(filter(None, map(tag_for_keyword, DISPLAYED.split())))
NAME = "TRAINING"


def deidentified(dataset: Dataset, *, key: bytes) -> Dataset:
    """A new data set; its UIDs are `triage.training.pseudonym` of the real ones. key: of the round."""
    shown = _displayed(dataset, key)
    shown.PatientName = NAME
    # without an ID: a viewer would look for other studies of it
    shown.PatientID = shown.PatientBirthDate = shown.PatientSex = shown.StudyDate = shown.StudyTime = ""
    shown.AccessionNumber = shown.StudyID = shown.ReferringPhysicianName = ""
    shown.PatientIdentityRemoved = "YES"
    shown.DeidentificationMethod = "Vigie training: attributes for display, other UIDs"
    return shown


def _displayed(dataset: Dataset, key: bytes) -> Dataset:
    kept = Dataset()
    for tag in sorted(set(dataset.keys()) & _KEPT):
        element = dataset[tag]
        if element.VR == "SQ":
            element = DataElement(tag, "SQ", [_displayed(item, key) for item in element.value])
        elif element.VR == "UI" and element.value:
            uids = [element.value] if isinstance(element.value, str) else element.value
            element = DataElement(tag, "UI", [pseudonym(str(uid), key=key) for uid in uids])
        kept[tag] = element
    return kept
