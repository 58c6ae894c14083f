"""Every outcome's objects before every validator: `make objects` writes docs/measurements/objects.md.

    .venv/bin/python -m benchmarks.objects [--write docs/measurements/objects.md]

Validators, none of them ours: dciodvfy (dicom3tools; IOD), PixelMed's DicomSRValidator (template TID 1500), dsrdump and
dcmpschk (dcmtk; a second reader), dcentvfy (dicom3tools; are patient, study and series told alike by all objects).
Every object also goes to Orthanc by C-STORE, is found there by C-FIND and fetched by C-MOVE (findscu, movescu).
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from highdicom.seg import segread
from pydicom import dcmread
from rich.console import Console
from rich.progress import track

from services.backends.part10 import digest
from services.backends.rejection_note import write_rejection_note
from services.backends.senders import CStoreSender
from services.triage.finding import Outcome
from services.triage.result import ObjectKind, kind_of
from services.worker.report.naming import named_by
from services.worker.report.reidentify import reidentify
from tests.support.ct import ct_series, write_series
from tests.support.lesion_case import a_model
from tests.support.orthanc import orthanc
from tests.support.query_retrieve import Viewer, viewer
from tests.support.reports import EVERY_FORM, NOW, saved, written
from tests.support.validators import dcentvfy, dciodvfy, dcmpschk, dsrdump, pixelmed


def highdicom(path: Path) -> list[str]:
    """Whether highdicom reads a label map, whose SOP class dciodvfy does not know, and all its values are segments."""
    seg = segread(path)
    return [f"{value} is no segment" for value in set(np.unique(seg.pixel_array)) - {0, *seg.segment_numbers}]


JUDGES: dict[ObjectKind, tuple[Callable[[Path], list[str]], ...]] = {
    ObjectKind.SEG: (dciodvfy,),
    ObjectKind.LABELMAP: (highdicom,),
    ObjectKind.SR: (dciodvfy, dsrdump, pixelmed),
    ObjectKind.KOS: (dciodvfy, dsrdump),
    ObjectKind.GSPS: (dciodvfy, dcmpschk),
    ObjectKind.SC: (dciodvfy,),
}


def results(sources: list[Path], folder: Path) -> Iterable[tuple[str, list[Path], Path]]:
    """(situation, files, a source image) of each outcome on one CT series, and of what may become of a result."""
    for outcome in Outcome:
        forms = EVERY_FORM if outcome is Outcome.FOUND else (ObjectKind.SEG,)
        yield outcome.value, written(outcome, sources, folder / outcome.value, segmentations=forms).paths, sources[0]
    found = [dcmread(path) for path in sorted(folder.glob(f"{Outcome.FOUND.value}/*.dcm"))]
    reports = [each for each in found if each.Modality == "SR"]
    again = written(Outcome.NOTHING_FOUND, sources, folder / "again", predecessors=reports).paths
    yield "nothing_found, replacing found", again, sources[0]
    note = write_rejection_note(found, model=a_model().identity, reason="of another patient", now=NOW)
    yield "found, recalled: the rejection note", saved([note], folder / "recalled"), sources[0]
    corrected = dcmread(sources[0])
    corrected.PatientName, corrected.PatientID = "Roe^Jane", "CORRECTED-1"
    corrected.save_as(folder / "corrected.dcm", enforce_file_format=True)
    moved = reidentify(found, header=corrected, predecessors=deepcopy(reports), now=NOW)  # changes what it is given
    yield "found, under corrected patient data", saved(moved, folder / "moved"), folder / "corrected.dcm"


def named(kind: ObjectKind, path: Path) -> str:
    """The kind of an object, and of a report the kind of Segmentation that it refers to."""
    on = named_by(dcmread(path)) if kind is ObjectKind.SR else None
    return f"{kind.upper()} on {on.upper()}" if on else kind.upper()


def warnings(path: Path) -> int:
    """How many warnings dciodvfy has."""
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False)  # noqa: S603, S607
    return sum(line.startswith("Warning") for line in (told.stdout + told.stderr).splitlines())


def fetched(paths: list[Path], asking: Viewer) -> dict[Path, str]:
    """What a viewer has of each object, once all of them were stored in its PACS."""
    objects = {path: dcmread(path, stop_before_pixels=True) for path in paths}
    files = [(each.SOPClassUID, each.SOPInstanceUID, path) for path, each in objects.items()]
    CStoreSender(asking.pacs.address, "VIGIE").send(files)
    series = {(each.StudyInstanceUID, each.Modality, each.SeriesInstanceUID) for each in objects.values()}
    found = {
        uid
        for study, modality, uid in series
        if uid in {s.SeriesInstanceUID for s in asking.find_series(study, modality)}
    }
    came = {digest(path.read_bytes()) for study, _, uid in series for path in asking.move_series(study, uid)}
    answers = {}
    for path, each in objects.items():
        moved = "the frozen bytes" if digest(path.read_bytes()) in came else "NOT as frozen"
        answers[path] = f"found, {moved}" if each.SeriesInstanceUID in found else f"NOT found, {moved}"
    return answers


def judged(situation: str, paths: list[Path], source: Path, asking: Viewer) -> list[str]:
    """Rows of the table: one per object, one for all of them together."""
    rows, have = [], fetched(paths, asking)
    for path in paths:
        kind = kind_of(dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID)
        found = {judge.__name__: len(judge(path)) for judge in JUDGES[kind]}
        told = ", ".join(f"{name} {count}" for name, count in found.items())
        warned = str(warnings(path)) if dciodvfy in JUDGES[kind] else ""
        rows.append(f"| {situation} | {named(kind, path)} | {told} | {warned} | {have[path]} |")
    together = len(dcentvfy([source, *paths]))
    return [*rows, f"| {situation} | all, beside the CT | dcentvfy {together} | | |"]


def main() -> None:
    """Write, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        orthanc(Path(folder) / "pacs", unknown_sop_classes=True) as pacs,
        viewer(pacs, Path(folder) / "viewer") as asking,
    ):
        sources = write_series(ct_series(slices=14, rows=48, columns=40), Path(folder) / "source")
        console = Console(stderr=True)
        cases = track(list(results(sources, Path(folder))), "validators", console=console)
        rows = [row for case in cases for row in judged(*case, asking)]
    text = PAGE.format(date=datetime.now(UTC).date(), rows="\n".join(rows))
    if arguments.write:
        arguments.write.write_text(text)
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


PAGE = """\
# The objects of every outcome, and what validators say of them

Made again by `make objects` (last: {date}). Errors by validator, and dciodvfy's warnings. dciodvfy and dcentvfy are
dicom3tools, dsrdump and dcmpschk dcmtk, pixelmed is PixelMed's DicomSRValidator on TID 1500. Each object was sent to
Orthanc by C-STORE; a viewer (dcmtk) then looked for its series by C-FIND (study and modality), and had it sent to it by
C-MOVE. dciodvfy does not know Label Map Segmentation Storage; highdicom reads it and finds every value described.
Orthanc 1.10 takes that class by STOW-RS, by C-STORE only with `"UnknownSopClassAccepted": true`, which it has here.

| situation | object | errors | warnings | C-FIND, C-MOVE |
|---|---|---|---|---|
{rows}
"""


if __name__ == "__main__":
    main()
