"""A notification as an HL7 v2.5.1 message ORU^R01^ORU_R01 (HL7 chapter 7; the study is named as in IHE RAD-128).

Every observation is preliminary (OBX-11 `P`), and so is the report (OBR-25 `P`): the AI never says the last word of an
order. A lesion keeps its Observation Sub-ID through all results of a study; one that is no longer seen is deleted
(`D`), and a result that is taken back is posted as wrong (`W`). ORC-5 stays empty: the order is not ours to complete.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.valuerep import PersonName

from services.backends.receivers.codes import OWN_SCHEME, Concept, urgency
from services.backends.receivers.hl7_fields import coded, day, escaped, segment, timestamp
from services.backends.receivers.saying import (
    impression,
    lesion_text,
    percent,
    require_one_patient,
    told_uncertainty,
    withdrawal,
)
from services.backends.receivers.source import ValueOf
from services.backends.receivers.tables import Hl7Table
from services.triage.concepts import ARTIFICIAL_INTELLIGENCE, FINDINGS_SUMMARIES, MM, MM3, PERCENT
from services.triage.finding import Finding, Flag, Outcome
from services.triage.lesion import Lesion
from services.triage.model import Code
from services.triage.notification import Notification
from services.triage.study import StudyAttributes
from services.triage.uncertainty import Spread
from services.triage.wording import score_text, spread_text, unknown_text

# HL7 tables 0085 and 0123
PRELIMINARY, WRONG, DELETED, ORDER_DETAIL, NOT_OBTAINED = "P", "W", "D", "O", "X"
_XPN_REPRESENTATIONS = ("A", "I", "P")


def control_id(notification: Notification) -> str:
    """Message Control ID (MSH-10, 20 characters): the same at each repetition."""
    return notification.notification_id[:20]


def oru_message(notification: Notification, value_of: ValueOf, site: Hl7Table) -> str:
    """The message, segments ended by CR. Raises DestinationRefused: it would name one of two patients."""
    require_one_patient(notification)
    study = notification.study
    placer, filler = (escaped(value_of(keyword)) for keyword in (site.placer_order_number, site.filler_order_number))
    segments = [
        _header(notification, site),
        segment(
            "PID",
            {
                1: "1",
                3: _patient_id(study, site),
                5: _names(study),
                7: day(study.patient_birth_date),
                8: escaped(study.patient_sex),
            },
        ),
        segment("PV1", {1: "1", 2: "U"}),
        segment("ORC", {1: "RE", 2: placer, 3: filler}),
        segment(
            "OBR",
            {
                1: "1",
                2: placer,
                3: filler,
                4: coded(site.code(Concept.REPORT), _model_code(notification)),
                7: _study_time(study),
                18: escaped(study.accession_number),
                22: timestamp(notification.owed_at),
                24: "RAD",
                25: PRELIMINARY,
            },
        ),
    ]
    if notification.withdrawn is not None:
        segments.append(segment("NTE", {1: "1", 3: escaped(withdrawal(notification.withdrawn))}))
    for number, observation in enumerate(_observations(notification, site), start=1):
        segments.append(observation.segment(number, notification))
        segments += [segment("NTE", {1: "1", 3: escaped(observation.note)})] if observation.note else []
    return "".join(f"{each}\r" for each in segments)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Observation:
    """One OBX; the value is encoded already. sub_id: of the lesion."""

    concept: Code
    value_type: str
    value: str
    status: str
    sub_id: str = ""
    unit: Code | None = None
    abnormal: str = ""
    note: str = ""

    def segment(self, number: int, notification: Notification) -> str:
        model = notification.result.model
        is_found = self.status != ORDER_DETAIL
        return segment(
            "OBX",
            {
                1: str(number),
                2: self.value_type,
                3: coded(self.concept),
                4: self.sub_id,
                5: self.value,
                6: coded(self.unit) if self.unit else "",
                8: self.abnormal,
                11: self.status,
                14: timestamp(notification.frozen_at),
                15: "VIGIE" if is_found else "",
                17: coded(ARTIFICIAL_INTELLIGENCE) if is_found else "",
                18: f"{escaped(f'{model.name} {model.version}')}^VIGIE" if is_found else "",
            },
        )


def _observations(notification: Notification, site: Hl7Table) -> Iterator[_Observation]:
    status = PRELIMINARY if notification.withdrawn is None else WRONG
    finding, study = notification.result.finding, notification.study
    yield _Observation(
        concept=site.code(Concept.STUDY), value_type="ST", value=escaped(study.study_instance_uid), status=ORDER_DETAIL
    )
    yield _Observation(
        concept=site.code(Concept.OUTCOME),
        value_type="CE",
        value=coded(
            FINDINGS_SUMMARIES[finding.outcome], Code(value=finding.outcome, scheme=OWN_SCHEME, meaning=finding.outcome)
        ),
        abnormal=_abnormal(finding.outcome, finding.flag),
        status=status,
    )
    if finding.outcome.analysed:
        yield _Observation(
            concept=site.code(Concept.PRIORITY),
            value_type="CE",
            value=coded(
                urgency(finding.flag), Code(value=finding.flag, scheme=OWN_SCHEME, meaning=f"flag {finding.flag}")
            ),
            status=status,
        )
    if finding.score is not None:
        yield _certainty(finding.score, calibrated=finding.calibrated, site=site, status=status)
        yield from _study_spread(notification, site=site, status=status)
    replaced = _replaced(notification)
    had_spread = {lesion.tracking_uid for lesion in replaced.lesions if lesion.spread} if replaced else set()
    for lesion in finding.lesions:
        yield from _of_lesion(lesion, calibrated=finding.calibrated, site=site, status=status)
        if lesion.spread is None and lesion.tracking_uid in had_spread:
            yield _no_spread(site, DELETED, sub_id=_sub_id(lesion))
    for lesion in notification.vanished if notification.withdrawn is None else ():
        yield from _of_lesion(lesion, calibrated=finding.calibrated, site=site, status=DELETED)
    lines = impression(notification)
    if link := site.link_to(study.study_instance_uid):
        lines.append(f"Images and overlay: {link}")
    yield _Observation(
        concept=site.code(Concept.IMPRESSION), value_type="TX", value="~".join(map(escaped, lines)), status=status
    )


def _of_lesion(lesion: Lesion, *, calibrated: bool, site: Hl7Table, status: str) -> Iterator[_Observation]:
    sub_id = _sub_id(lesion)
    yield _Observation(
        concept=site.code(Concept.FINDING),
        value_type="TX",
        value=escaped(lesion_text(lesion, calibrated=calibrated)),
        sub_id=sub_id,
        status=status,
    )
    yield _Observation(
        concept=site.code(Concept.TRACKING), value_type="ST", value=lesion.tracking_uid, sub_id=sub_id, status=status
    )
    numbers = [
        (Concept.VOLUME, f"{lesion.volume_ml * 1000:.0f}", MM3),
        (Concept.LONG_AXIS, f"{lesion.long_axis_mm:.1f}", MM),
        (Concept.SHORT_AXIS, f"{lesion.short_axis_mm:.1f}", MM),
    ]
    for concept, value, unit in numbers:
        yield _Observation(
            concept=site.code(concept), value_type="NM", value=value, unit=unit, sub_id=sub_id, status=status
        )
    yield _certainty(lesion.score, calibrated=calibrated, site=site, status=status, sub_id=sub_id)
    if lesion.spread is not None:
        yield _spread(lesion.spread, site=site, status=status, sub_id=sub_id)


def _sub_id(lesion: Lesion) -> str:
    return lesion.label.rpartition(" ")[2]


def _certainty(score: float, *, calibrated: bool, site: Hl7Table, status: str, sub_id: str = "") -> _Observation:
    """A score in percent, and what it is worth."""
    return _Observation(
        concept=site.code(Concept.CERTAINTY),
        value_type="NM",
        value=f"{percent(score):d}",
        unit=PERCENT,
        sub_id=sub_id,
        status=status,
        note=score_text(score, calibrated=calibrated),
    )


def _study_spread(notification: Notification, *, site: Hl7Table, status: str) -> Iterator[_Observation]:
    """Of the study's score; the reason why it is not known; or that what the receiver knows of it holds no more."""
    uncertainty = told_uncertainty(notification.result.finding)
    if uncertainty is not None and uncertainty.spread is not None:
        yield _spread(uncertainty.spread, site=site, status=status)
    elif uncertainty is not None and uncertainty.reason is not None:
        not_obtained = NOT_OBTAINED if status == PRELIMINARY else status
        yield _no_spread(site, not_obtained, note=unknown_text(uncertainty.reason))
    elif (replaced := _replaced(notification)) is not None and told_uncertainty(replaced) is not None:
        yield _no_spread(site, DELETED)


