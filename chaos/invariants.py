"""What must hold after every round, judged from outside: by the API, the kept files and the PACS's folder."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import httpx
import pydicom

from chaos.studies import EXPECTED, PATIENT_ID, PATIENT_NAME, Study
from services.backends import part10

Sin = Literal["lost", "doubled", "stuck", "wrong"]

DEAD_LETTERS = ".dead"

# the campaign's PACS refuses nothing: what was given up did not arrive
_DELIVERED = frozenset({"sent", "committed"})


@dataclass(frozen=True, kw_only=True)
class Breach:
    """An invariant that does not hold; identifiers only."""

    sin: Sin
    what: str

    def __str__(self) -> str:
        return f"{self.sin}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What can be seen from outside.

    acknowledged: SHA-256 of each data set that a sender was told is safe -> Study Instance UID. details: what the API
    says of each study (None: unknown). received: all files of the PACS. dead_letters: job ids. waiting: messages by
    queue. logs: what each process has logged.
    """

    studies: Sequence[Study]
    acknowledged: Mapping[str, str]
    details: Mapping[str, dict[str, Any] | None]
    data: Path
    received: Sequence[Path]
    dead_letters: Sequence[str]
    waiting: Mapping[str, int]
    logs: Mapping[str, str]
    api: httpx.Client

    @cached_property
    def kept(self) -> dict[str, list[Path]]:
        """Files by the digest that names them, settled or still in the inbox."""
        found: dict[str, list[Path]] = {}
        for path in [*self.data.glob("instances/*/*.dcm"), *self.data.glob("inbox/*.dcm")]:
            found.setdefault(path.name[:64], []).append(path)
        return found

    def results(self, study: Study) -> Iterator[dict[str, Any]]:
        """All frozen results of a study, of every version."""
        for job in _jobs(self.details[study.uid]):
            if job["result"] is not None:
                yield job["result"]


def breaches(evidence: Evidence) -> list[Breach]:
    """All that is broken."""
    found: list[Breach] = []
    for check in _CHECKS:
        found += check(evidence)
    return found


def unsettled(detail: dict[str, Any] | None, study: Study) -> str:
    """What a study still waits for; empty when it has come to its end."""
    if detail is None:
        return "unknown to the API"
    if detail["summary"]["instance_count"] != len(study.files):
        return f"{detail['summary']['instance_count']} of {len(study.files)} instances known"
    for version in detail["versions"]:
        if version["state"] != "complete":
            return f"version {version['number']} is {version['state']}"
    for job in _jobs(detail):
        if job["state"] not in ("frozen", "cancelled"):
            return f"job {job['job_id']} is {job['state']}, attempt {job['attempt']}"
        for delivery in job["result"]["deliveries"] if job["result"] else ():
            if delivery["state"] not in _DELIVERED:
                return f"delivery {delivery['delivery_id']} is {delivery['state']}, try {delivery['attempt']}"
    return ""


def kept_byte_for_byte(evidence: Evidence) -> Iterator[Breach]:
    """Every instance that was acknowledged can be read again, byte for byte after group 2."""
    sent = {digest: path for study in evidence.studies for path, digest in study.files.items()}
    for digest in evidence.acknowledged:
        if digest not in sent:
            continue
        original = sent[digest].read_bytes()
        data_set = original[part10.open_part10(original).data_set_offset :]
        copies = evidence.kept.get(digest, [])
        if not copies:
            yield Breach(sin="lost", what=f"acknowledged instance {digest} is not kept")
        for copy in copies:
            content = copy.read_bytes()
            if content[part10.open_part10(content).data_set_offset :] != data_set:
                yield Breach(sin="lost", what=f"acknowledged instance {digest} is kept with other bytes")


def every_study_ends(evidence: Evidence) -> Iterator[Breach]:
    """Every study is known whole, complete, and ends as its images call for."""
    for study in evidence.studies:
        detail = evidence.details[study.uid]
        waits_for = unsettled(detail, study)
        if waits_for or detail is None:
            yield Breach(sin="stuck", what=f"study {study.uid}: {waits_for}")
            continue
        conflicts = [uid for series in detail["series"] for uid in series["conflicts"]]
        if conflicts:
            yield Breach(sin="wrong", what=f"study {study.uid}: resent bytes taken for others: {conflicts}")
        jobs = detail["versions"][0]["jobs"]
        state, outcome = EXPECTED[study.kind]
        said = (detail["summary"]["state"], [job["result"] and job["result"]["outcome"] for job in jobs])
        if said != (state, [outcome] if outcome else []):
            yield Breach(sin="wrong", what=f"study {study.uid} ({study.kind}) ended as {said}")
        yield from _reasons(study, evidence)


def _reasons(study: Study, evidence: Evidence) -> Iterator[Breach]:
    """What has no answer says why."""
    for result in evidence.results(study):
        if result["outcome"] in ("not_analysed", "failed") and not result["reason"]:
            yield Breach(sin="wrong", what=f"result {result['result_id']}: {result['outcome']} without a reason")


