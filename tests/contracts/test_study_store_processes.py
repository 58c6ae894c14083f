"""The contract of `StudyStore` among several real processes, and across kill -9."""

from pathlib import Path

import pytest

from services.backends.store import SqlStudyStore, open_store
from services.triage.errors import StoreUnavailable
from services.triage.study import VersionKey
from tests.support.other_process import at_once, complete_all, killed_after, lease_all, record_all, record_for_ever
from tests.support.records import NOON, STUDY, complete_study, image, sent

STUDIES = 12


def test_two_dispatchers_complete_each_version_once(store: SqlStudyStore, store_url: str) -> None:
    store.record(sent(*(image(1, study=f"1.7.{number}") for number in range(STUDIES))), now=NOON)
    completed = at_once(complete_all, [(store_url, STUDIES), (store_url, STUDIES)])
    assert sum(completed) == STUDIES
    assert len(store.unpublished(limit=100)) == STUDIES


def test_two_workers_lease_each_job_once(store: SqlStudyStore, store_url: str) -> None:
    for number in range(STUDIES):
        complete_study(store, study=f"1.7.{number}", images=1)
    job_ids = [message.job_id for message in store.unpublished(limit=100)]
    leased = at_once(lease_all, [(store_url, "worker-1"), (store_url, "worker-2")])
    assert sorted(leased[0] + leased[1]) == sorted(job_ids)


def test_gateways_that_record_the_same_studies_neither_lose_nor_double_nor_lock_each_other_out(
    store: SqlStudyStore, store_url: str
) -> None:
    new = at_once(record_all, [(store_url, 3, 15, 1), (store_url, 3, 15, -1), (store_url, 3, 15, 1)])
    assert sum(new) == 3 * 15
    for study in range(3):
        assert len(store.instances(VersionKey(study_instance_uid=f"1.7.{study}", number=1))) == 15


def test_processes_that_open_a_store_together_all_succeed(store_url: str) -> None:
    """The SQLite file is missing before."""
    assert at_once(complete_all, [(store_url, 1)] * 4) == [0, 0, 0, 0]


def test_every_recording_acknowledged_before_a_kill_is_there_after_it(store_url: str) -> None:
    open_store(store_url).close()
    acknowledged = killed_after(record_for_ever, store_url, acknowledged=25)
    reopened = open_store(store_url)
    found = {one.header.instance_number for one in reopened.instances(VersionKey(study_instance_uid=STUDY, number=1))}
    assert set(acknowledged) <= found
    assert len(found) <= len(acknowledged) + 1
    (row,) = reopened.board.work_list()
    assert row.instance_count == len(found)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "vigie.sqlite").mkdir()
    with pytest.raises(StoreUnavailable):
        open_store(f"sqlite:///{tmp_path / 'vigie.sqlite'}")
