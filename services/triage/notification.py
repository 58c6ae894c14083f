"""A notification: what a receiver is told of one result, in messages instead of DICOM objects. Always preliminary."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.triage.completeness import is_routable
from services.triage.errors import Reason
from services.triage.lesion import Lesion
from services.triage.result import FrozenResult
from services.triage.study import Instance, StudyAttributes


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """All that a message is made of; the same at each repetition.

    notification_id: by it a receiver knows a repetition. owed_at: since when it is owed.
    instances: of the study version that the result is about, with the patient and order data of that time.
    withdrawn: why the result is taken back, None while it stands.
    earlier: the result of the same model that the receiver knows, and that this one replaces.
    rewrites: the IDs of the results of which this one is another copy, under corrected patient or order data.
    overtaken: the receiver knows a later one; then nothing is to be said.
    """

    notification_id: str
    owed_at: datetime
    result: FrozenResult
    frozen_at: datetime
    instances: tuple[Instance, ...]
    withdrawn: Reason | None = None
    earlier: FrozenResult | None = None
    rewrites: tuple[str, ...] = ()
    overtaken: bool = False

    @property
    def source(self) -> Instance:
        """An image that tells whose result it is: of the analysed series, or any of the study."""
        chosen = self.result.series_instance_uid
        images = [one for one in self.instances if is_routable(one.header)] or list(self.instances)
        return next((one for one in images if one.header.series_instance_uid == chosen), images[0])

    @property
    def study(self) -> StudyAttributes:
        """Whose result it is."""
        return self.source.study

    @property
    def vanished(self) -> Sequence[Lesion]:
        """Lesions that the receiver knows of the model, and that it does not see any more."""
        still = {lesion.tracking_uid for lesion in self.result.finding.lesions}
        return [one for one in (self.earlier.finding.lesions if self.earlier else ()) if one.tracking_uid not in still]