def results_are_at_the_pacs(evidence: Evidence) -> Iterator[Breach]:
    """Each object of a result that no longer waits is at the PACS as it was frozen, and the API serves it still."""
    at_the_pacs = {path.name.split(".dcm")[0] for path in evidence.received}
    for study in evidence.studies:
        for result in evidence.results(study):
            if not result["objects"]:
                yield Breach(sin="lost", what=f"result {result['result_id']} has no object")
            for item in result["objects"]:
                answer = evidence.api.get(f"/api/results/{item['sop_instance_uid']}")
                if hashlib.sha256(answer.content).hexdigest() != item["sha256"]:
                    yield Breach(sin="lost", what=f"object {item['sop_instance_uid']}: HTTP {answer.status_code}")
                    continue
                name = f"{item['sop_instance_uid']}.{part10.digest(answer.content)[:16]}"
                waits = any(delivery["state"] == "pending" for delivery in result["deliveries"])
                if not waits and name not in at_the_pacs:
                    yield Breach(sin="lost", what=f"object {item['sop_instance_uid']} is not at the PACS as frozen")


def each_result_once(evidence: Evidence) -> Iterator[Breach]:
    """One job for a version and a model, one result for a job, all its objects of one computation, nothing else."""
    for study in evidence.studies:
        for version in (evidence.details[study.uid] or {"versions": ()})["versions"]:
            for model, count in Counter(job["model_name"] for job in version["jobs"]).items():
                if count > 1:
                    yield Breach(sin="doubled", what=f"study {study.uid}: {count} jobs of {model}")
    result_of = {
        item["sop_instance_uid"]: result["result_id"]
        for study in evidence.studies
        for result in evidence.results(study)
        for item in result["objects"]
    }
    yield from _strangers(evidence, result_of)


def _strangers(evidence: Evidence, result_of: Mapping[str, str]) -> Iterator[Breach]:
    """Objects at the PACS that should not be there. result_of: SOP Instance UID -> result id."""
    uids = Counter(path.name.rsplit(".", 2)[0] for path in evidence.received)
    for path in evidence.received:
        uid = path.name.rsplit(".", 2)[0]
        study_uid, segmentations = _spoken_of(path)
        if study_uid not in evidence.details:
            continue
        if uids[uid] > 1:
            yield Breach(sin="doubled", what=f"the PACS has {uids[uid]} contents of object {uid}")
        if uid not in result_of:
            yield Breach(sin="doubled", what=f"object {uid} at the PACS belongs to no frozen result")
        if any(result_of.get(one) != result_of.get(uid) for one in segmentations):
            yield Breach(sin="doubled", what=f"object {uid} speaks of a segmentation of another computation")


def dead_letters(evidence: Evidence) -> Iterator[Breach]:
    """A dead letter is only ever that of a job whose state says what became of it."""
    told = {
        job["job_id"]
        for detail in evidence.details.values()
        for job in _jobs(detail)
        if job["state"] in ("frozen", "cancelled")
    }
    for job_id in set(evidence.dead_letters) - told:
        yield Breach(sin="lost", what=f"the message of job {job_id} is a dead letter, and its state does not say so")


def not_dead(waiting: Mapping[str, int]) -> dict[str, int]:
    """Messages by queue without the dead letters."""
    return {queue: count for queue, count in waiting.items() if not queue.endswith(DEAD_LETTERS)}


def no_message_waits(evidence: Evidence) -> Iterator[Breach]:
    """When every study has come to its end, no message is left but dead letters."""
    for queue, count in not_dead(evidence.waiting).items():
        yield Breach(sin="stuck", what=f"{count} messages wait in {queue}, and nothing is left to do")


def no_patient_is_named(evidence: Evidence) -> Iterator[Breach]:
    """No log tells a patient's name or number, whatever broke."""
    for name, text in evidence.logs.items():
        if PATIENT_NAME in text or PATIENT_ID in text:
            yield Breach(sin="wrong", what=f"the log of {name} names a patient")


_CHECKS = (
    kept_byte_for_byte,
    every_study_ends,
    results_are_at_the_pacs,
    each_result_once,
    dead_letters,
    no_message_waits,
    no_patient_is_named,
)


def _jobs(detail: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    for version in detail["versions"] if detail else ():
        yield from version["jobs"]


@cache
def _spoken_of(path: Path) -> tuple[str, frozenset[str]]:
    """The study of an object at the PACS, and the segmentations that it speaks of (PS3.3 C.17.2, its evidence).

    Files of the PACS never change, so that each is read once in a campaign.
    """
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    segmentations = (
        str(sop.ReferencedSOPInstanceUID)
        for study in dataset.get("CurrentRequestedProcedureEvidenceSequence", ())
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
        if sop.ReferencedSOPClassUID == pydicom.uid.SegmentationStorage
    )
    return str(dataset.StudyInstanceUID), frozenset(segmentations)
