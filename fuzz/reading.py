"""What the later stages make of kept instances: searched, described, decoded, rendered, shown; no error of ours."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import httpx

from fuzz.cases import Case
from fuzz.tally import Tally
from services.backends.headers import read_instance

READ_SHARE = 0.06
ANSWER_WITHIN_S = 20.0
_BULK = 2
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_DECODED = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'
_FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
_OVERVIEWS = (
    "/",
    "/api/studies?limit=200&state=receiving&state=out_of_scope",
    "/dicomweb/studies?includefield=all&limit=200",
    "/dicomweb/instances?includefield=all&limit=100",
    "/dicomweb/workitems?limit=50",
    "/metrics",
    "/readyz",
)
_ALLOWED = frozenset({200, 204, 400, 404, 406, 413, 422})


@dataclass
class Reader:
    """Reads kept instances back through every door that gives them out."""

    client: httpx.Client

    def read(self, accepted: Sequence[Case], tally: Tally, dice: Random) -> None:
        """A share of these, more of the bombs; then the overviews."""
        for case in accepted:
            if dice.random() < (READ_SHARE if "+" not in case.made else 2 * READ_SHARE):
                self.read_one(case, tally)
        for path in _OVERVIEWS:
            self._get(path, "text/html" if path == "/" else "*/*", tally)

    def read_one(self, case: Case, tally: Tally) -> None:
        """Everything that can be had of one instance."""
        header = read_instance(case.content).header
        study = f"/dicomweb/studies/{header.study_instance_uid}"
        series = f"{study}/series/{header.series_instance_uid}"
        instance = f"{series}/instances/{header.sop_instance_uid}"
        metadata = self._get(f"{instance}/metadata", "application/dicom+json", tally, case)
        if metadata is not None and metadata.status_code == 404:
            tally.found("kept, and not found", made=case.made, content=case.content)
        wanted = [
            (instance, _AS_STORED),
            (instance, _DECODED),
            (f"{instance}/frames/1", _FRAME),
            (f"{instance}/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=*'),
            (f"{instance}/rendered", "image/jpeg"),
            (f"{instance}/rendered?window=40,400,linear&viewport=64,64", "image/png"),
            (f"{series}/rendered", "image/jpeg"),
            (f"{study}/instances?includefield=all", "application/dicom+json"),
            (f"/api/studies/{header.study_instance_uid}", "application/json"),
            (f"/studies/{header.study_instance_uid}", "text/html"),
        ]
        if metadata is not None and metadata.status_code == 200:
            wanted += [(uri, "*/*") for uri in islice(_bulk_uris(metadata.json()), _BULK)]
        for path, accept in wanted:
            self._get(path, accept, tally, case)
        tally.cases += 1

    def _get(self, path: str, accept: str, tally: Tally, case: Case | None = None) -> httpx.Response | None:
        made, content = (case.made, case.content) if case else ("", b"")
        began = time.monotonic()
        try:
            answer = self.client.get(path, headers={"Accept": accept})
        except httpx.HTTPError as error:
            tally.found(f"GET {path} ({accept}): {type(error).__name__}", made=made, content=content)
            return None
        if answer.status_code not in _ALLOWED:
            tally.found(f"GET {path} ({accept}) answered by {answer.status_code}", made=made, content=content)
        elif time.monotonic() - began > ANSWER_WITHIN_S:
            tally.found(f"GET {path} ({accept}) took {time.monotonic() - began:.0f} s", made=made, content=content)
        elif answer.status_code >= 400:
            tally.refused[str(answer.json().get("code"))] += 1
        else:
            tally.kept += 1
        return answer


def _bulk_uris(found: object) -> Iterator[str]:
    """At any depth."""
    if isinstance(found, list):
        for each in found:
            yield from _bulk_uris(each)
    elif isinstance(found, dict):
        for name, each in found.items():
            if name == "BulkDataURI":
                yield str(each)
            else:
                yield from _bulk_uris(each)
