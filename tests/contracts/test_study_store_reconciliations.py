"""The contract of reconciliations: one process at a time, the daily one once a day, and what came of the last."""

from datetime import date, timedelta

from services.backends.store import SqlStudyStore
from services.backends.store.reconciliations import Reconciled
from tests.support.records import NOON, after

DAY = date(2026, 3, 1)
MINUTE = timedelta(minutes=1)
FOUND = Reconciled(studies=40, missing=2, incomplete=1, fetched=3)


def claim(store: SqlStudyStore, at: float = 0.0, pacs: str = "archive") -> str | None:
    return store.reconciliations.claim(pacs, now=after(at), duration=MINUTE)


def test_one_process_at_a_time_reconciles_with_a_pacs(store: SqlStudyStore) -> None:
    first = claim(store)
    assert first
    assert claim(store) is None
    assert claim(store, pacs="research")
    store.reconciliations.renew(first, now=after(50), duration=MINUTE)
    assert claim(store, 109) is None
    assert claim(store, 110)


def test_whose_claim_ran_out_changes_nothing_any_more(store: SqlStudyStore) -> None:
    late = claim(store)
    new = claim(store, 60)
    assert late
    assert new
    store.reconciliations.renew(late, now=after(61), duration=60 * MINUTE)
    store.reconciliations.finish(late, FOUND, now=after(61), day=DAY)
    assert store.reconciliations.last() == {}
    assert claim(store, 62) is None
    assert claim(store, 120)


def test_the_daily_one_is_due_until_it_was_done(store: SqlStudyStore) -> None:
    assert store.reconciliations.is_due("archive", DAY)
    failed = claim(store)
    assert failed
    store.reconciliations.finish(failed, None, now=NOON)
    assert store.reconciliations.is_due("archive", DAY)
    asked_for = claim(store)
    assert asked_for
    store.reconciliations.finish(asked_for, FOUND, now=NOON)
    assert store.reconciliations.is_due("archive", DAY)
    daily = claim(store)
    assert daily
    store.reconciliations.finish(daily, FOUND, now=NOON, day=DAY)
    assert not store.reconciliations.is_due("archive", DAY)
    assert store.reconciliations.is_due("archive", DAY + timedelta(days=1))
    assert store.reconciliations.is_due("research", DAY)


def test_what_the_last_one_found_is_kept_through_one_that_failed(store: SqlStudyStore) -> None:
    assert store.reconciliations.last() == {}
    done = claim(store)
    assert done
    store.reconciliations.finish(done, FOUND, now=after(5))
    failed = claim(store)
    assert failed
    store.reconciliations.finish(failed, None, now=after(9))
    assert store.reconciliations.last() == {"archive": (after(5), FOUND)}