def _replaced(notification: Notification) -> Finding | None:
    """What the receiver knows of the model, and is told anew."""
    return notification.earlier.finding if notification.earlier and notification.withdrawn is None else None


def _spread(spread: Spread, *, site: Hl7Table, status: str, sub_id: str = "") -> _Observation:
    """An interval of scores in percent (SN), and what it is."""
    return _Observation(
        concept=site.code(Concept.SPREAD),
        value_type="SN",
        value=f"^{percent(spread.lowest):d}^-^{percent(spread.highest):d}",
        unit=PERCENT,
        sub_id=sub_id,
        status=status,
        note=spread_text(spread),
    )


def _no_spread(site: Hl7Table, status: str, *, sub_id: str = "", note: str = "") -> _Observation:
    return _Observation(
        concept=site.code(Concept.SPREAD), value_type="SN", value="", sub_id=sub_id, status=status, note=note
    )


def _header(notification: Notification, site: Hl7Table) -> str:
    enhanced = site.acknowledgement == "enhanced"
    fields = {
        3: site.sending_application,
        4: site.sending_facility,
        5: site.receiving_application,
        6: site.receiving_facility,
        7: timestamp(notification.owed_at),
        9: "ORU^R01^ORU_R01",
        10: control_id(notification),
        11: site.processing_id,
        12: "2.5.1",
        # the receiver says that it has it safe, and no more
        15: "AL" if enhanced else "",
        16: "NE" if enhanced else "",
        18: site.character_set,
    }
    return "MSH|^~\\&|" + "|".join(fields.get(number, "") for number in range(3, 19))


