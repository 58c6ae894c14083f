"""Reconciliation with a PACS: studies that it has and that never came, or came with fewer images; and fetching them.

Nothing is remembered from one time to the next: each looks at what both sides have now, so that repeating is harmless.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import partial

import structlog

from services.backends.audit_spool import AuditSpool
from services.backends.headers import is_uid
from services.backends.pacs import RETRIEVE_REFUSED, Fetch, Pacs, Retrieved, get, move, questions
from services.backends.senders import tenants_in_force
from services.backends.store import SqlStudyStore
from services.backends.store.reconciliations import Reconciled, Reconciliations
from services.gateway.audit.importing import Imports
from services.gateway.intake import Intake
from services.gateway.reception import Reception
from services.gateway.storing import take_in
from services.keeping import keeping
from services.settings import Settings
from services.triage.audit import AuditActor
from services.triage.errors import DestinationRefused, RejectedError, StoreUnavailable, TransientError
from services.triage.pacs import claimable, missing_here
from services.triage.ports import PacsQuestions
from services.triage.routing import Rule
from services.triage.tenant import NO_TENANT

log = structlog.get_logger(__name__)


REFUSED_IN_A_ROW = 3
"""Studies; a PACS that refuses so many retrieves nothing."""


class Fate(StrEnum):
    """What became of a study that is not whole here."""

    FOUND = "found"
    FETCHED = "fetched"
    FETCH_FAILED = "fetch_failed"


@dataclass(kw_only=True, slots=True)
class Shortfall:
    """One study of which the PACS has images that are not here. missing: how many, by series. here: images that are."""

    day: date
    study_instance_uid: str
    missing: dict[str, int]
    here: int
    fate: Fate = Fate.FOUND
    reason: str = ""

    @property
    def images(self) -> int:
        """How many images are missing."""
        return sum(self.missing.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One reconciliation. studies: those of the PACS that a rule could claim. error: why it was not done to its end."""

    pacs: str
    studies: int = 0
    shortfalls: Sequence[Shortfall] = ()
    error: str = ""

    def counts(self) -> Reconciled:
        """For the store."""
        return Reconciled(
            studies=self.studies,
            missing=sum(not one.here for one in self.shortfalls),
            incomplete=sum(bool(one.here) for one in self.shortfalls),
            fetched=sum(one.fate is Fate.FETCHED for one in self.shortfalls),
        )


Progress = Callable[[str], None]


