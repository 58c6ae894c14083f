"""What is kept for how long: source images are a cache, results and the record of them are not.

Nothing goes while somebody still needs it (`Hold`), whatever its age and however full the disk is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from services.triage.errors import Reason
from services.triage.study import InstanceHeader

IMAGES_GONE = Reason(
    code="images_not_kept",
    text="images of the study are no longer kept here: have the PACS send all of it again, then analyse it again",
)
"""Of a study of which an image came long after the others."""


# what is saved about images, by readers among others: small, and perhaps nowhere else
_DOCUMENTS = frozenset({"SR", "SEG", "PR", "KO", "DOC", "RTSTRUCT", "ANN"})


def is_source(header: InstanceHeader) -> bool:
    """Whether an instance goes when source images do; what is saved about them stays with the results."""
    return header.modality not in _DOCUMENTS


class Hold(StrEnum):
    """Why the images of a study stay."""

    RECEIVING = "receiving"
    """its newest version is not complete"""
    IN_WORK = "in_work"
    """a job is queued or analysed"""
    UNDELIVERED = "undelivered"
    """something of its results, or of what readers answered, has not reached a destination or receiver"""
    UNCOMMITTED = "uncommitted"
    """a destination was asked for storage commitment and has not given it"""
    WITHHELD = "withheld"
    """read blind first: the AI's result is withheld still"""
    UNDOCUMENTED = "undocumented"
    """a reader's answers are in no DICOM document yet"""
    PROMISED = "promised"
    """somebody asked us for storage commitment, and the archive has not said yet whether it has the images"""
    TRAINING = "training"
    """a learner has begun a round with it, not long ago, and has not answered it"""
    UNREAD = "unread"
    """nobody has marked it as read"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A study with images that are kept here.

    since: when something of it last came, was found, read or answered. images: how many are here. size_bytes: of their
    files; unsized: of so many it is not known.
    """

    study_instance_uid: str
    tenant: str
    since: datetime
    images: int
    size_bytes: int = 0
    unsized: int = 0
    holds: frozenset[Hold] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """The rules in force. An age that is None: never by age.

    images: source images. of_tenant: the same for one tenant. unread: after so long also what nobody marked as read.
    free_fraction: with less free space than this part of the disk, images go after `pressed`, oldest first. results:
    the whole record of a study whose images are gone. quarantine: files that were refused.
    """

    images: timedelta | None = None
    of_tenant: Mapping[str, timedelta] = field(default_factory=dict)
    unread: timedelta | None = None
    free_fraction: float | None = None
    pressed: timedelta | None = None
    results: timedelta | None = None
    quarantine: timedelta | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is deleted by age."""
        return any(one is not None for one in (self.images, self.results, self.quarantine)) or bool(self.of_tenant)

    def age(self, tenant: str, *, pressed: bool = False) -> timedelta | None:
        """After how long the images of a tenant's studies go. pressed: the disk is nearly full."""
        age = self.of_tenant.get(tenant, self.images)
        if age is not None and pressed and self.pressed is not None:
            return min(age, self.pressed)
        return age

    def youngest(self) -> timedelta | None:
        """No images go before this age."""
        ages = [*self.of_tenant.values(), *(one for one in (self.images,) if one is not None)]
        if not ages:
            return None
        return min([*ages, *(one for one in (self.pressed,) if one is not None)])

    def cutoff(self, kept: Kept, now: datetime, *, pressed: bool = False) -> datetime | None:
        """Images that came no later than this may go now; None: the study is too young."""
        age = self.age(kept.tenant, pressed=pressed)
        return now - age if age is not None and kept.since <= now - age else None

    def holds(self, kept: Kept, now: datetime) -> frozenset[Hold]:
        """Why its images stay all the same."""
        if self.unread is not None and kept.since <= now - self.unread:
            return kept.holds - {Hold.UNREAD}
        return kept.holds


KEEP_EVERYTHING = Retention()
"""The default: nothing is ever deleted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionReport:
    """What is kept, as of the end of a pass. due: how many studies would go, were nothing in the way; held: why.

    free_bytes, disk_bytes: of the disk that they are on. oldest_at: of the study that is kept longest. pressed: the
    disk is so full that images go early.
    """

    finished_at: datetime
    studies: int
    images: int
    image_bytes: int
    oldest_at: datetime | None
    held: Mapping[Hold, int]
    free_bytes: int
    disk_bytes: int
    pressed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Traces:
    """All that is kept of some studies beyond their rows. counts: what there is of each kind, for the person who asks.

    images: digests. results: SHA-256 of result objects and of documents of verdicts. sent: what destinations and
    receivers may have: (destination, address, SOP Instance UIDs), which only they can delete.
    """

    study_instance_uids: tuple[str, ...]
    images: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    sent: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    busy: frozenset[Hold] = frozenset()