def _abnormal(outcome: Outcome, flag: Flag) -> str:
    """HL7 table 0078. Nothing found is not `N`: nobody has said that the study is normal."""
    if outcome is not Outcome.FOUND:
        return ""
    return "AA" if flag is Flag.URGENT else "A"


def _patient_id(study: StudyAttributes, site: Hl7Table) -> str:
    """CX: the number, and who gave it."""
    if not study.patient_id:
        return ""
    issuer = study.issuer_of_patient_id
    authority = site.issuers.get(issuer, escaped(issuer))
    return f"{escaped(study.patient_id)}^^^{authority}^{site.patient_id_type}"


def _names(study: StudyAttributes) -> str:
    """XPN: family, given, middle, suffix, prefix (PN has the last two the other way round); each representation."""
    groups = study.patient_name.split("=")
    names = []
    for representation, group in zip(_XPN_REPRESENTATIONS, groups, strict=False):
        if not group.strip("^ "):
            continue
        name = PersonName(group)
        parts = (name.family_name, name.given_name, name.middle_name, name.name_suffix, name.name_prefix)
        kind = representation if len(groups) > 1 else ""
        names.append("^".join([*(escaped(part) for part in parts), "", "L", kind]).rstrip("^"))
    return "~".join(names)


def _model_code(notification: Notification) -> Code:
    model = notification.result.model
    return Code(value=model.name, scheme=OWN_SCHEME, meaning=f"{model.name} {model.version}")


def _study_time(study: StudyAttributes) -> str:
    """StudyDate and StudyTime as TS, to the second; empty where the date is none."""
    time = study.study_time.partition(".")[0]
    date = day(study.study_date)
    return date + time if date and time.isdigit() and len(time) in (2, 4, 6) else date
