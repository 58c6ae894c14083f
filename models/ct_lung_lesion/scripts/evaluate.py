"""Run weights over studies through the very code that serves them, and write down what was found.

    python evaluate.py phantoms --held-out DIR --records phantoms.json
    python evaluate.py real --archive pyradiomics-3.0.1.tar.gz --case lung1 --weights without_lung1.pt ...
    python evaluate.py dicom --folder SERIES_DIR --records abdomen.json        (a series without lung lesion)

A record holds, for each study, every candidate (score, volume, how it overlaps the truth) and every true lesion (size,
kind, Dice). No threshold on the score is applied here: summarise.py does that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import cc3d
import numpy as np
import torch
from bundle import ROOT
from real_background import NAMES, read_case

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.runner import BundleRunner
from services.evaluation.compare import hits_of
from services.triage.volume import SliceSource, Volume
from services.worker.lesions import find_candidates

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def as_volume(hu: np.ndarray, spacing_mm, origin_mm=(0.0, 0.0, 0.0)) -> Volume:
    """An axial volume [slice, row, column] in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, spacing_mm[2]], [0, spacing_mm[1], 0], [spacing_mm[0], 0, 0]])
    affine[:3, 3] = origin_mm[::-1]
    sources = tuple(
        SliceSource(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=f"2.25.{n + 1}") for n in range(len(hu))
    )
    return Volume(
        voxels=np.ascontiguousarray(hu),
        affine=affine,
        modality="CT",
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        frame_of_reference_uid="2.25.3",
        sources=sources,
    )


class Judge:
    """One set of weights in the bundle, and the comparison of its candidates with the truth."""

    def __init__(self, weights: Path | None, scratch: Path):
        bundle = scratch / ROOT.name
        shutil.copytree(ROOT / "configs", bundle / "configs")
        (bundle / "models").mkdir()
        shutil.copy(weights or ROOT / "models" / "model.pt", bundle / "models" / "model.pt")
        self.model = Catalogue(scratch).get(ROOT.name)
        self.runner = BundleRunner(bundle, self.model)

    def study(self, name: str, volume: Volume, truth: np.ndarray, lesions: list[dict], **facts) -> dict:
        """`truth` numbers the lesions from 1; `lesions` describes each by its `id`."""
        began = time.monotonic()
        segmentation = self.runner.run(volume)
        found = find_candidates(segmentation, volume, self.model)
        seconds = time.monotonic() - began
        truth_sizes = np.bincount(truth.ravel(), minlength=256)
        hits = sorted(hits_of(found.label_map, truth))
        candidates, overlaps = [], {}
        for lesion in found.lesions:
            inside = truth[found.label_map == lesion.number]
            overlaps[lesion.number] = (np.bincount(inside, minlength=256), len(inside))
            candidates.append(
                {
                    "score": round(lesion.score, 4),
                    "volume_ml": round(lesion.volume_ml, 4),
                    "hits": [k for number, k in hits if number == lesion.number],
                    "diameter_mm": round(lesion.max_diameter_3d_mm, 1),
                    "centre": [round(c) for c in lesion.centroid_lps_mm],
                }
            )
        described = [_lesion_record(lesion, truth_sizes, candidates, overlaps) for lesion in lesions]
        return {
            "study": name,
            **facts,
            "seconds": round(seconds, 2),
            "timings_s": _rounded(segmentation.timings_s),
            "lesions": described,
            "candidates": candidates,
        }


def _rounded(timings: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 2) for stage, value in timings.items()}


def _lesion_record(lesion: dict, truth_sizes, candidates, overlaps) -> dict:
    """The lesion with its best candidate's score, and the Dice of all candidates that hit it."""
    k = lesion["id"]
    hitting = [n for n, candidate in enumerate(candidates, 1) if k in candidate["hits"]]
    shared = sum(int(overlaps[n][0][k]) for n in hitting)
    own = sum(overlaps[n][1] - int(overlaps[n][0].sum() - overlaps[n][0][0] - overlaps[n][0][k]) for n in hitting)
    score = max((candidates[n - 1]["score"] for n in hitting), default=0.0)
    return {**lesion, "score": score, "dice": round(2 * shared / (int(truth_sizes[k]) + own), 4) if hitting else 0.0}


def judge_phantoms(judge: Judge, folder: Path, record: Path) -> list[dict]:
    """All phantoms of a folder. What was judged before an interruption lies in a file beside the record."""
    unfinished = record.with_suffix(".part")
    studies = json.loads(unfinished.read_text()) if unfinished.exists() else []
    judged = {study["study"] for study in studies}
    for path in sorted(p for p in folder.glob("*.npz") if ".part" not in p.name and p.stem not in judged):
        with np.load(path) as stored:
            hu, truth, spacing = stored["hu"], stored["label"], tuple(stored["spacing_mm"].tolist())
            lesions = json.loads(str(stored["lesions"]))
        studies.append(judge.study(path.stem, as_volume(hu, spacing), truth, lesions, thickness_mm=spacing[0]))
        if len(studies) % 20 == 0:
            print(f"{len(studies)} studies", flush=True)
            unfinished.write_text(json.dumps(studies))
    return studies


def judge_real(judge: Judge, archive: Path, name: str) -> list[dict]:
    """One of the public CTs with its own tumour."""
    hu, label, spacing = read_case(archive, name)
    truth = cc3d.largest_k(label, k=1).astype(np.uint8)
    volume_ml = float(truth.sum() * np.prod(spacing) / 1000)
    lesion = {
        "id": 1,
        "kind": "real",
        "diameter_mm": round(float(np.cbrt(6000 * volume_ml / np.pi)), 1),
        "volume_ml": round(volume_ml, 2),
    }
    return [
        judge.study(
            name, as_volume(hu, spacing), (truth > 0).astype(np.uint8), [lesion], thickness_mm=float(spacing[0])
        )
    ]


def judge_dicom(judge: Judge, folder: Path) -> list[dict]:
    """A DICOM series that has no lung lesion."""
    import pydicom

    slices = [pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    slices = sorted((s for s in slices if "ImagePositionPatient" in s), key=lambda s: s.ImagePositionPatient[2])
    hu = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]).astype(np.int16)
    gap = abs(float(slices[1].ImagePositionPatient[2] - slices[0].ImagePositionPatient[2]))
    spacing = (gap, *(float(v) for v in slices[0].PixelSpacing))
    return [judge.study(folder.name, as_volume(hu, spacing), np.zeros(hu.shape, np.uint8), [], thickness_mm=gap)]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("phantoms", "real", "dicom"))
    parser.add_argument("--weights", type=Path, help="instead of models/model.pt")
    parser.add_argument("--held-out", type=Path, help="folder written by phantom.py --held-out")
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--case", choices=NAMES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args.weights, Path(scratch))
        if args.what == "phantoms":
            studies = judge_phantoms(judge, args.held_out, args.records)
        elif args.what == "real":
            studies = judge_real(judge, args.archive, args.case)
        else:
            studies = judge_dicom(judge, args.folder)
    args.records.write_text(json.dumps(studies))
    for study in studies if args.what != "phantoms" else []:
        print(json.dumps(study))


if __name__ == "__main__":
    main()
