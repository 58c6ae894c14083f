"""Lesions keep their identity from result to result."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.lesion import Lesion
from services.triage.tracking import keep_identities
from tests.support.records import lesion

FRAME = "2.25.77"
EARLIER, NOW = "2.25.1000", "2.25.2000"


def at(*x_mm: float, uids: str = NOW, frame: str = FRAME, **attributes: object) -> list[Lesion]:
    """Lesions of 20 mm on a line, numbered in their order."""
    return [
        replace(
            lesion(number),
            tracking_uid=f"{uids}{number}",
            centroid_lps_mm=(x, 0.0, 0.0),
            frame_of_reference_uid=frame,
            **attributes,
        )
        for number, x in enumerate(x_mm, start=1)
    ]


def identities(lesions: tuple[Lesion, ...]) -> list[tuple[str, str]]:
    return [(each.tracking_uid, each.label) for each in lesions]


def test_a_lesion_that_stays_keeps_uid_and_label_whatever_its_number():
    kept = keep_identities(at(100, 3), at(0, 101, uids=EARLIER))

    assert identities(kept) == [(f"{EARLIER}2", "Lesion 2"), (f"{EARLIER}1", "Lesion 1")]
    assert [each.number for each in kept] == [1, 2]


def test_a_new_lesion_has_its_own_uid_and_a_label_that_no_other_has_had():
    kept = keep_identities(at(0, 50, 100), at(100, 300, uids=EARLIER))

    assert identities(kept) == [(f"{NOW}1", "Lesion 3"), (f"{NOW}2", "Lesion 4"), (f"{EARLIER}1", "Lesion 1")]


def test_without_an_earlier_result_nothing_changes():
    assert keep_identities(at(0, 50), ()) == tuple(at(0, 50))


@pytest.mark.parametrize(("moved_mm", "same"), [(10.0, True), (10.1, False)])
def test_half_the_long_axis_is_as_far_as_one_lesion_may_move(moved_mm, same):
    (kept,) = keep_identities(at(moved_mm), at(0, uids=EARLIER))

    assert (kept.tracking_uid == f"{EARLIER}1") is same


def test_the_larger_of_the_two_says_how_far():
    (kept,) = keep_identities(at(24), at(0, uids=EARLIER, long_axis_mm=50.0))

    assert kept.tracking_uid == f"{EARLIER}1"


def test_of_two_parts_of_an_earlier_lesion_the_nearer_one_keeps_its_uid():
    kept = keep_identities(at(-6, 4), at(0, uids=EARLIER))

    assert [each.tracking_uid for each in kept] == [f"{NOW}1", f"{EARLIER}1"]


def test_a_vanished_lesions_uid_is_not_handed_to_its_neighbour():
    """The pairing with the most matches would take 0 for 9 and 9 for 18."""
    kept = keep_identities(at(9, 18), at(0, 9, uids=EARLIER))

    assert [each.tracking_uid for each in kept] == [f"{EARLIER}2", f"{NOW}2"]


@pytest.mark.parametrize("frame", ["2.25.78", ""])
def test_places_in_two_frames_of_reference_are_not_compared(frame):
    (kept,) = keep_identities(at(0, frame=frame), at(0, uids=EARLIER))

    assert kept.tracking_uid == f"{NOW}1"


def test_an_unnamed_frame_of_reference_is_not_the_same_as_another():
    (kept,) = keep_identities(at(0, frame=""), at(0, uids=EARLIER, frame=""))

    assert kept.tracking_uid == f"{NOW}1"


def test_a_lesion_of_another_class_is_another():
    (kept,) = keep_identities(at(0), at(0, uids=EARLIER, class_value=2))

    assert kept.tracking_uid == f"{NOW}1"


places = st.lists(st.floats(-100, 100), max_size=8)


@given(now=places, before=places)
def test_no_identity_is_ever_given_twice(now, before):
    kept = keep_identities(at(*now), at(*before, uids=EARLIER))

    assert len({each.tracking_uid for each in kept}) == len({each.label for each in kept}) == len(now)


@given(before=st.lists(st.integers(-100, 100), max_size=8, unique=True), shuffled=st.randoms())
def test_the_same_lesions_in_any_order_are_the_same(before, shuffled):
    earlier = at(*before, uids=EARLIER)
    again = [replace(each, tracking_uid=f"{NOW}{each.number}") for each in earlier]
    shuffled.shuffle(again)

    kept = keep_identities(again, earlier)

    assert {(each.tracking_uid, each.centroid_lps_mm) for each in kept} == {
        (each.tracking_uid, each.centroid_lps_mm) for each in earlier
    }
