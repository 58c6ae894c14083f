"""From PID and MRG to what is said of patients, as IHE RAD TF-2x appendix B maps them to DICOM."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from functools import partial

import hl7

from services.gateway.adt.message import (
    DATA_TYPE_ERROR,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    TABLE_VALUE_NOT_FOUND,
    at,
    is_null,
    repetitions,
    segments,
)
from services.triage.errors import MessageRefused
from services.triage.patient import MAX_ID_CHARACTERS, Demographics, PatientChange, PatientKey

OTHER = "other"
UPDATES = frozenset({"A08", "A31"})
MERGES = frozenset({"A18", "A40", "A47"})
COUNTED = UPDATES | MERGES | {OTHER}
"""Those by which messages are counted: what else a sender may write is `other`."""

_DATE = re.compile(r"\d{4}(\d{2}(\d{2})?)?")
_SEX = {"F": "F", "M": "M", "O": "O", "A": "O", "N": "O", "U": ""}  # HL7 table 0001 to PS3.3 C.2.3
_NAME_TYPES = ("L", "", "D")  # legal, not told, display; HL7 table 0200
_GROUP_CHARACTERS = 64

Repetition = list[list[str]]
Keys = Mapping[PatientKey, str]
"""The IDs of a field, in its order, each with its type (CX.5)."""


def changes_of(
    message: hl7.Message, trigger_event: str, *, default_issuer: str, types: AbstractSet[str]
) -> tuple[PatientChange, ...]:
    """What a message of one of these events says; an ID without an authority is of the default one.

    types: of an ID (CX.5, HL7 table 0203) that is a patient's; one without a type is, too. Raises MessageRefused.
    """
    keys_of = partial(_keys, default_issuer=default_issuer, types=types)
    if trigger_event in UPDATES:
        pids = segments(message, "PID")
        if len(pids) != 1:
            raise MessageRefused(
                "one_pid", f"{len(pids)} PID segments, where there must be one", condition=SEGMENT_SEQUENCE_ERROR
            )
        return (PatientChange(keys=tuple(keys_of(pids[0], 3)), demographics=demographics(pids[0])),)
    return tuple(_merge(pid, keys_of(pid, 3), keys_of(mrg, 1)) for pid, mrg in _groups(message))


def _groups(message: hl7.Message) -> list[tuple[hl7.Segment, hl7.Segment]]:
    """Each PID with the MRG that follows it."""
    found: list[tuple[hl7.Segment, hl7.Segment]] = []
    pid: hl7.Segment | None = None
    for segment in message:
        name = str(segment[0])
        if (name == "PID" and pid is not None) or (name == "MRG" and pid is None):
            break
        if name == "PID":
            pid = segment
        elif name == "MRG" and pid is not None:
            found.append((pid, segment))
            pid = None
    else:
        if found and pid is None:
            return found
    text = "PID and MRG do not follow each other in pairs"
    raise MessageRefused("no_pairs", text, condition=SEGMENT_SEQUENCE_ERROR, location="MRG^1")


def _merge(pid: hl7.Segment, told: Keys, prior: Keys) -> PatientChange:
    """Each prior ID becomes the surviving one of its own assigning authority, or the only one that there is.

    Of several of that authority, the one of its own type. Some senders list the prior ID among those that the patient
    has now.
    """
    surviving = {key: kind for key, kind in told.items() if key not in prior}
    of_issuer = {key.issuer: key for key in reversed(surviving)}
    of_type = {(key.issuer, kind): key for key, kind in reversed(surviving.items())}
    only = next(iter(surviving)) if len(surviving) == 1 else None
    found = [(key, of_type.get((key.issuer, kind), of_issuer.get(key.issuer, only))) for key, kind in prior.items()]
    merges = [(key, goes_on) for key, goes_on in found if goes_on is not None]
    if not merges:
        text = "none of the prior IDs is of an assigning authority that gave one of the surviving IDs"
        raise MessageRefused("no_survivor", text, condition=DATA_TYPE_ERROR, location="MRG^1^1")
    return PatientChange(keys=tuple(surviving), demographics=demographics(pid), merges=tuple(merges))


def _keys(segment: hl7.Segment, field: int, *, default_issuer: str, types: AbstractSet[str]) -> Keys:
    """The patient's IDs of a field of type CX: the number of a visit or an insurance may be another patient's ID."""
    name, keys = str(segment[0]), dict[PatientKey, str]()
    told = [one for one in repetitions(segment, field) if at(one, 1)]
    for repetition in told:
        kind = at(repetition, 5).upper()
        if kind and kind not in types:
            continue
        # HD: the namespace, else the universal ID
        issuer = at(repetition, 4) or at(repetition, 4, 2) or default_issuer
        key = PatientKey(patient_id=at(repetition, 1), issuer=issuer)
        if max(len(key.patient_id), len(key.issuer)) > MAX_ID_CHARACTERS:
            text = f"an ID, or its assigning authority, is longer than {MAX_ID_CHARACTERS} characters"
            raise MessageRefused("long_id", text, condition=DATA_TYPE_ERROR, location=f"{name}^1^{field}")
        keys.setdefault(key, kind)
    if told and not keys:
        text = f"no ID in {name}-{field} is of a type (CX.5) that is taken: {', '.join(sorted(types))}, or none"
        raise MessageRefused("id_type", text, condition=TABLE_VALUE_NOT_FOUND, location=f"{name}^1^{field}")
    if not keys:
        text = f"there is no ID in {name}-{field}"
        raise MessageRefused("no_id", text, condition=REQUIRED_FIELD_MISSING, location=f"{name}^1^{field}")
    return keys


def demographics(pid: hl7.Segment) -> Demographics:
    """PID-5, 7 and 8. An empty field says nothing, the null value that it is not known. Raises MessageRefused."""
    return Demographics(
        patient_name=_name(repetitions(pid, 5)),
        patient_birth_date=_birth_date(repetitions(pid, 7)),
        patient_sex=_sex(repetitions(pid, 8)),
    )


def _name(names: Sequence[Repetition]) -> str | None:
    """PN of XPN: one group for each name representation code (HL7 table 0465), of its most official name."""
    if not names:
        return None
    groups = []
    for codes in (("A", ""), ("I",), ("P",)):
        of_group = [one for one in names if at(one, 8) in codes]
        groups.append(_group(min(of_group, key=_rank)) if of_group else "")
    return "=".join(groups).rstrip("=")


def _rank(name: Repetition) -> int:
    kind = at(name, 7)
    return _NAME_TYPES.index(kind) if kind in _NAME_TYPES else len(_NAME_TYPES)


def _group(name: Repetition) -> str:
    """XPN: family, given, further, suffix, prefix, degree. PN: family, given, middle, prefix, suffix (PS3.5 6.2.1)."""
    suffix = " ".join(filter(None, (_word(name, 4), _word(name, 6))))
    parts = [_word(name, 1), _word(name, 2), _word(name, 3), _word(name, 5), suffix]
    return "^".join(parts).rstrip("^")[:_GROUP_CHARACTERS].rstrip("^ ")


def _word(name: Repetition, component: int) -> str:
    """Without the characters that would delimit something in a PN."""
    return re.sub(r"[\\^=\s]+", " ", at(name, component)).strip()


def _birth_date(told: Sequence[Repetition]) -> str | None:
    if not told:
        return None
    if is_null(list(told)):
        return ""
    found = _DATE.match(at(told[0], 1))
    digits = found[0] if found else ""
    try:
        date(int(digits[:4]), int(digits[4:6] or 1), int(digits[6:] or 1))
    except ValueError as error:
        text = "the date of birth is no date"
        raise MessageRefused("birth_date", text, condition=DATA_TYPE_ERROR, location="PID^1^7") from error
    return digits


def _sex(told: Sequence[Repetition]) -> str | None:
    """None, too, for a code that a site has of its own: it says nothing here."""
    if not told:
        return None
    return "" if is_null(list(told)) else _SEX.get(at(told[0], 1).upper())
