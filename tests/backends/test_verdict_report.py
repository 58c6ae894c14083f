"""The document of a reader's verdicts, judged by validators that are not ours; and what it says."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from services.backends.verdict_report import Subject, Verification, write_verdicts
from services.backends.verdict_report.tree import pn
from services.triage.finding import Outcome
from services.triage.result import ObjectKind
from services.triage.verdict import Answer
from tests.support.ct import ct_series, write_series
from tests.support.reports import Written, written
from tests.support.validators import dcentvfy, dciodvfy, dsrdump, pixelmed
from tests.support.verdicts import GIVEN, every_answer, reference_to, subject_of


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_series(ct_series(slices=14, rows=48, columns=40), tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def result(source: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(
        Outcome.FOUND, source, tmp_path_factory.mktemp("result") / "objects", segmentations=(ObjectKind.SEG, None)
    )


@pytest.fixture(scope="module")
def subject(result: Written, source: list[Path]) -> Subject:
    return subject_of(result, source, every_answer(result, source))


def saved(subject: Subject, folder: Path) -> Path:
    path = folder / "verdicts.dcm"
    path.write_bytes(write_verdicts(subject).content)
    return path


def of_kinds(subject: Subject) -> dict[str, Subject]:
    of_study = [one for one in subject.verdicts if one.tracking_uid is None]
    verified = Verification(at=GIVEN, organization="St Elsewhere")
    first = reference_to(dcmread_bytes(write_verdicts(subject).content))
    return {
        "every answer": subject,
        "the study alone, verified": replace(subject, verdicts=of_study, verification=verified),
        "all taken back": replace(subject, verdicts=(), predecessor=first),
    }


def dcmread_bytes(content: bytes) -> Dataset:
    return dcmread(BytesIO(content))


def items(data_set: Dataset) -> Iterator[Dataset]:
    for item in data_set.get("ContentSequence", []):
        yield item
        yield from items(item)


def coded(data_set: Dataset, name: str) -> list[str]:
    """The codes that items of this concept have."""
    found = [one for one in items(data_set) if one.ConceptNameCodeSequence[0].CodeValue == name]
    return [one.ConceptCodeSequence[0].CodeValue for one in found]


def test_every_kind_is_valid_and_tells_patient_and_study_as_its_sources(
    subject: Subject, source: list[Path], result: Written, tmp_path: Path
) -> None:
    for kind, one in of_kinds(subject).items():
        path = saved(one, tmp_path)
        judged = dciodvfy(path) + dsrdump(path) + dcentvfy([source[0], *result.paths, path])
        assert judged == [], kind


@pytest.mark.slow
def test_the_document_keeps_to_its_template(subject: Subject, tmp_path: Path) -> None:
    kinds = of_kinds(subject)
    for kind in ("every answer", "all taken back"):  # it takes ten seconds each
        assert pixelmed(saved(kinds[kind], tmp_path)) == [], kind


def test_each_answer_stands_by_its_lesion_with_the_identity_that_the_ai_gave_it(
    subject: Subject, result: Written
) -> None:
    document = dcmread_bytes(write_verdicts(subject).content)
    measurements = next(one for one in document.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == "126010")
    told = [
        (next(one.UID for one in group.ContentSequence if one.ValueType == "UIDREF"), coded(group, "answer")[0])
        for group in measurements.ContentSequence
    ]
    expected = [(one.tracking_uid, one.answer) for one in subject.verdicts if one.tracking_uid]
    assert told == [(uid, answer.value) for uid, answer in expected]
    assert coded(document, "own-assessment") == ["373068000"]
    assert set(coded(document, "reason")) == {"59820001", "missed"}


def test_what_it_refers_to_is_named_as_evidence_and_is_the_ais(subject: Subject, result: Written) -> None:
    document = dcmread_bytes(write_verdicts(subject).content)
    named = {
        reference.ReferencedSOPInstanceUID
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    used = {each.ReferencedSOPInstanceUID for item in items(document) for each in item.get("ReferencedSOPSequence", [])}
    assert named == used
    assert str(dcmread(result.reports[0]).SOPInstanceUID) in named
    assert str(dcmread(result.of("SEG")[0]).SOPInstanceUID) in named


def test_only_who_has_shown_who_they_are_verifies(subject: Subject) -> None:
    kinds = {kind: dcmread_bytes(write_verdicts(one).content) for kind, one in of_kinds(subject).items()}
    flags = {kind: (one.CompletionFlag, one.VerificationFlag) for kind, one in kinds.items()}
    assert flags == {
        "every answer": ("COMPLETE", "UNVERIFIED"),
        "the study alone, verified": ("COMPLETE", "VERIFIED"),
        "all taken back": ("COMPLETE", "UNVERIFIED"),
    }
    (observer,) = kinds["the study alone, verified"].VerifyingObserverSequence
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == (pn(subject.reader), "St Elsewhere")


def test_with_everything_taken_back_it_says_so_and_names_the_document_before(subject: Subject) -> None:
    document = dcmread_bytes(write_verdicts(of_kinds(subject)["all taken back"]).content)
    assert coded(document, "answer") == ["none"]
    assert "PredecessorDocumentsSequence" in document
    assert "CurrentRequestedProcedureEvidenceSequence" not in document


def test_each_document_has_uids_of_its_own(subject: Subject) -> None:
    uids = [
        (one.sop_instance_uid, one.series_instance_uid) for one in (write_verdicts(subject), write_verdicts(subject))
    ]
    assert len({uid for pair in uids for uid in pair}) == 4


@pytest.mark.parametrize(
    ("name", "written_as"),
    [("Dr A", "Dr A"), ("Lovelace^Ada", "Lovelace Ada"), ("a\\b=c\n", "a b c"), ("x" * 80, "x" * 64)],
)
def test_a_readers_name_is_written_as_one_component(name: str, written_as: str) -> None:
    assert pn(name) == written_as


def test_an_answer_to_a_study_without_an_ai_result_is_told_too(subject: Subject) -> None:
    added = [one for one in subject.verdicts if one.answer is Answer.ADD]
    alone = [replace(one, result_id=None) for one in added]
    document = dcmread_bytes(write_verdicts(replace(subject, verdicts=alone, assessed={})).content)
    assert coded(document, "answer") == ["add"]
