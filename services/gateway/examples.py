"""Examples for OpenAPI: a made-up study with one lesion. The UIDs belong to nobody."""

from typing import Any

_ROOT = "1.2.826.0.1.3680043.8.498"

_MODEL = {"name": "ct_lung_lesion", "version": "1.0.0", "weights_sha256": "9f2c" * 16}

_SPREAD = {"runs": 4, "sd": 0.03, "lowest": 0.86, "highest": 0.94}

_LESION = {
    "number": 1,
    "tracking_uid": f"{_ROOT}.31",
    "label": "Lesion 1",
    "score": 0.93,
    "volume_ml": 1.4,
    "long_axis_mm": 17.2,
    "short_axis_mm": 12.9,
    "max_diameter_3d_mm": 19.8,
    "centroid_lps_mm": [-61.4, -20.8, 1210.0],
    "slice_range": [21, 24],
    "key_slice": 22,
    "mean_intensity": -14.0,
    "sd_intensity": 61.0,
    "organ": None,
    "spread": _SPREAD,
}

STUDY_EXAMPLE: dict[str, Any] = {
    "study": {
        "study_instance_uid": f"{_ROOT}.1",
        "patient_id": "EXAMPLE-1",
        "issuer_of_patient_id": "EXAMPLE-HOSPITAL",
        "patient_name": "EXAMPLE^PATIENT",
        "patient_birth_date": "19610203",
        "patient_sex": "F",
        "patient_age": "063Y",
        "study_date": "20240131",
        "study_time": "101500",
        "study_description": "CT chest",
        "study_id": "1",
        "accession_number": "A1",
    },
    "state": "analysed",
    "priority": "routine",
    "version": 1,
    "result_version": 1,
    "modalities": ["CT"],
    "series_count": 1,
    "instance_count": 48,
    "received_at": "2024-01-31T10:20:00Z",
    "last_instance_at": "2024-01-31T10:20:12Z",
    "completed_at": "2024-01-31T10:20:27Z",
    "frozen_at": "2024-01-31T10:21:02Z",
    "outcome": "found",
    "flag": "urgent",
    "score": 0.93,
    "calibrated": False,
    "model": _MODEL,
    "already_reported": False,
    "switched_off": False,
    "images_deleted_at": None,
    "pseudonym": None,
    "review": "SCHEDULED",
    "time_to_flag": {
        "flagged_at": "2024-01-31T10:21:02Z",
        "from_first_instance_s": 98.0,
        "from_last_instance_s": 50.0,
    },
    "recalled": False,
    "lesion_count": 1,
    "largest_long_axis_mm": 17.2,
    "reason": None,
    "priority_from": "",
    "ai_says": "urgent",
    "result_id": "0f8e2c5b7d9a4e6f8b1c3d5e7f9a0b2c",
    "reading": {"state": "taken", "reader": "Dr Example", "since": "2024-01-31T10:22:00Z", "again": None},
    "tenant": "hospital-a",
    "withheld_until": None,
}

_DELIVERY = {
    "delivery_id": "5d1f0e6c",
    "destination": "PACS",
    "address": "PACS@127.0.0.1:4242",
    "objects": ["seg", "sr"],
    "state": "sent",
    "attempt": 1,
    "next_at": None,
    "reason": None,
    "note": False,
    "events": [{"time": "2024-01-31T10:21:03Z", "actor": "deliver", "what": "sent", "cause": "SEG, SR"}],
}

_RESULT = {
    "result_id": "0b7a52c4",
    "model": _MODEL,
    "series_instance_uid": f"{_ROOT}.2",
    "outcome": "found",
    "score": 0.93,
    "flag": "urgent",
    "calibrated": False,
    "reason": None,
    "lesions": [_LESION],
    "objects": [
        {
            "modality": "SEG",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
            "sop_instance_uid": f"{_ROOT}.41",
            "series_instance_uid": f"{_ROOT}.4",
            "sha256": "5e88" * 16,
            "size_bytes": 148_640,
            "note": False,
            "names": None,
        }
    ],
    "deliveries": [_DELIVERY],
    "timings_s": {"load": 0.6, "segment": 24.1, "segment.uncertainty": 17.2, "report": 0.9},
    "peak_memory_mb": 1480.0,
    "frozen_at": "2024-01-31T10:21:02Z",
    "superseded_by": None,
    "kept_back": False,
    "cautions": [
        {"code": "unexpected_slice_spacing_mm", "text": "distance between slices 6 mm, expected at most 5.5"},
    ],
    "uncertainty": {"spread": _SPREAD, "reason": None},
    "inference": {"mode": "reference", "reason": None},
    "organs": [{"label": "lung", "volume_ml": 4180.2, "cut_off": True}],
    "recall": None,
    "energy_j": 912.4,
    "energy_source": "estimated",
}

DETAIL_EXAMPLE: dict[str, Any] = {
    "summary": STUDY_EXAMPLE,
    "patients": [{"patient_id": "EXAMPLE-1", "issuer_of_patient_id": "EXAMPLE-HOSPITAL", "image_count": 48}],
    "series": [
        {
            "series_instance_uid": f"{_ROOT}.2",
            "modality": "CT",
            "series_number": 2,
            "series_description": "Thorax 5.0 B30f",
            "instance_count": 48,
            "conflicts": [],
            "deleted_count": 0,
        }
    ],
    "versions": [
        {
            "number": 1,
            "state": "complete",
            "opened_at": "2024-01-31T10:20:00Z",
            "completed_at": "2024-01-31T10:20:27Z",
            "out_of_scope": None,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "jobs": [
                {
                    "job_id": "77c0c1de",
                    "kind": "analyse",
                    "model_name": "ct_lung_lesion",
                    "series_instance_uid": f"{_ROOT}.2",
                    "state": "frozen",
                    "attempt": 1,
                    "refusal": None,
                    "refused_series": [],
                    "queued_at": "2024-01-31T10:20:27Z",
                    "result": _RESULT,
                    "withheld": None,
                    "hold": None,
                    "events": [{"time": "2024-01-31T10:20:27Z", "actor": "gateway", "what": "queued", "cause": ""}],
                }
            ],
        }
    ],
    "events": [{"time": "2024-01-31T10:20:00Z", "actor": "CT1", "what": "receiving", "cause": "first image"}],
}