class Busy(Exception):
    """Another process reconciles with this PACS now."""


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Compares and fetches; a claim keeps a second process from doing the same at the same time.

    stop: ends it before the next study, or while one is fetched.
    """

    store: SqlStudyStore
    settings: Settings
    rules: Sequence[Rule]
    intake: Intake
    stop: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        pacs: Pacs,
        days: Sequence[date],
        *,
        fetch: bool = True,
        daily: date | None = None,
        progress: Progress = lambda _: None,
    ) -> Report:
        """Look at the studies of these days. daily: it is the daily one of that day. Raises Busy, StoreUnavailable."""
        lasts = timedelta(seconds=self.settings.lease_s)
        reconciliations = self.store.reconciliations
        claim = reconciliations.claim(pacs.name, now=_now(), duration=lasts)
        if claim is None:
            raise Busy(f"another process reconciles with {pacs.name} now")
        renew = partial(_renew, reconciliations, claim, lasts)
        report: Report | None = None
        try:
            with keeping(renew, claim_s=self.settings.lease_s, what=pacs.name):
                report = self._reconcile(pacs, days, fetch=fetch, progress=progress)
        finally:
            done = report is not None and not report.error and not self.stop.is_set()
            found = report.counts() if report and done else None
            reconciliations.finish(claim, found, now=_now(), day=daily if done else None)
        _alarm(report)
        return report

    def _reconcile(self, pacs: Pacs, days: Sequence[date], *, fetch: bool, progress: Progress) -> Report:
        shortfalls: list[Shortfall] = []
        studies = 0
        try:
            with questions(pacs, self.settings) as asked:
                for day in days:
                    progress(f"{pacs.name}: asking for the studies of {day}")
                    listed = self._listed(asked, day)
                    studies += len(listed)
                    for number, uid in enumerate(listed, start=1):
                        if self.stop.is_set():
                            break
                        progress(f"{pacs.name}: study {number} of {len(listed)} of {day}")
                        if shortfall := self._shortfall(asked, day, uid):
                            shortfalls.append(shortfall)
        except StoreUnavailable:
            raise
        except (TransientError, RejectedError) as error:
            return Report(pacs=pacs.name, studies=studies, shortfalls=shortfalls, error=str(error))
        if fetch and pacs.fetch is not Fetch.NO:
            self._fetch(pacs, shortfalls, progress)
        return Report(pacs=pacs.name, studies=studies, shortfalls=shortfalls)

    def _listed(self, asked: PacsQuestions, day: date) -> list[str]:
        """The studies of a day of which a rule could claim a series, each once."""
        wanted = claimable(self.rules)
        found = (study for modality in sorted(wanted) for study in asked.studies(day, modality))
        # a PACS that ignores the key answers with all studies; one that tells no modalities is asked for the series
        suit = (each for each in found if not each.modalities or wanted & set(each.modalities))
        return list(dict.fromkeys(each.study_instance_uid for each in suit if is_uid(each.study_instance_uid)))

    def _shortfall(self, asked: PacsQuestions, day: date, study_instance_uid: str) -> Shortfall | None:
        missing = missing_here(
            asked.series(study_instance_uid),
            here := self.store.inquiries.here(study_instance_uid),
            claimable(self.rules),
        )
        # what still arrives is not missing
        if not missing or self.store.inquiries.is_receiving(study_instance_uid):
            return None
        return Shortfall(day=day, study_instance_uid=study_instance_uid, missing=missing, here=sum(here.values()))

    def _fetch(self, pacs: Pacs, shortfalls: Sequence[Shortfall], progress: Progress) -> None:
        """Have the missing series come; the door, or we, keep them as anything that is pushed.

        A study of which only some came, or that the PACS refuses, does not count for `fetch_at_most`: it keeps no
        other back. What the PACS will not do at all, or not now, it is not asked again this time.
        """
        fetched = refused = 0
        for one in shortfalls:
            if self.stop.is_set() or fetched == pacs.fetch_at_most:
                return
            progress(f"{pacs.name}: fetching {one.images} images of study {fetched + 1} of {len(shortfalls)}")
            try:
                retrieved = self._retrieve(pacs, one)
            except (TransientError, RejectedError) as error:
                one.fate, one.reason = Fate.FETCH_FAILED, str(error)
                refused += 1
                if error.reason.code != RETRIEVE_REFUSED or refused == REFUSED_IN_A_ROW:
                    return
                continue
            refused = 0
            came = one.images if retrieved.completed is None else retrieved.completed
            if retrieved.failed or came < one.images:
                text = f"not all of {one.images} images came: {retrieved.failed} failed"
                one.fate, one.reason = Fate.FETCH_FAILED, text
            else:
                one.fate = Fate.FETCHED
                fetched += 1

    def _retrieve(self, pacs: Pacs, one: Shortfall) -> Retrieved:
        series = sorted(one.missing)
        if pacs.fetch is Fetch.MOVE:
            return move(pacs, one.study_instance_uid, series, stopped=self.stop.is_set)
        with questions(pacs, self.settings) as asked:
            sop_classes = asked.sop_classes(one.study_instance_uid, series)
        called, calling = pacs.called_ae_title, pacs.address.partition("@")[0]
        tenants = tenants_in_force(self.settings)
        tenant = tenants.sender(called, calling)
        owner = tenant.name if tenant else NO_TENANT
        if tenants and tenant is None:
            text = f"{calling} is no tenant's: name it in the file of VIGIE_TENANTS, as one that calls {called}"
            raise DestinationRefused("no_tenant", text)
        source = AuditActor(name=pacs.name, address=pacs.address, requests=False)
        spool = AuditSpool(self.settings.data)
        imports = Imports(spool, source=source, destination=self.settings.ae_title, way="C-GET")
        reception = Reception("C-GET")
        reception.begin()
        try:
            return get(
                pacs,
                one.study_instance_uid,
                series,
                sop_class_uids=sop_classes,
                store=lambda event: take_in(
                    event, self.intake, reception, received_from=calling, tenant=owner, imports=imports
                ),
                stopped=self.stop.is_set,
            )
        finally:
            reception.end()
            imports.end()


def _alarm(report: Report) -> None:
    """Say each study that is not whole here, and the sum."""
    for one in report.shortfalls:
        log.warning(
            "study_incomplete_here" if one.here else "study_missing_here",
            study_instance_uid=one.study_instance_uid,
            pacs=report.pacs,
            images_missing=one.images,
            fate=one.fate,
            reason=one.reason,
        )
    if report.error:
        log.error("reconciliation_failed", pacs=report.pacs, reason=report.error)
    else:
        counts = report.counts()
        fields = {name: getattr(counts, name) for name in Reconciled.__dataclass_fields__}
        log.info("reconciliation_finished", pacs=report.pacs, **fields)


def _renew(reconciliations: Reconciliations, claim: str, lasts: timedelta) -> None:
    reconciliations.renew(claim, now=_now(), duration=lasts)


def _now() -> datetime:
    return datetime.now(UTC)
