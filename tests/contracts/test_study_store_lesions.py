"""What a job is told of the lesions that earlier results found."""

from dataclasses import replace

from services.backends.store import SqlStudyStore
from services.triage.errors import Reason
from services.triage.finding import Outcome
from tests.support.records import analyse, complete_study, lease_next, lesion, one_job


def test_a_job_is_told_the_lesions_of_earlier_results_each_as_the_newest_has_it(store: SqlStudyStore) -> None:
    gone, stays = lesion(1), lesion(2)
    grown = replace(stays, long_axis_mm=25.0, frame_of_reference_uid="2.25.77")
    analyse(store, lesions=(gone, stays))
    analyse(store, at=100, number=2, lesions=(grown,))
    complete_study(store, number=3, at=200)
    _, job = lease_next(store, at=220)
    assert set(job.earlier_lesions) == {gone, grown}


def test_an_earlier_result_that_failed_hides_no_lesions(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(),))
    analyse(store, at=100, number=2, outcome=Outcome.FAILED, score=None, reason=Reason(code="broken", text="broken"))
    complete_study(store, number=3, at=200)
    _, job = lease_next(store, at=220)
    assert job.earlier_lesions == (lesion(),)


def test_another_models_lesions_are_not_told(store: SqlStudyStore) -> None:
    analyse(store, lesions=(lesion(),))
    complete_study(store, number=2, at=100, plan=one_job(model="liver"))
    _, job = lease_next(store, at=120)
    assert job.earlier_lesions == ()
