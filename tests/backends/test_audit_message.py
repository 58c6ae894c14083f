"""Audit messages: every type is what PS3.15 A.5.1 allows, and tells of no patient by name or ID."""

import base64
from pathlib import Path

import pytest
from lxml import etree

from services.backends.audit_message import Source, audit_message
from services.backends.store.audit import as_document
from services.triage.audit import (
    AuditActor,
    AuditEvent,
    AuditKind,
    AuditObject,
    AuditObjectKind,
    AuditOutcome,
    AuditRecord,
)
from services.triage.audit_types import AuditType, audited
from tests.support.records import STUDY, after

SCHEMA = etree.RelaxNG(file=str(Path(__file__).parents[1] / "support" / "audit_message.rng"))
SOURCE = Source(source_id="Vigie", site_id="St Anne")
EVERYTHING = tuple(
    AuditObject(kind=kind, object_id=STUDY if kind is AuditObjectKind.STUDY else f"a-{kind}", details={"why": "x"})
    for kind in AuditObjectKind
)


def written(event: AuditEvent) -> etree._Element:
    record = AuditRecord(
        sequence=7, recorded_at=after(9), document=as_document(event, sequence=7, now=after(9)), digest="ab" * 32
    )
    root = etree.fromstring(audit_message(record, SOURCE))
    SCHEMA.assertValid(root)
    return root


def objects(root: etree._Element) -> dict[str, etree._Element]:
    return {one.get("ParticipantObjectID"): one for one in root.iter("ParticipantObjectIdentification")}


@pytest.mark.parametrize("type_", AuditType)
def test_every_type_is_a_valid_message(type_: AuditType) -> None:
    actors = AuditActor(name="CT1", address="192.0.2.7"), AuditActor(name="VIGIE", requests=False, address="desk-1")
    root = written(audited(type_, *actors, objects=EVERYTHING, outcome=AuditOutcome.MINOR_FAILURE, reason="why"))

    codes = [(one.get("codeSystemName"), one.get("csd-code")) for one in root.iter("EventTypeCode")]
    assert ("99VIGIE", type_) in codes
    assert [one.get("NetworkAccessPointTypeCode") for one in root.iter("ActiveParticipant")] == ["2", "1"]


def test_a_type_of_another_part_is_a_valid_message() -> None:
    event = audited(AuditType.VERDICT, AuditActor(name="keep"))
    other = AuditEvent(kind=AuditKind.STUDY_DELETED, type="erased", action=event.action, actors=event.actors)
    root = written(other)
    assert root.find("EventIdentification/EventID").get("csd-code") == "110105"
    assert [one.get("csd-code") for one in root.iter("EventTypeCode")] == ["erased"]


def test_an_event_about_several_studies_cannot_be_made() -> None:
    """It would be found by the first alone."""
    studies = tuple(AuditObject(kind=AuditObjectKind.STUDY, object_id=f"1.2.{n}") for n in (1, 2))
    assert audited(AuditType.SENT, AuditActor(name="deliver"), objects=studies[:1]).objects == studies[:1]
    with pytest.raises(ValueError, match="about one study"):
        audited(AuditType.SENT, AuditActor(name="deliver"), objects=studies)


def test_instances_stand_with_their_study_by_sop_class() -> None:
    seg, sr = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
    made = [
        AuditObject(
            kind=AuditObjectKind.INSTANCE, object_id=f"1.2.{n}", details={"sop_class": cls, "sha256": "cd" * 32}
        )
        for n, cls in ((1, seg), (2, sr), (3, seg))
    ]
    study = AuditObject(kind=AuditObjectKind.STUDY, object_id=STUDY)
    root = written(audited(AuditType.SENT, AuditActor(name="deliver"), objects=(study, *made)))

    found = {
        one.get("UID"): (one.get("NumberOfInstances"), [each.get("UID") for each in one])
        for one in objects(root)[STUDY].iter("SOPClass")
    }
    assert found == {seg: ("2", ["1.2.1", "1.2.3"]), sr: ("1", ["1.2.2"])}
    details = {one.get("type"): one.get("value") for one in objects(root)[STUDY].iter("ParticipantObjectDetail")}
    assert base64.b64decode(details["sha256 1.2.1"]).decode() == "cd" * 32


def test_it_tells_when_it_happened_and_which_record_it_is() -> None:
    event = audited(AuditType.SIGN_IN, AuditActor(name="reader.one"), happened_at=after(3))
    root = written(event)
    assert root.find("EventIdentification").get("EventDateTime") == after(3).isoformat()
    itself = objects(root)["audit-record:7"]
    assert base64.b64decode(itself.find("ParticipantObjectDetail").get("value")).decode() == "ab" * 32
    assert root.find("AuditSourceIdentification").get("AuditEnterpriseSiteID") == "St Anne"


def test_what_xml_has_no_place_for_is_taken_out() -> None:
    root = written(audited(AuditType.SIGN_IN, AuditActor(name="a\x00b\x1b<é>"), reason="\x08"))
    assert root.find("ActiveParticipant").get("UserID") == "a?b?<é>"


def test_a_query_is_told_by_its_keys_and_a_digest() -> None:
    query = AuditObject(
        kind=AuditObjectKind.QUERY, object_id="/dicomweb/studies", details={"keys": "PatientName", "digest": "ef" * 32}
    )
    root = written(audited(AuditType.SEARCH, AuditActor(name="pacs"), objects=(query,)))
    told = objects(root)["/dicomweb/studies"].findtext("ParticipantObjectQuery")
    assert base64.b64decode(told).decode() == f"PatientName\n{'ef' * 32}"
