"""Which studies the default rules claim, and which series is chosen."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backends.routing_file import load_rules
from services.triage.job import OrderPriority
from services.triage.routing import Rule, order_priority, plan, plan_for_model
from services.triage.study import Instance, InstanceHeader, Series, Stack, StudyAttributes
from services.triage.traits import fold

RULES = load_rules(Path("models/routing.toml"))
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
CT_STORAGE, ENHANCED_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"


def series(uid="1.1", *, slices=60, gap_mm=2.0, study="", skip=(), **attributes) -> Series:
    """One classic series; attributes are those of `InstanceHeader`."""
    told = {
        "sop_class_uid": CT_STORAGE,
        "modality": "CT",
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "rows": 512,
        "columns": 512,
        "photometric_interpretation": "MONOCHROME2",
        "has_pixel_data": True,
        "slice_thickness_mm": gap_mm,
        "pixel_spacing_mm": (0.7, 0.7),
        "image_orientation_patient": AXIAL,
        "series_number": 2,
    } | attributes
    normal = (0, 1, 0) if told["image_orientation_patient"] == CORONAL else (0, 0, 1)
    instances = [
        Instance(
            header=InstanceHeader(
                sop_instance_uid=f"{uid}.{index}",
                series_instance_uid=uid,
                study_instance_uid="1",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                image_position_patient=tuple(float(axis * index * gap_mm) for axis in normal),
                **told,
            ),
            study=StudyAttributes(study_instance_uid="1", study_description=study),
            digest=f"{index:064x}",
        )
        for index in range(slices)
        if index not in skip
    ]
    return Series(series_instance_uid=uid, instances=tuple(instances))


def chosen(*study: Series) -> str | None:
    planned = plan(study, RULES)
    assert planned.out_of_scope is None
    return planned.jobs[0].series_instance_uid


def codes(*study: Series) -> dict[str, str]:
    (job,) = plan(study, RULES).jobs
    return {refused.series_instance_uid: refused.reason.code for refused in job.refused_series}


@pytest.mark.parametrize(
    "told",
    [
        {"body_part_examined": "CHEST"},
        {"body_part_examined": "Thorax "},
        {"series_description": "CT_THORAX 1.0 I70f"},
        {"series_description": "Poumon 1.25mm"},
        {"series_description": "TÓRAX SIN CONTRASTE"},
        {"series_description": "Lung 1.5 B60s"},
        {"series_description": "Lunge axial"},
        {"series_description": "TAP 3mm portal"},
        {"protocol_name": "CAP_routine"},
        {"protocol_name": "CTPA"},
        {"study": "TC torace ad alta risoluzione"},
        {"study": "Angio pulmonaire", "body_part_examined": "ABDOMEN"},
        {"series_description": "CT Chest Abdomen Pelvis", "body_part_examined": "ABDOMEN"},
        {"series_description": "Scanner thoraco-abdomino-pelvien"},
    ],
    ids=str,
)
def test_a_chest_ct_is_claimed(told):
    assert chosen(series(**told)) == "1.1"


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"series_description": "Axial 2mm", "study": "CT"},
        {"body_part_examined": "ABDOMEN"},
        {"series_description": "Abdomen portal 3mm"},
        {"body_part_examined": "HEAD"},
        {"series_description": "Head 5mm", "study": "CT brain"},
        {"body_part_examined": "HEAD", "study": "CT head and chest"},
        {"series_description": "Brain 1mm", "study": "CT head and chest"},
        {"series_description": "Thoracic spine 2mm"},
        {"series_description": "T-spine", "study": "CT thorax and spine"},
        {"study": "Rachis thoracique"},
        {"series_description": "Abdomen", "body_part_examined": "CHEST"},
        {"body_part_examined": "CHEST", "modality": "MR"},
        {"body_part_examined": "CHEST", "modality": "SR", "has_pixel_data": False},
        {"body_part_examined": "CHEST", "manufacturer": "Vigie"},
    ],
    ids=str,
)
def test_any_other_study_is_out_of_scope(told):
    planned = plan([series(**told)], RULES)
    assert planned.jobs == ()
    assert planned.out_of_scope is not None
    assert planned.out_of_scope.code == "no_rule"


def test_a_study_without_series_is_out_of_scope():
    assert plan([], RULES).out_of_scope is not None


CHEST = {"body_part_examined": "CHEST"}
UNSUITABLE = {
    "wrong_orientation": {"image_orientation_patient": CORONAL},
    "too_few_slices": {"slices": 8},
    "too_thick": {"gap_mm": 8.0},
    "not_grayscale": {"photometric_interpretation": "RGB"},
    "not_slices": {"image_type": ("DERIVED", "PRIMARY", "MIP")},
    "secondary_capture": {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"},
}


@pytest.mark.parametrize(("code", "told"), UNSUITABLE.items(), ids=UNSUITABLE)
def test_a_claimed_study_without_a_suitable_series_says_why(code, told):
    (job,) = plan([series(**CHEST | told)], RULES).jobs
    assert job.series_instance_uid is None
    assert job.refusal is not None
    assert job.refusal.code == "no_suitable_series"
    assert [refused.reason.code for refused in job.refused_series] == [code]


@pytest.mark.parametrize(
    "told",
    [
        {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")},
        {"series_description": "Chest Topogram 0.6"},
        {"series_description": "Chest scout"},
        {"series_description": "MIP lung 8x2"},
        {"series_description": "Dose Report chest"},
    ],
    ids=str,
)
def test_what_is_no_stack_of_slices_is_never_a_candidate(told):
    assert codes(series("1.1"), series("1.2", **CHEST | told), series("1.3", **CHEST))["1.2"] == "not_slices"


def test_thin_gaps_between_thick_slices_or_thin_slices_far_apart_are_both_thick():
    assert codes(series(**CHEST | {"gap_mm": 10.0, "slice_thickness_mm": 1.0})) == {"1.1": "too_thick"}
    assert codes(series(**CHEST | {"gap_mm": 2.0, "slice_thickness_mm": 10.0})) == {"1.1": "too_thick"}


PREFERRED = {
    "own word before the study's": ({}, {"body_part_examined": "", "gap_mm": 1.0, "slices": 200}),
    "whole before a thin slab": ({"gap_mm": 3.0}, {"gap_mm": 0.6, "slices": 60}),
    "regular before one with a hole": ({"gap_mm": 2.1}, {"skip": (30,)}),
    "original before derived": ({}, {"image_type": ("DERIVED", "PRIMARY", "AXIAL"), "gap_mm": 1.0, "slices": 120}),
    "primary before secondary": ({}, {"image_type": ("ORIGINAL", "SECONDARY"), "gap_mm": 1.0, "slices": 120}),
    "thin before thick": ({"gap_mm": 1.0, "slices": 120}, {"gap_mm": 5.0, "slices": 24}),
    "more slices": ({"slices": 62}, {}),
    "lower series number": ({"series_number": 3}, {"series_number": 11}),
    "any number before none": ({"series_number": 9}, {"series_number": None}),
}


@pytest.mark.parametrize(("better", "worse"), PREFERRED.values(), ids=PREFERRED)
def test_the_better_series_is_chosen(better, worse):
    study = {"study": "CT chest"}
    good, bad = series("1.9", **CHEST | study | better), series("1.1", **CHEST | study | worse)
    assert chosen(good, bad) == chosen(bad, good) == "1.9"


@given(order=st.permutations(range(4)))
def test_the_choice_does_not_depend_on_the_order_of_arrival(order):
    candidates = [series(f"1.{number}", slices=20, **CHEST) for number in range(4)]
    assert chosen(*(candidates[index] for index in order)) == "1.0"


def multi_frame(uid: str, *, frames: int, stack: Stack | None, **attributes: object) -> Series:
    """One enhanced object."""
    told = {"sop_class_uid": ENHANCED_CT_STORAGE, "number_of_frames": frames, "frames": stack}
    return series(uid, slices=1, **CHEST | told | attributes)


def test_phases_in_one_object_cover_no_more_than_one_of_them():
    good = series("1.9", slices=300, gap_mm=1.0, **CHEST)
    perfusion = multi_frame("1.1", frames=20 * 8, gap_mm=5.0, stack=Stack(places=8, gap_mm=5.0, length_mm=40.0))
    whole_chest = multi_frame("1.2", frames=4 * 300, gap_mm=1.0, stack=Stack(places=300, gap_mm=1.0, length_mm=300.0))
    read_by_an_earlier_version = multi_frame("1.3", frames=160, gap_mm=5.0, stack=None)
    for other in (perfusion, whole_chest, read_by_an_earlier_version):
        assert chosen(good, other) == chosen(other, good) == "1.9"
        assert chosen(other) == other.series_instance_uid


def test_phases_in_objects_of_their_own_cover_no_more_than_one_of_them():
    phase = multi_frame("1.1", frames=300, gap_mm=1.0, stack=Stack(places=300, gap_mm=1.0, length_mm=300.0))
    (one,) = phase.instances
    phases = replace(phase, instances=(one, replace(one, digest="2"), replace(one, digest="3")))
    assert chosen(phases, series("1.9", slices=200, gap_mm=1.5, **CHEST)) == "1.9"


def test_one_volume_in_one_object_is_as_good_as_in_many():
    whole = multi_frame("1.9", frames=300, gap_mm=1.0, stack=Stack(places=300, gap_mm=1.0, length_mm=300.0))
    assert chosen(whole, series("1.1", slices=40, gap_mm=1.0, **CHEST)) == "1.9", "before a slab"
    assert chosen(whole, series("1.1", slices=60, gap_mm=5.0, **CHEST)) == "1.9", "before thick slices"
    assert chosen(whole, series("1.1", slices=300, gap_mm=1.0, skip=(30,), **CHEST)) == "1.9", "before one with a hole"


def test_a_series_that_is_no_grid_is_still_chosen_when_it_is_the_only_one():
    assert chosen(series(skip=(30,), **CHEST)) == "1.1"  # the loader tells why not, by its own code


def test_each_model_gets_one_job_from_its_first_claiming_rule():
    chest = RULES[0]
    rules = (chest, replace(chest, name="again", min_slices=3), replace(chest, name="other", model_name="second"))
    jobs = plan([series(**CHEST)], rules).jobs
    assert [job.model_name for job in jobs] == [chest.model_name, "second"]


def test_contrast_manufacturer_and_image_type_can_be_asked_for():
    rule = replace(RULES[0], contrast=True)
    assert plan([series(**CHEST)], [rule]).jobs[0].refused_series[0].reason.code == "wrong_contrast"
    assert plan([series(contrast_bolus_agent="X", **CHEST)], [rule]).jobs[0].series_instance_uid
    assert not plan([series(contrast_bolus_agent="NONE", **CHEST)], [rule]).jobs[0].series_instance_uid
    assert plan([series(series_description="Chest C+", **CHEST)], [rule]).jobs[0].series_instance_uid
    rule = replace(RULES[0], image_types=frozenset({"HELICAL"}))
    assert plan([series(**CHEST)], [rule]).jobs[0].refused_series[0].reason.code == "wrong_image_type"
    rule = replace(RULES[0], max_slices=40)
    assert plan([series(**CHEST)], [rule]).jobs[0].refused_series[0].reason.code == "too_many_slices"


def test_a_model_asked_for_by_name_gets_the_best_series_whatever_the_body_part():
    thin = series("1.3", gap_mm=1.0, slices=120)
    (job,) = plan_for_model([series("1.2"), thin, series("1.4", modality="MR")], "m", "CT").jobs
    assert job.series_instance_uid == "1.3"
    assert [refused.series_instance_uid for refused in job.refused_series] == ["1.4"]


def test_a_model_asked_for_by_name_without_a_series_of_its_modality_says_so():
    (job,) = plan_for_model([series(modality="MR")], "m", "CT").jobs
    assert job.refusal is not None
    assert job.refusal.code == "no_suitable_series"


def test_the_most_urgent_priority_of_request_rules_and_senders_counts():
    rules = [
        Rule(name="a", model_name="m", modalities=frozenset({"CT"}), order_priority=OrderPriority.HIGH),
        Rule(name="b", model_name="m", modalities=frozenset({"CT"}), order_priority=OrderPriority.STAT),
        Rule(name="c", model_name="n", modalities=frozenset({"CT"})),
    ]
    assert order_priority(plan_for_model([], "m", "CT"), rules, []) == (OrderPriority.STAT, "rule b")
    unruled = plan_for_model([], "n", "CT")
    assert order_priority(unruled, rules, []) == (OrderPriority.ROUTINE, "")
    senders = {"CT1": OrderPriority.ROUTINE, "CT_ER": OrderPriority.HIGH}
    assert order_priority(unruled, rules, [], senders) == (OrderPriority.HIGH, "ae CT_ER")
    for asked, priority in (("STAT", 0), ("stat", 0), ("HIGH", 1), ("ROUTINE", 2), ("MEDIUM", 2), ("LOW", 2), ("?", 2)):
        instances = series(requested_procedure_priority=asked).instances
        assert order_priority(unruled, rules, instances) == (priority, "" if priority == 2 else "order"), asked


def test_no_reason_names_anything_of_the_patient():
    study = series(study="CT Chest of Mr Secret", **CHEST | {"slices": 5})
    (job,) = plan([study], RULES).jobs
    assert "Secret" not in repr(job)


@given(st.text())
def test_folded_text_is_stable(text):
    assert fold(fold(text)) == fold(text)
