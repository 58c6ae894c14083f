"""Which objects of a result go where, whatever destinations take."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from services.triage.result import (
    LABEL_MAP_STORAGE,
    Destination,
    ObjectKind,
    kind_of,
    kinds_of,
    segmentations_for,
    taken_by,
)

SEG, SR, SC = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"
CLASSES = {ObjectKind.SEG: SEG, ObjectKind.LABELMAP: LABEL_MAP_STORAGE}
ONE_FORM = st.tuples(
    st.sampled_from([None, ObjectKind.SEG, ObjectKind.LABELMAP]),
    st.sets(st.sampled_from([ObjectKind.SR, ObjectKind.GSPS, ObjectKind.SC, ObjectKind.KOS])),
).map(lambda chosen: frozenset(chosen[1] | ({chosen[0]} if chosen[0] else set())))


def destination(kinds: frozenset[ObjectKind]) -> Destination:
    return Destination(name=str(sorted(kinds)), kind="folder", address="/out", objects=kinds)


def written(forms: tuple[ObjectKind | None, ...], *, lesions: bool) -> list[tuple[str, ObjectKind | None]]:
    """(SOP Class UID, `names`) of a result in these forms."""
    if not lesions:
        return [(SR, None)]
    objects: list[tuple[str, ObjectKind | None]] = []
    for form in forms:
        objects += [(CLASSES[form], None)] if form else []
        objects += [(SR, form)] if form is not ObjectKind.LABELMAP else []
    return [*objects, (SC, None)]


@given(wanted=st.lists(ONE_FORM, min_size=1, max_size=4), lesions=st.booleans())
def test_whoever_takes_reports_gets_one_and_it_names_no_segmentation_that_does_not_come(
    wanted: list[frozenset[ObjectKind]], lesions: bool
) -> None:
    objects = written(segmentations_for(map(destination, wanted)), lesions=lesions)
    for kinds in wanted:
        taken = [one for one, goes in zip(objects, taken_by(kinds, objects), strict=True) if goes]
        came = kinds_of(sop_class_uid for sop_class_uid, _ in taken)
        assert set(came) <= kinds
        named = [names for sop_class_uid, names in taken if kind_of(sop_class_uid) is ObjectKind.SR]
        assert len(named) == (ObjectKind.SR in kinds)
        assert all(names in (None, *came) for names in named)
        assert not lesions or kinds & {ObjectKind.SEG, ObjectKind.LABELMAP, ObjectKind.SC} <= set(came)


def test_a_form_that_nobody_takes_is_not_written() -> None:
    for with_label_map, with_none in product([True, False], repeat=2):
        kinds = [frozenset({ObjectKind.SEG, ObjectKind.SR}), frozenset({ObjectKind.SC})]
        kinds += [frozenset({ObjectKind.LABELMAP})] * with_label_map
        kinds += [frozenset({ObjectKind.SR})] * with_none
        expected = [ObjectKind.SEG, *[ObjectKind.LABELMAP] * with_label_map, *[None] * with_none]
        assert list(segmentations_for(map(destination, kinds))) == expected


def test_who_chose_otherwise_after_the_lesions_were_segmented_still_gets_a_report() -> None:
    """Written again for a corrected patient: the report under the wrong one must not stay the last."""
    for forms in ([ObjectKind.SEG], [ObjectKind.SEG, ObjectKind.LABELMAP]):
        objects = written(tuple(forms), lesions=True)
        taken = [one for one, goes in zip(objects, taken_by({ObjectKind.SR}, objects), strict=True) if goes]
        assert taken == [(SR, ObjectKind.SEG)]


def test_a_report_from_before_its_segmentation_was_noted_goes_wherever_reports_go() -> None:
    before = [(SEG, None), (SR, None)]
    assert taken_by({ObjectKind.SEG, ObjectKind.SR}, before) == [True, True]
    assert taken_by({ObjectKind.LABELMAP, ObjectKind.SR}, before) == [False, True]
