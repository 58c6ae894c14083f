"""Whatever happens in whatever order, jobs and deliveries go only where they may, and a job's token only grows."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.backends.store import SqlStudyStore, open_store
from services.triage.commitment import CommitmentReport
from services.triage.errors import LeaseLost, Reason
from services.triage.job import JobState, Lease, may_become
from services.triage.ports import DueCommitment, DueDelivery
from services.triage.result import MAY_BECOME, DeliveryState
from tests.support.records import (
    LEASE,
    PACS,
    a_result,
    after,
    complete_study,
    image,
    lease_job,
    lease_next,
    new_study_uid,
    sent,
)

STEPS = ("lease", "renew", "freeze", "postpone", "wait", "reissue", "new image")
BUSY = Reason(code="busy", text="busy")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStudyStore]:
    folder: Path = tmp_path_factory.mktemp("store")
    opened = open_store(f"sqlite:///{folder / 'vigie.sqlite'}")
    yield opened
    opened.close()


class Story:
    """One job, the workers that held it (awake or not), and a clock."""

    def __init__(self, store: SqlStudyStore) -> None:
        self.store, self.study = store, new_study_uid()
        complete_study(store, study=self.study, images=1)
        self.now, self.images = 20.0, 1
        self.leases: list[Lease] = []

    def state(self) -> JobState:
        detail = self.store.board.study(self.study)
        assert detail is not None
        (job,) = detail.versions[-1].jobs
        self.job_id = job.job_id
        return job.state

    def step(self, what: str, which: int) -> None:
        now, lease = after(self.now), self.leases[which % len(self.leases)] if self.leases else None
        if what == "wait":
            self.now += 45
        elif what == "reissue":
            self.store.reissue(now=now)
        elif what == "new image":
            self.images += 1
            self.store.record(sent(image(self.images, study=self.study)), now=now)
        elif what == "lease":
            given = lease_job(self.store, self.job_id, worker="w", now=now)
            if given is not None:
                assert all(given[0].token > older.token for older in self.leases)
                self.leases.append(given[0])
        elif lease is not None:
            self.held(what, lease)

    def held(self, what: str, lease: Lease) -> None:
        """A step that only the newest holder may take."""
        now, stale = after(self.now), lease != self.leases[-1]
        try:
            if what == "renew":
                self.store.renew(lease, now=now, duration=LEASE)
            elif what == "postpone":
                self.store.postpone(lease, BUSY, now=now, until=after(self.now + 30))
            else:
                result, sha256s = a_result()
                self.store.freeze(lease, result, sha256s=sha256s, destinations=[], now=now)
        except LeaseLost:
            return
        assert not stale


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), min_size=3, max_size=12))
def test_a_job_only_goes_where_it_may(store: SqlStudyStore, steps: list[tuple[str, int]]) -> None:
    story = Story(store)
    state = story.state()
    for what, which in steps:
        story.step(what, which)
        before, state = state, story.state()
        assert state == before or may_become(before, state), f"{before} -> {state} by {what}"


DELIVERY_STEPS = ("send", "refuse", "ask", "put off", "send again", "give up", "commit", "fail", "resend", "wait")

PUT_TO = {
    "put off": DeliveryState.SENT,
    "send again": DeliveryState.PENDING,
    "give up": DeliveryState.GIVEN_UP,
}


class DeliveryStory:
    """One delivery, the processes that held it (awake or not), the transactions asked in, and a clock."""

    def __init__(self, store: SqlStudyStore) -> None:
        self.store, self.study, self.now = store, new_study_uid(), 100.0
        complete_study(store, study=self.study)
        lease, _ = lease_next(store)
        result, sha256s = a_result()
        self.uids = [one.sop_instance_uid for one in result.objects]
        # a destination of its own: nothing else is due there
        self.destination = replace(PACS, name=self.study)
        store.freeze(lease, result, sha256s=sha256s, destinations=[self.destination], now=after(30))
        self.claims: list[DueDelivery] = []
        self.dues: list[DueCommitment] = []
        self.transactions: list[str] = []

    def state(self) -> DeliveryState:
        (line,) = self.store.deliveries(list(DeliveryState), destination_name=self.study)
        self.delivery_id = line.delivery_id
        return line.state

    def claim(self) -> None:
        now = after(self.now)
        if claimed := self.store.claim_delivery(self.study, now=now, duration=LEASE):
            self.claims.append(claimed)
        if due := self.store.claim_commitment(self.study, now=now, duration=LEASE):
            self.dues.append(due)

    def step(self, what: str, which: int) -> None:
        self.claim()
        now = after(self.now)
        if what == "wait":
            self.now += 45
        elif what == "resend":
            self.store.resend([self.delivery_id], actor="ana", now=now)
        elif what in ("commit", "fail") and self.transactions:
            committed = self.uids if what == "commit" else self.uids[: which % 2]
            transaction = self.transactions[which % len(self.transactions)]
            report = CommitmentReport(transaction_uid=transaction, committed=frozenset(committed))
            assert self.store.commitment_reported(report, now=now)
        elif what in ("send", "refuse") and self.claims:
            claimed = self.claims[which % len(self.claims)]
            if what == "send":
                self.store.delivered(claimed.delivery_id, now=now, ask_commitment=True)
            else:
                self.store.delivery_failed(claimed, BUSY, now=now, retry_at=None)
        elif self.dues:
            self.held(what, self.dues[which % len(self.dues)])

    def held(self, what: str, due: DueCommitment) -> None:
        """A step of who asks; one that lost its claim changes nothing."""
        now = after(self.now)
        if what == "ask":
            transaction = new_study_uid()
            try:
                self.store.commitment_asked(due, transaction, now=now, again_at=after(self.now + 40))
            except LeaseLost:
                return
            self.transactions.append(transaction)
        elif what in PUT_TO:
            self.store.not_committed(due.delivery, BUSY, state=PUT_TO[what], now=now, next_at=now)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(DELIVERY_STEPS), st.integers(0, 5)), min_size=3, max_size=15))
def test_a_delivery_only_goes_where_it_may(store: SqlStudyStore, steps: list[tuple[str, int]]) -> None:
    story = DeliveryStory(store)
    state = story.state()
    for what, which in steps:
        story.step(what, which)
        before, state = state, story.state()
        assert state == before or state in MAY_BECOME[before], f"{before} -> {state} by {what}"
        if state is DeliveryState.COMMITTED:
            assert story.transactions, "nothing is committed that nobody asked for"
