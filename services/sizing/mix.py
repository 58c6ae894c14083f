"""A large hospital's busiest hour: how many studies of which kind, and how large they are."""

from dataclasses import dataclass

from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    UltrasoundImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of study, of a single series.

    an_hour: of 300. instances: fewest and most; any number between them is as likely. frames, rows, columns, samples,
    octets (of a sample): of each instance. volume: whether it is a volume that a model can look at.
    """

    modality: str
    sop_class_uid: UID
    an_hour: int
    instances: tuple[int, int]
    rows: int
    columns: int
    frames: int = 1
    samples: int = 1
    octets: int = 2
    volume: bool = False

    @property
    def instance_bytes(self) -> int:
        """Of the pixels of one instance."""
        return self.frames * self.rows * self.columns * self.samples * self.octets

    @property
    def instances_on_average(self) -> float:
        """Of a study."""
        return sum(self.instances) / 2

    @property
    def study_mb(self) -> float:
        """Pixels of a study, on average (MB)."""
        return self.instances_on_average * self.instance_bytes / 1e6


# Studies: MONAI Deploy's workload paper (guidelines/MONAI-Workloads.md), 300 an hour at the peak of a large hospital,
# of them 120 radiographs, 50 US, 30 CT, 25 MR; the rest is spread in the order of its table. Sizes: of the same table,
# which is of 2009. CT and MR are given more and thinner slices, ultrasound is in colour, an angiography is a few films.
MIX: tuple[Kind, ...] = (
    Kind(
        modality="DX",
        sop_class_uid=DigitalXRayImageStorageForPresentation,
        an_hour=90,
        instances=(2, 4),
        rows=3000,
        columns=3000,
    ),
    Kind(
        modality="CR",
        sop_class_uid=ComputedRadiographyImageStorage,
        an_hour=30,
        instances=(2, 4),
        rows=2500,
        columns=2000,
    ),
    Kind(
        modality="US",
        sop_class_uid=UltrasoundImageStorage,
        an_hour=50,
        instances=(20, 40),
        rows=480,
        columns=640,
        samples=3,
        octets=1,
    ),
    Kind(
        modality="CT",
        sop_class_uid=CTImageStorage,
        an_hour=30,
        instances=(100, 600),
        rows=512,
        columns=512,
        volume=True,
    ),
    Kind(
        modality="MR",
        sop_class_uid=MRImageStorage,
        an_hour=25,
        instances=(150, 400),
        rows=256,
        columns=256,
        volume=True,
    ),
    Kind(
        modality="MG",
        sop_class_uid=DigitalMammographyXRayImageStorageForPresentation,
        an_hour=35,
        instances=(4, 4),
        rows=3328,
        columns=2560,
    ),
    Kind(
        modality="RF",
        sop_class_uid=XRayRadiofluoroscopicImageStorage,
        an_hour=15,
        instances=(10, 30),
        rows=1024,
        columns=1024,
        octets=1,
    ),
    Kind(
        modality="NM",
        sop_class_uid=NuclearMedicineImageStorage,
        an_hour=10,
        instances=(5, 15),
        rows=256,
        columns=256,
    ),
    Kind(
        modality="PT",
        sop_class_uid=PositronEmissionTomographyImageStorage,
        an_hour=8,
        instances=(200, 300),
        rows=168,
        columns=168,
        volume=True,
    ),
    Kind(
        modality="XA",
        sop_class_uid=XRayAngiographicImageStorage,
        an_hour=7,
        instances=(4, 8),
        rows=512,
        columns=512,
        frames=40,
        octets=1,
    ),
)

AN_HOUR = sum(kind.an_hour for kind in MIX)


def gb_an_hour(studies_an_hour: float = AN_HOUR) -> float:
    """Pixels of so many studies of this mix (GB)."""
    return studies_an_hour / AN_HOUR * sum(kind.an_hour * kind.study_mb for kind in MIX) / 1000
