"""The dispatcher: what the door has kept becomes known, complete, routed and queued. Safe in several copies.

It is the only place where these happen, and it can die between any two steps: each is repeated until the store or the
queue has it, and repeating changes nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services import tracing
from services.backends.audit_spool import AuditSpool
from services.backends.blind_file import load_blind
from services.backends.files import FolderStudyFiles
from services.backends.headers import read_instance
from services.backends.pacs import load_pacs
from services.backends.peers_file import reread_peers
from services.backends.queue import open_queue
from services.backends.routing_file import load_rules
from services.backends.senders import tenants_in_force
from services.backends.store import open_store
from services.gateway.audit.settling import settling
from services.gateway.recalling import Recalling
from services.gateway.scrubbing import Scrubbing
from services.lifetime import beside, stop_on_signals
from services.logs import Conditions, where
from services.patience import wait_for
from services.settings import Settings
from services.tracing import Kind
from services.triage.completeness import Completion, Patience, decide
from services.triage.errors import InstanceRefused, Reason, TransientError
from services.triage.job import JobMessage, JobPlan, Plan
from services.triage.ports import Arrival, JobQueue, KeptFile, Recorded, StudyFiles, StudyStore
from services.triage.routing import Rule, order_priority, plan
from services.triage.study import Instance, VersionKey, by_series
from services.triage.tenant import NO_TENANT, NO_TENANTS, OTHER_TENANT, Tenants

log = structlog.get_logger(__name__)

TICK_S = 0.25
FILES_PER_TURN = 400
MESSAGES_PER_TURN = 100
JOINED_REMEMBERED = 1000
PAUSE = timedelta(seconds=30)  # before a file or a study that made trouble is tried again
OUTAGE_PAUSE = timedelta(seconds=2)  # the same when it was the store or the queue that made the trouble

# what one odd study may raise where nobody foresaw it, a value that the database refuses among them, and a file that is
# erased meanwhile; such a study must not hold up the others
_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    SQLAlchemyError,
)


def run_dispatcher(settings: Settings) -> None:
    """Take turns until SIGTERM or SIGINT; blocks."""
    settings.data.mkdir(parents=True, exist_ok=True)
    files = FolderStudyFiles(settings.data)
    url, issuer = settings.store_url(), settings.hl7_assigning_authority
    store = wait_for("database", lambda: open_store(url, same_pixels=files.same_pixels, default_issuer=issuer))
    queue = wait_for("queue", lambda: open_queue(settings))
    tenants = tenants_in_force(settings)
    heir = tenants.owner(NO_TENANT)
    if heir is not None and (adopted := wait_for("database", lambda: store.adopt(heir))):
        log.info("studies_adopted", tenant=heir.name, studies=adopted)
    audit = settling(AuditSpool(settings.data), store.audit)
    dispatcher = Dispatcher(store, files, queue, load_rules(settings.routing), settings, tenants, audit=audit.turn)
    stop = stop_on_signals()
    recalling = Recalling(store, files, notes=settings.recall_notes, stop=stop)
    scrubbing = Scrubbing(store, files, files_per_s=settings.scrub_files_per_s, stop=stop)
    with beside(recalling.run, scrubbing.run, stop=stop):
        log.info("dispatcher_started")
        while not stop.is_set():
            dispatcher.turn(datetime.now(UTC))
            stop.wait(TICK_S)
    queue.close()
    log.info("dispatcher_stopped")


class Dispatcher:
    """Takes turns; a turn never raises for what one study, the store, the queue or the disk may do wrong.

    What nobody foresaw ends the dispatcher, which is then started again; but only at the end of a turn, so that a step
    that breaks each time does not keep the others from theirs.
    """

    def __init__(
        self,
        store: StudyStore,
        files: StudyFiles,
        queue: JobQueue,
        rules: Sequence[Rule],
        settings: Settings,
        tenants: Tenants = NO_TENANTS,
        *,
        audit: Callable[[datetime], int] = lambda _now: 0,
    ) -> None:
        self._settle_audit = audit
        self._is_blind = bool(load_blind(settings.blind, tenants))
        self._store = store
        self._files = files
        self._queue = queue
        self._rules = rules
        self._tenants = tenants
        self._quiet_period = timedelta(seconds=settings.quiet_period_s)
        self._longest_wait = timedelta(seconds=settings.longest_wait_s)
        # a file of which no table is about completeness asks nobody
        asks = any(pacs.completeness for pacs in load_pacs(settings))
        self._grace = timedelta(seconds=settings.pacs_grace_s) if asks else None
        self._looks_for_signals = settings.completion_signals
        self._since: datetime | None = None  # the first turn
        self._peers = reread_peers(settings)
        self._ae_priorities = settings.order_priorities()
        self._conditions = Conditions(log)
        self._joined: dict[
            tuple[str, str], None
        ] = {}  # traceparents of a version and of an association; a set in order
        self._set_aside: dict[str, datetime] = {}  # digest or study UID -> when to try again

    def turn(self, now: datetime) -> None:
        """Settle what was kept, complete what is quiet, reissue what was abandoned, publish what is queued, look on.

        Raises the first error that nobody foresaw, once every step has had its turn.
        """
        self._set_aside = {name: until for name, until in self._set_aside.items() if until > now}
        self._since = self._since or now
        steps: dict[str, Callable[[datetime], object]] = {
            "settle": self._settle,
            "settle_audit": self._settle_audit,
            "complete": self._complete,
            "reissue": self._reissue,
            "publish": self._publish,
            "end_holds": self._end_holds,
            "watch": self._watch,
        }
        broke: list[Exception] = []
        for name, step in steps.items():
            try:
                step(now)
            except (TransientError, OSError) as error:
                self._conditions.begins("step_postponed", name, step=name, error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - raised below
                log.error("step_broke", step=name, **where(error))  # noqa: TRY400 - no values
                broke.append(error)
            else:
                self._conditions.ends("step_postponed", name, step=name)
        if broke:
            raise broke[0]

    def _settle(self, now: datetime) -> None:
        """Record pending files, study by study, then have them leave `pending`."""
        waiting = (file for file in self._files.pending() if file.digest not in self._set_aside)
        studies: dict[tuple[str, str], list[tuple[Instance, KeptFile]]] = {}
        for instance, file in self._read(islice(waiting, FILES_PER_TURN), now):
            studies.setdefault((instance.study.study_instance_uid, file.tenant), []).append((instance, file))
        for (uid, tenant), kept in studies.items():
            with tracing.within(kept[0][1].traceparent):
                try:
                    self._settle_one(uid, tenant, kept, now)
                except (TransientError, *_FAULTS) as error:
                    log.warning("record_postponed", study_instance_uid=uid, **where(error))
                    self._set_aside |= dict.fromkeys((file.digest for _, file in kept), now + _pause(error))

    def _settle_one(self, uid: str, tenant: str, kept: Sequence[tuple[Instance, KeptFile]], now: datetime) -> None:
        instances = [(instance, file.received_from) for instance, file in kept]
        traced = list(dict.fromkeys(file.traceparent for _, file in kept if file.traceparent))
        began_ns = time.time_ns()
        owner = self._tenants.owner(tenant)
        recorded = self._store.record(instances, now=now, tenant=owner, traceparent=traced[0] if traced else None)
        self._trace_record(recorded, traced, began_ns)
        arrivals = [one.arrival for one in recorded]
        if Arrival.OTHER_TENANT in arrivals:
            self._refuse(uid, [file for _, file in kept])
            return
        # before they are settled: a killed process does it again
        self._files.outdate(digest for one in recorded for digest in one.replaced)
        self._files.settle((file.digest for _, file in kept), tenant=tenant)
        if conflicts := arrivals.count(Arrival.CONFLICT):
            log.warning("other_content_under_the_same_uid", study_instance_uid=uid, instances=conflicts)
        if undone := arrivals.count(Arrival.OLDER):
            log.warning("older_content_came_again", study_instance_uid=uid, instances=undone)

    def _trace_record(self, recorded: Sequence[Recorded], traced: Sequence[str], began_ns: int) -> None:
        """One span for each association that brings something to a version: a long one is recorded in many turns."""
        of_version = next((one.traceparent for one in recorded if one.traceparent), None)
        new = [one for one in traced if (of_version, one) not in self._joined]
        if of_version is None or not new:
            return
        self._joined = dict.fromkeys([*self._joined, *((of_version, one) for one in new)][-JOINED_REMEMBERED:])
        links = [one for one in new if one != of_version]
        tracing.start("record", parent=of_version, links=links, start_ns=began_ns, instances=len(recorded)).end()

    def _refuse(self, uid: str, files: Sequence[KeptFile]) -> None:
        """Of a study that is another tenant's, though the door did not know: from now on it does."""
        self._files.assign(uid, self._store.tenant(uid))
        for file in files:
            self._files.refuse(file, OTHER_TENANT)
        log.warning("other_tenants_study", study_instance_uid=uid, tenant=files[0].tenant, instances=len(files))

    def _read(self, files: Iterable[KeptFile], now: datetime) -> Iterator[tuple[Instance, KeptFile]]:
        for file in files:
            try:
                instance = self._understood(file)
            except _FAULTS as error:
                log.warning("kept_file_unreadable", digest=file.digest, **where(error))
                self._set_aside[file.digest] = now + PAUSE
            else:
                if instance is not None:
                    yield instance, file

    def _understood(self, file: KeptFile) -> Instance | None:
        """None: it went to quarantine."""
        try:
            return self._undamaged(file)
        except InstanceRefused as refusal:
            # understood at the door, but no longer: the disk, or a stricter version of this program
            log.warning("kept_file_refused", digest=file.digest, code=refusal.reason.code)
            content = self._files.path(file.digest).read_bytes()
            self._files.quarantine(content, reason=refusal.reason, received_from=file.received_from)
            self._files.settle([file.digest], tenant=file.tenant)
            return None

    def _undamaged(self, file: KeptFile) -> Instance:
        instance = read_instance(self._files.path(file.digest))
        if instance.digest != file.digest:
            raise InstanceRefused("damaged", "not the bytes that were kept")
        return instance

    def _complete(self, now: datetime) -> None:
        candidates = self._store.quiet_versions(now=now, quiet_period=self._quiet_period)
        if self._looks_for_signals:
            candidates += self._store.announced_versions()
        for version in dict.fromkeys(candidates):
            if version.study_instance_uid in self._set_aside:
                continue
            try:
                self._complete_one(version, now)
            except (TransientError, *_FAULTS) as error:
                self._postpone(version, error, now)

    def _complete_one(self, version: VersionKey, now: datetime) -> None:
        completion = self._decide(version, now)
        if completion is None:
            return
        traced = self._store.traced(version)
        uid, number = version.study_instance_uid, version.number
        with tracing.span(
            "complete", parent=traced.own, links=[traced.earlier], study_instance_uid=uid, version=number
        ) as span:
            try:
                self._close(version, completion.said, span.traceparent, now)
            except (TransientError, *_FAULTS) as error:
                span.failed(type(error).__name__)
                self._postpone(version, error, now)

    def _postpone(self, version: VersionKey, error: Exception, now: datetime) -> None:
        log.warning("completion_postponed", study_instance_uid=version.study_instance_uid, **where(error))
        self._set_aside[version.study_instance_uid] = now + _pause(error)

    def _close(self, version: VersionKey, said: Reason | None, traceparent: str, now: datetime) -> None:
        """Route a version that is complete, and queue its jobs."""
        instances = self._store.instances(version)
        planned = self._plan(version, instances)
        senders = self._store.senders(version)
        priorities = self._peers.in_force().priorities() if self._peers else self._ae_priorities
        of_senders = {ae: given for ae, given in priorities.items() if ae in senders}
        priority, why = order_priority(planned, self._rules, instances, of_senders)
        seen = len(instances)
        if self._store.complete(
            version,
            planned,
            priority=priority,
            priority_from=why,
            seen=seen,
            now=now,
            said=said,
            traceparent=traceparent,
        ):
            log.info(
                "study_complete",
                study_instance_uid=version.study_instance_uid,
                version=version.number,
                models=[job.model_name for job in planned.jobs],
                out_of_scope=planned.out_of_scope and planned.out_of_scope.code,
                **({"on": said.code, "said": said.text} if said else {}),
            )

    def _decide(self, version: VersionKey, now: datetime) -> Completion | None:
        """What is quiet, or was asked for, is complete, unless PACS or signals have a say."""
        if self._grace is None and not self._looks_for_signals:
            return Completion()
        evidence = self._store.evidence(version)
        if evidence is None:  # another gateway has completed it
            return None
        patience = Patience(
            quiet_period=self._quiet_period,
            grace=self._grace,
            longest_wait=self._longest_wait,
            since=self._since or now,
        )
        return decide(evidence, now=now, patience=patience)

    def _plan(self, version: VersionKey, instances: Sequence[Instance]) -> Plan:
        try:
            return plan(by_series(instances), self._rules)
        except _FAULTS as error:
            log.error("routing_broke", study_instance_uid=version.study_instance_uid, **where(error))  # noqa: TRY400
            reason = Reason(code="routing_failed", text="the routing of this study broke: a person must look at it")
            return Plan(jobs=(JobPlan(model_name=self._rules[0].model_name, series_instance_uid=None, refusal=reason),))

    def _reissue(self, now: datetime) -> None:
        reissued = self._store.reissue(now=now)
        if reissued:
            log.warning("jobs_reissued", jobs=reissued)

    def _publish(self, _now: datetime) -> None:
        confirmed: list[JobMessage] = []
        try:
            for message in self._store.unpublished(limit=MESSAGES_PER_TURN):
                # on a worker's side the bell leads back here
                with tracing.span(
                    "publish", parent=message.traceparent, kind=Kind.PRODUCER, job=message.job_id
                ) as span:
                    self._queue.publish(replace(message, traceparent=span.traceparent))
                confirmed.append(message)
        finally:
            self._store.published(confirmed)

    def _end_holds(self, now: datetime) -> None:
        """Say in the history which results are withheld no longer: their time is up, or nobody reads blind any more."""
        if ended := self._store.end_holds(now=now, switched_off=not self._is_blind):
            log.info("blind_holds_ended", holds=ended)

    def _watch(self, now: datetime) -> None:
        """Say it when nobody takes the work on."""
        if self._store.backlog(now=now).is_untaken_too_long(now):
            self._conditions.begins("no_worker")
        else:
            self._conditions.ends("no_worker")


def _pause(error: Exception) -> timedelta:
    """Before the next try: an outage ends for all studies at once, an odd study stays odd."""
    return OUTAGE_PAUSE if isinstance(error, TransientError) else PAUSE
