"""Data sets that a reader's system sends of a workitem, in the DICOM JSON Model."""

import json
from typing import Any

import httpx

HEADERS = {"Content-Type": "application/dicom+json"}
A_CODE = {
    "vr": "SQ",
    "Value": [
        {
            "00080100": {"vr": "SH", "Value": ["110005"]},
            "00080102": {"vr": "SH", "Value": ["DCM"]},
            "00080104": {"vr": "LO", "Value": ["Interpretation"]},
        }
    ],
}


def _time(value: str) -> dict[str, Any]:
    return {"vr": "DT", "Value": [value]}


DONE = {
    "00741216": {
        "vr": "SQ",
        "Value": [
            {
                "00404019": A_CODE,
                "00404028": A_CODE,
                "00404033": {"vr": "SQ"},
                "00404050": _time("20260301120000"),
                "00404051": _time("20260301121000"),
            }
        ],
    }
}
"""All that the final state COMPLETED asks for (PS3.4 table CC.2.5-3)."""


def put_state(workitem: str, state: str, transaction_uid: str = "1.2.3") -> httpx.Response:
    """Ask for a state, with a Transaction UID."""
    body = {"00741000": {"vr": "CS", "Value": [state]}}
    if transaction_uid:
        body["00081195"] = {"vr": "UI", "Value": [transaction_uid]}
    return httpx.put(f"{workitem}/state", content=json.dumps([body]), headers=HEADERS)


def post(workitem: str, told: dict[str, Any], query: str = "") -> httpx.Response:
    """Set attributes."""
    return httpx.post(f"{workitem}{query}", content=json.dumps([told]), headers=HEADERS)
