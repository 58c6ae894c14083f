"""Whatever happens in whatever order, a job goes only where `ALLOWED` says, and its token only grows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.backends.store import SqlStudyStore, open_store
from services.triage.errors import LeaseLost, Reason
from services.triage.job import JobState, Lease, may_become
from tests.support.records import LEASE, a_result, after, complete_study, image, lease_job, new_study_uid, sent

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
