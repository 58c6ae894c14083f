"""A notification as a FHIR R4B transaction: DiagnosticReport, Observations, ImagingStudy, Device, Task for review.

All of it is preliminary. Resources are found by identifiers, never by a server's ids: what is ours is updated
(`PUT ?identifier=`), what may be another's is created only where it is missing (`ifNoneExist`), and so is the Task.
It is theirs then who work on it: it is cancelled as the server holds it, and only while nobody has ended it. Repeating
the transaction therefore changes nothing.

One DiagnosticReport per study and model, and one Observation per lesion (its Tracking UID), live on through results
that replace one another; what was taken back, or is no longer seen, becomes `entered-in-error`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from services import __version__
from services.backends.receivers.codes import OWN_SCHEME, Concept, urgency
from services.backends.receivers.fhir_entries import (
    Resource,
    create,
    day,
    dicom_uid,
    reference,
    unsigned,
    update,
    without_empty,
)
from services.backends.receivers.fhir_reviews import Reviews, cancellations, is_reviewed, review_identifier
from services.backends.receivers.saying import (
    impression,
    lesion_text,
    percent,
    require_one_patient,
    told_uncertainty,
    withdrawal,
)
from services.backends.receivers.source import ValueOf
from services.backends.receivers.tables import FhirTable
from services.triage.completeness import OWN_MANUFACTURER
from services.triage.concepts import FINDINGS_SUMMARIES, LESION, MM, MM3, PERCENT, URGENT
from services.triage.errors import DestinationRefused, Reason
from services.triage.lesion import Lesion
from services.triage.model import Code
from services.triage.notification import Notification
from services.triage.study import by_series
from services.triage.uncertainty import OUT_OF_MEMORY, RUN_FAILED, Uncertainty
from services.triage.wording import score_text, spread_text

_DATA_ABSENT_REASON = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_WRONG, _PRELIMINARY = "entered-in-error", "preliminary"
_NO_REVIEWS: Reviews = MappingProxyType({})


def transaction(notification: Notification, value_of: ValueOf, site: FhirTable, reviews: Reviews = _NO_REVIEWS) -> str:
    """The Bundle as JSON, checked against R4B. reviews: of the results that are `concerned`.

    Raises DestinationRefused: it would name one of two patients, or cannot be told in R4B.
    """
    # 0.2 s, that only delivery spends, and only where somebody is told by FHIR
    from fhir.resources.R4B.bundle import Bundle

    require_one_patient(notification)
    told = _Transaction(notification=notification, value_of=value_of, site=site, reviews=reviews)
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [without_empty(entry) for entry in told.entries()],
    }
    try:
        checked = json.loads(Bundle.model_validate(bundle).model_dump_json())
    except ValidationError as error:
        places = sorted({".".join(map(str, each["loc"])) for each in error.errors(include_input=False)})
        raise DestinationRefused(
            "no_fhir", f"the images tell what R4B does not allow at {', '.join(places)}"
        ) from error
    # theirs, and not for us to check
    checked["entry"] += cancellations(notification, reviews, site.address)
    return json.dumps(checked, indent=2, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class _Transaction:
    notification: Notification
    value_of: ValueOf
    site: FhirTable
    reviews: Reviews

    def entries(self) -> list[Resource]:
        finding, withdrawn = self.notification.result.finding, self.notification.withdrawn
        status = _PRELIMINARY if withdrawn is None else _WRONG
        lesions = [self._lesion(lesion, status) for lesion in finding.lesions]
        vanished = self.notification.vanished if withdrawn is None else ()
        return [
            create(self._device),
            (update if self.site.imaging_study == "update" else create)(self._imaging_study),
            update(self._summary(status)),
            *map(update, lesions),
            *(update(self._lesion(lesion, _WRONG)) for lesion in vanished),
            update(self._report(status, lesions)),
            *self._task(),
        ]

    @cached_property
    def _device(self) -> Resource:
        model = self.notification.result.model
        return self._resource(
            "Device",
            f"device:{model.name}/{model.version}/{model.weights_sha256}",
            manufacturer=OWN_MANUFACTURER,
            deviceName=[{"name": f"{OWN_MANUFACTURER} {model.name}", "type": "model-name"}],
            modelNumber=model.name,
            version=[{"value": model.version}, {"type": {"text": "software"}, "value": __version__}],
            note=[{"text": f"weights SHA-256 {model.weights_sha256}"}],
        )

    @cached_property
    def _imaging_study(self) -> Resource:
        study = self.notification.study
        series = [
            {
                "uid": one.series_instance_uid,
                "number": unsigned(one.header.series_number),
                "modality": {"system": self.site.system("DCM"), "code": one.header.modality.strip() or "OT"},
                "description": one.header.series_description,
                "numberOfInstances": len(one.instances),
            }
            for one in by_series(self.notification.instances)
        ]
        return {
            "resourceType": "ImagingStudy",
            "identifier": [dicom_uid(study.study_instance_uid)],
            "status": "available",
            "subject": self._patient,
            "started": day(study.study_date),
            "basedOn": self._order,
            "numberOfSeries": len(series),
            "numberOfInstances": len(self.notification.instances),
            "description": study.study_description,
            "series": series,
        }

    def _summary(self, status: str) -> Resource:
        """What the model says of the whole study."""
        finding = self.notification.result.finding
        flag = [
            self._component(Concept.PRIORITY, valueCodeableConcept=self._concept(urgency(finding.flag), finding.flag))
        ]
        score = [] if finding.score is None else [self._certainty(finding.score)]
        uncertainty = told_uncertainty(finding)
        return self._observation(
            f"summary:{self._about}",
            status,
            code=self._coded(Concept.OUTCOME),
            valueCodeableConcept=self._concept(FINDINGS_SUMMARIES[finding.outcome], finding.outcome),
            component=[*(flag if finding.outcome.analysed else []), *score, *self._spread(uncertainty)],
            note=[*self._score_note(finding.score), *_spread_note(uncertainty)],
        )

    def _lesion(self, lesion: Lesion, status: str) -> Resource:
        quantities = [
            (Concept.VOLUME, round(lesion.volume_ml * 1000), MM3),
            (Concept.LONG_AXIS, round(lesion.long_axis_mm, 1), MM),
            (Concept.SHORT_AXIS, round(lesion.short_axis_mm, 1), MM),
        ]
        measured = [
            self._component(concept, valueQuantity=self._quantity(value, unit)) for concept, value, unit in quantities
        ]
        uncertainty = Uncertainty(spread=lesion.spread)
        calibrated = self.notification.result.finding.calibrated
        observation = self._observation(
            lesion.tracking_uid,
            status,
            code=self._coded(Concept.FINDING),
            valueCodeableConcept=self._concept(LESION, lesion.label),
            component=[*measured, self._certainty(lesion.score), *self._spread(uncertainty)],
            note=[{"text": lesion_text(lesion, calibrated=calibrated)}, *_spread_note(uncertainty)],
        )
        return observation | {"identifier": [dicom_uid(lesion.tracking_uid)]}

    def _report(self, status: str, lesions: Sequence[Resource]) -> Resource:
        notification, study = self.notification, self.notification.study
        lines = impression(notification) if notification.withdrawn is None else [withdrawal(notification.withdrawn)]
        code = self._concept(FINDINGS_SUMMARIES[notification.result.finding.outcome])
        if link := self.site.link_to(study.study_instance_uid):
            lines.append(f"Images and overlay: {link}")
        return self._resource(
            "DiagnosticReport",
            f"report:{self._about}",
            status=status,
            basedOn=self._order,
            category=[{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}],
            code=self._coded(Concept.REPORT),
            subject=self._patient,
            effectiveDateTime=day(study.study_date),
            issued=notification.owed_at.isoformat(),
            imagingStudy=[reference(self._imaging_study)],
            result=[reference(one) for one in (self._summary(status), *lesions)],
            conclusion="\n".join(lines),
            conclusionCode=[code] if notification.withdrawn is None else [],
        )

    def _task(self) -> list[Resource]:
        """The review of the result; of one that was reviewed under other patient or order data there is no other."""
        notification, finding = self.notification, self.notification.result.finding
        if (
            notification.withdrawn is not None
            or not finding.outcome.analysed
            or is_reviewed(notification, self.reviews)
        ):
            return []
        task = {
            "resourceType": "Task",
            "identifier": [review_identifier(notification.result.result_id, self.site)],
            "status": "requested",
            "intent": "proposal",
            "priority": "urgent" if urgency(finding.flag) is URGENT else "routine",
            "code": {"text": "Review of a preliminary AI result"},
            "focus": reference(self._resource("DiagnosticReport", f"report:{self._about}")),
            "for": self._patient,
            "authoredOn": notification.owed_at.isoformat(),
            "requester": reference(self._device),
        }
        return [create(task)]

    @property
    def _about(self) -> str:
        return f"{self.notification.study.study_instance_uid}/{self.notification.result.model.name}"

    def _resource(self, kind: str, identifier: str, **content: Any) -> Resource:
        return {"resourceType": kind, "identifier": [self._identifier(identifier)], **content}

    def _observation(self, identifier: str, status: str, **content: Any) -> Resource:
        category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}
        return self._resource(
            "Observation",
            identifier,
            status=status,
            category=[{"coding": [category]}],
            subject=self._patient,
            effectiveDateTime=day(self.notification.study.study_date),
            issued=self.notification.frozen_at.isoformat(),
            device=reference(self._device),
            derivedFrom=[reference(self._imaging_study)],
            **content,
        )

    def _component(self, concept: Concept, **value: Any) -> Resource:
        return {"code": self._coded(concept), **value}

    def _certainty(self, score: float) -> Resource:
        return self._component(Concept.CERTAINTY, valueQuantity=self._quantity(percent(score), PERCENT))

    def _spread(self, uncertainty: Uncertainty | None) -> list[Resource]:
        """How a score varies over mirrored runs, or why that is not known."""
        if uncertainty is not None and uncertainty.spread is not None:
            spread = uncertainty.spread
            ends = {"low": spread.lowest, "high": spread.highest}
            between = {end: self._quantity(percent(score), PERCENT) for end, score in ends.items()}
            return [self._component(Concept.SPREAD, valueRange=between)]
        if uncertainty is not None and uncertainty.reason is not None:
            return [self._component(Concept.SPREAD, dataAbsentReason=self._absent(uncertainty.reason))]
        return []

    def _absent(self, reason: Reason) -> Resource:
        """In FHIR's word, and in ours."""
        broke = reason.code in (OUT_OF_MEMORY.code, RUN_FAILED)
        theirs = {"system": _DATA_ABSENT_REASON, "code": "error" if broke else "not-performed"}
        ours = Code(value=reason.code, scheme=OWN_SCHEME, meaning=reason.text)
        return {"coding": [theirs, *self._concept(ours)["coding"]]}

    def _score_note(self, score: float | None) -> list[Resource]:
        calibrated = self.notification.result.finding.calibrated
        return [] if score is None else [{"text": score_text(score, calibrated=calibrated)}]

    def _quantity(self, value: float, unit: Code) -> Resource:
        return {"value": value, "unit": unit.value, "system": self.site.system("UCUM"), "code": unit.value}

    def _coded(self, concept: Concept) -> Resource:
        return self._concept(self.site.code(concept))

    def _concept(self, code: Code, text: str = "") -> Resource:
        coding = {"system": self.site.system(code.scheme), "code": code.value, "display": code.meaning}
        return {"coding": [coding], "text": text}

    @cached_property
    def _patient(self) -> Resource:
        """By its number: the patient is the site's to create. Without a number nobody is named."""
        study = self.notification.study
        if not study.patient_id:
            return {"type": "Patient", "display": "unknown: the images tell no PatientID"}
        issuer = study.issuer_of_patient_id
        system = self.site.issuers.get(
            issuer, f"{self.site.identifier_system}:issuer:{quote(issuer)}" if issuer else ""
        )
        return {"type": "Patient", "identifier": {"system": system, "value": study.patient_id}}

    @cached_property
    def _order(self) -> list[Resource]:
        found = []
        for kind, keyword in (("PLAC", self.site.placer_order_number), ("FILL", self.site.filler_order_number)):
            if number := self.value_of(keyword):
                coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind}
                identifier = {"type": {"coding": [coding]}, "system": self.site.order_system, "value": number}
                found.append({"type": "ServiceRequest", "identifier": identifier})
        return found

    def _identifier(self, value: str) -> Resource:
        return {"system": self.site.identifier_system, "value": value}


def _spread_note(uncertainty: Uncertainty | None) -> list[Resource]:
    return [{"text": spread_text(uncertainty.spread)}] if uncertainty and uncertainty.spread else []
