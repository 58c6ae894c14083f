"""The page of the audit trail, for auditors and leads: who did what with which study. Whoever looks stands in it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.backends.store.audit import AuditQuery, event_of
from services.gateway.access.sign_in import address_of
from services.gateway.audit.recorder import Recorder
from services.gateway.audit.words import TYPE_WORDS
from services.gateway.desk import Desk, TheDesk
from services.gateway.people import only
from services.gateway.templates import pages
from services.triage.audit import AuditActor, AuditEvent, AuditObject, AuditObjectKind, AuditRecord
from services.triage.audit_types import AuditType, audited
from services.triage.person import Person

router = APIRouter(include_in_schema=False)

Auditor = Annotated[Person, Depends(only(lambda who: who.observes and not who.tenants))]
SHOWN = 100


class Asked(BaseModel):
    """The form. It is sent by POST: an ID in an address would stay in histories and proxies.

    patient: an ID, with its issuer; patient_digest: the same as the trail knows it. before: a record's number.
    """

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    person: str = Field("", max_length=200)
    study: str = Field("", max_length=64)
    patient: str = Field("", max_length=64)
    issuer: str = Field("", max_length=64)
    patient_digest: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    type: str = Field("", max_length=32)
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None

    @field_validator("since", "until", "before", mode="before")
    @classmethod
    def _left_empty(cls, value: object) -> object:
        return None if value == "" else value

    def query(self, desk: Desk) -> AuditQuery:
        """What is looked for; times without a zone are the server's."""
        digest = desk.store.audit.patient(self.patient, self.issuer) if self.patient else self.patient_digest
        return AuditQuery(
            asked_by=self.person,
            study_instance_uid=self.study,
            patient=digest,
            type=self.type,
            since=self.since.astimezone() if self.since else None,
            until=self.until.astimezone() if self.until else None,
            before=self.before,
        )


class Line:
    """A record as a row. shown_at: when it happened, as far as that is told apart."""

    def __init__(self, record: AuditRecord) -> None:
        self.record = record
        self.event: AuditEvent = event_of(record.document)
        self.shown_at = self.event.happened_at or record.recorded_at
        self.study = self.event.first(AuditObjectKind.STUDY)

    @property
    def words(self) -> str:
        """Its type, in English: the template translates it."""
        is_ours = self.event.type in set(AuditType)
        return TYPE_WORDS[AuditType(self.event.type)] if is_ours else self.event.type


@router.get("/audit")
def show(request: Request, desk: TheDesk, person: Auditor) -> Response:
    """The newest records."""
    return _page(request, desk, person, Asked())


@router.post("/audit")
def search(request: Request, desk: TheDesk, person: Auditor, asked: Annotated[Asked, Form()]) -> Response:
    """Those that were asked for."""
    return _page(request, desk, person, asked)


def _page(request: Request, desk: Desk, person: Person, asked: Asked) -> Response:
    query = asked.query(desk)
    head, gone = desk.store.audit.head(), desk.store.audit.pruned()
    found = desk.store.audit.find(query, limit=SHOWN + 1)
    _note(request, person, query)
    lines = [Line(record) for record in found[:SHOWN]]
    context = {
        "asked": asked,
        "digest": query.patient,
        "lines": lines,
        "withheld": desk.store.holds.withheld({line.study for line in lines if line.study}),
        "next": lines[-1].record.sequence if len(found) > SHOWN else None,
        "last": head.sequence if head else 0,
        "gone": gone.sequence if gone else 0,
        "feeds": [one for one in desk.store.audit_feeds.states() if one.backlog],
        "types": TYPE_WORDS,
    }
    return pages.TemplateResponse(request, "audit.html", context)


def _note(request: Request, person: Person, query: AuditQuery) -> None:
    told = {"person": query.asked_by, "study": query.study_instance_uid, "type": query.type, "patient": query.patient}
    asked = {name: value for name, value in told.items() if value}
    recorder: Recorder = request.app.state.audit
    what = AuditObject(kind=AuditObjectKind.RECORD, object_id="/audit", details=asked)
    who = AuditActor(name=person.name, address=address_of(request))
    recorder.record(audited(AuditType.TRAIL_READ, who, objects=(what,)))
