"""A notification as an HL7 v2.5.1 message ORU^R01^ORU_R01 (HL7 chapter 7; the study is named as in IHE RAD-128).

Every observation is preliminary (OBX-11 `P`), and so is the report (OBR-25 `P`): the AI never says the last word of an
order. A lesion keeps its Observation Sub-ID through all results of a study; one that is no longer seen is deleted
(`D`), and a result that is taken back is posted as wrong (`W`). ORC-5 stays empty: the order is not ours to complete.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydicom.valuerep import PersonName

from services.backends.receivers.codes import OWN_SCHEME, Concept, urgency
from services.backends.receivers.saying import impression, lesion_text, percent, require_one_patient, withdrawal
from services.backends.receivers.source import ValueOf, date_of
from services.backends.receivers.tables import Hl7Table
from services.triage.concepts import ARTIFICIAL_INTELLIGENCE, FINDINGS_SUMMARIES, MM, MM3, PERCENT
from services.triage.finding import Flag, Outcome
from services.triage.lesion import Lesion
from services.triage.model import Code
from services.triage.notification import Notification
from services.triage.study import StudyAttributes
from services.triage.wording import score_text

# HL7 tables 0085 and 0123
PRELIMINARY, WRONG, DELETED, ORDER_DETAIL = "P", "W", "D", "O"
_ESCAPES = str.maketrans(
    {
        "\\": "\\E\\",
        "|": "\\F\\",
        "^": "\\S\\",
        "&": "\\T\\",
        "~": "\\R\\",
        "\r": " ",
        "\n": " ",
        "\x0b": "",
        "\x1c": "",
    }
)
_XPN_REPRESENTATIONS = ("A", "I", "P")


def control_id(notification: Notification) -> str:
    """Message Control ID (MSH-10, 20 characters): the same at each repetition."""
    return notification.notification_id[:20]


def oru_message(notification: Notification, value_of: ValueOf, site: Hl7Table) -> str:
    """The message, segments ended by CR. Raises DestinationRefused: it would name one of two patients."""
    require_one_patient(notification)
    study = notification.study
    placer, filler = (_text(value_of(keyword)) for keyword in (site.placer_order_number, site.filler_order_number))
    segments = [
        _header(notification, site),
        _segment(
            "PID",
            {
                1: "1",
                3: _patient_id(study, site),
                5: _names(study),
                7: _date(study.patient_birth_date),
                8: _text(study.patient_sex),
            },
        ),
        _segment("PV1", {1: "1", 2: "U"}),
        _segment("ORC", {1: "RE", 2: placer, 3: filler}),
        _segment(
            "OBR",
            {
                1: "1",
                2: placer,
                3: filler,
                4: _code(site.code(Concept.REPORT), _model_code(notification)),
                7: _study_time(study),
                18: _text(study.accession_number),
                22: _time(notification.owed_at),
                24: "RAD",
                25: PRELIMINARY,
            },
        ),
    ]
    if notification.withdrawn is not None:
        segments.append(_segment("NTE", {1: "1", 3: _text(withdrawal(notification.withdrawn))}))
    for number, observation in enumerate(_observations(notification, site), start=1):
        segments.append(observation.segment(number, notification))
        segments += [_segment("NTE", {1: "1", 3: _text(observation.note)})] if observation.note else []
    return "".join(f"{segment}\r" for segment in segments)


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
        return _segment(
            "OBX",
            {
                1: str(number),
                2: self.value_type,
                3: _code(self.concept),
                4: self.sub_id,
                5: self.value,
                6: _code(self.unit) if self.unit else "",
                8: self.abnormal,
                11: self.status,
                14: _time(notification.frozen_at),
                15: "VIGIE" if is_found else "",
                17: _code(ARTIFICIAL_INTELLIGENCE) if is_found else "",
                18: f"{_text(f'{model.name} {model.version}')}^VIGIE" if is_found else "",
            },
        )


def _observations(notification: Notification, site: Hl7Table) -> Iterator[_Observation]:
    status = PRELIMINARY if notification.withdrawn is None else WRONG
    finding, study = notification.result.finding, notification.study
    yield _Observation(
        concept=site.code(Concept.STUDY), value_type="ST", value=_text(study.study_instance_uid), status=ORDER_DETAIL
    )
    yield _Observation(
        concept=site.code(Concept.OUTCOME),
        value_type="CE",
        value=_code(
            FINDINGS_SUMMARIES[finding.outcome], Code(value=finding.outcome, scheme=OWN_SCHEME, meaning=finding.outcome)
        ),
        abnormal=_abnormal(finding.outcome, finding.flag),
        status=status,
    )
    if finding.outcome.analysed:
        yield _Observation(
            concept=site.code(Concept.PRIORITY),
            value_type="CE",
            value=_code(
                urgency(finding.flag), Code(value=finding.flag, scheme=OWN_SCHEME, meaning=f"flag {finding.flag}")
            ),
            status=status,
        )
    if finding.score is not None:
        yield _certainty(finding.score, calibrated=finding.calibrated, site=site, status=status)
    for lesion in finding.lesions:
        yield from _of_lesion(lesion, calibrated=finding.calibrated, site=site, status=status)
    for lesion in notification.vanished if notification.withdrawn is None else ():
        yield from _of_lesion(lesion, calibrated=finding.calibrated, site=site, status=DELETED)
    lines = impression(notification)
    if link := site.link_to(study.study_instance_uid):
        lines.append(f"Images and overlay: {link}")
    yield _Observation(
        concept=site.code(Concept.IMPRESSION), value_type="TX", value="~".join(map(_text, lines)), status=status
    )


def _of_lesion(lesion: Lesion, *, calibrated: bool, site: Hl7Table, status: str) -> Iterator[_Observation]:
    sub_id = lesion.label.rpartition(" ")[2]
    yield _Observation(
        concept=site.code(Concept.FINDING),
        value_type="TX",
        value=_text(lesion_text(lesion, calibrated=calibrated)),
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


def _header(notification: Notification, site: Hl7Table) -> str:
    enhanced = site.acknowledgement == "enhanced"
    fields = {
        3: site.sending_application,
        4: site.sending_facility,
        5: site.receiving_application,
        6: site.receiving_facility,
        7: _time(notification.owed_at),
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
    authority = site.issuers.get(issuer, _text(issuer))
    return f"{_text(study.patient_id)}^^^{authority}^{site.patient_id_type}"


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
        names.append("^".join([*(_text(part) for part in parts), "", "L", kind]).rstrip("^"))
    return "~".join(names)


def _model_code(notification: Notification) -> Code:
    model = notification.result.model
    return Code(value=model.name, scheme=OWN_SCHEME, meaning=f"{model.name} {model.version}")


def _code(code: Code, local: Code | None = None) -> str:
    """CE, with a local code as the alternate one."""
    codes = [code] if local is None else [code, local]
    return "^".join(_text(part) for each in codes for part in (each.value, each.meaning, each.scheme))


def _study_time(study: StudyAttributes) -> str:
    """StudyDate and StudyTime as TS, to the second; empty where the date is none."""
    time = study.study_time.partition(".")[0]
    date = _date(study.study_date)
    return date + time if date and time.isdigit() and len(time) in (2, 4, 6) else date


def _date(text: str) -> str:
    date = date_of(text)
    return f"{date:%Y%m%d}" if date else ""


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%d%H%M%S}+0000"


def _text(text: str) -> str:
    """Text with the delimiters escaped (HL7 2.7.1)."""
    return text.translate(_ESCAPES)


def _segment(name: str, fields: Mapping[int, str]) -> str:
    last = max(fields)
    return "|".join([name, *(fields.get(number, "") for number in range(1, last + 1))]).rstrip("|")
