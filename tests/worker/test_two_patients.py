"""A study whose images are of two patients: no model looks, nothing reaches a record, and everybody can see it."""

import pytest

from services.backends.store import ShownState
from services.triage.finding import Outcome
from services.triage.identity import TWO_PATIENTS
from tests.support.house import House, chest_with_ball
from tests.support.segmenter import BrightSegmenter


def of_two_patients(*, other: str = "SECRET-2", **attributes):
    series = chest_with_ball(PatientID="SECRET-1", **attributes)
    for image in series[15:]:
        image.PatientID = other
    return series


@pytest.fixture
def house(tmp_path):
    return House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))


def test_it_is_not_analysed_and_nothing_is_written_for_the_pacs(house):
    uid = house.take_in(of_two_patients())
    segmenter = BrightSegmenter()
    house.work(segmenter)
    result = house.result(uid)
    assert segmenter.calls == 0
    assert (result.outcome, result.reason.code) == (Outcome.NOT_ANALYSED, TWO_PATIENTS)
    assert (result.objects, result.deliveries) == ((), ())


def test_the_work_list_and_the_study_say_so_without_the_ids_in_the_reason(house):
    uid = house.take_in(of_two_patients())
    house.work()
    (row,) = house.store.board.work_list()
    assert (row.state, row.reason.code) == (ShownState.NOT_ANALYSED, TWO_PATIENTS)
    assert "SECRET" not in row.reason.text
    detail = house.store.board.study(uid)
    assert [(one.patient_id, one.image_count) for one in detail.patients] == [("SECRET-1", 15), ("SECRET-2", 5)]


def test_nothing_of_the_two_is_logged(house, capfd):
    house.take_in(of_two_patients())
    house.work()
    assert "SECRET" not in "".join(capfd.readouterr())
