"""A patient asks to be forgotten: nothing is left of them, on disk or in a database, and everybody else's is."""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from services.backends.queue import EmbeddedJobQueue
from services.backends.store.erasing import Erasing
from services.cli import app
from services.gateway.erasure import Erasure
from services.gateway.retention import Keeper
from services.triage.commitment import CommitmentRequest
from services.triage.errors import Reason
from services.triage.finding import Outcome
from services.triage.patient import AdtMessage, Demographics, PatientChange, PatientKey, Stamp
from services.triage.retention import Retention
from services.triage.study import VersionKey
from services.triage.training import Candidate, Mix
from services.triage.verdict import Answer, Shown, Truth, Verdict
from services.triage.verdict_document import VerdictDocument
from tests.support.house import House, chest_with_ball
from tests.support.postgres import BINARIES

ID, NAME, ACCESSION = "PID-47110815", "Zwetschgenbaum^Philippine", "ACC-99017"
OTHER_ID, OTHER_NAME = "PID-31", "Birnbaum^Otto"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))
    monkeypatch.setenv("VIGIE_DATA", str(house.data))
    return house


@pytest.fixture(params=["sqlite", "postgresql"])
def house(
    request: pytest.FixtureRequest, embedded: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    if request.param == "sqlite":
        yield embedded
        return
    with request.getfixturevalue("postgresql").database() as url:
        monkeypatch.setenv("VIGIE_DATABASE_URL", url)
        embedded.settings = embedded.settings.model_copy(update={"database_url": SecretStr(url)})
        embedded.__dict__["queue"] = EmbeddedJobQueue(f"sqlite:///{tmp_path / 'bells' / 'queue.sqlite'}")
        yield embedded
        embedded.store.close()


def vigie(*words: str):
    return CliRunner().invoke(app, ["patient", *words])


def live_through_everything(house: House, patient_id: str, name: str, accession: str) -> str:
    """A study with all that can come of one; answers its UID."""
    series = chest_with_ball(PatientID=patient_id, PatientName=name, AccessionNumber=accession)
    uid = house.freeze(series)
    store, result = house.store, house.result(uid)
    due = store.claim_delivery(house.send_to[0], now=now(), duration=timedelta(minutes=1))
    store.delivered(due.delivery_id, now=now())
    given = Verdict(
        verdict_id=uid.replace(".", "")[-32:].rjust(32, "0"),
        study_instance_uid=uid,
        result_id=result.result_id,
        answer=Answer.ACCEPT,
        comment=f"{name} again",
        reader="Dr A",
        given_at=now(),
        shown=Shown(page="study"),
    )
    store.verdicts.give(given)
    content = f"the answers on {name}".encode()
    document = VerdictDocument(
        study_instance_uid=uid,
        reader="Dr A",
        verdicts=1,
        written_at=now(),
        verified=False,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        sha256=house.files.keep_result(content),
        size_bytes=len(content),
    )
    assert store.verdict_documents.freeze(document, [], actor="deliver")
    image = series[0]
    asked = CommitmentRequest(
        transaction_uid=generate_uid(), calling_ae_title="CT1", objects=((image.SOPClassUID, image.SOPInstanceUID),)
    )
    store.requests.enter(asked, now=now())
    case = Candidate(
        study_instance_uid=uid,
        result_id=result.result_id,
        series_instance_uid=str(image.SeriesInstanceUID),
        model_name=house.model_name,
        outcome=Outcome.FOUND,
        truth=next(iter(Truth)),
        readers=1,
    )
    store.training.begin(
        [case], learner="L", model_name=house.model_name, mix=next(iter(Mix)), key=b"k" * 32, now=now()
    )
    change = PatientChange(
        keys=(PatientKey(patient_id=patient_id),), demographics=Demographics(patient_name=name), merges=()
    )
    stamp = Stamp(at=now(), sender="HIS")
    store.reconcile_patients(AdtMessage(trigger_event="A08", control_id="1", stamp=stamp, changes=(change,)), now=now())
    torn = f"\x08\x00 torn apart {patient_id} {name}".encode()
    house.files.quarantine(torn, reason=Reason(code="not_dicom", text="not DICOM"), received_from="CT1")
    return uid


def told_of(house: House, uid: str, patient_id: str, name: str, accession: str) -> set[bytes]:
    """By what the patient could be found."""
    found = house.store.erasing.traces([uid], now=now())
    words = {patient_id, *name.split("^"), accession, *found.images, *found.results}
    words |= {
        one.header.sop_instance_uid for one in house.store.instances(VersionKey(study_instance_uid=uid, number=1))
    }
    return {word.encode() for word in words}


def everything_kept(house: House) -> bytes:
    """Every byte and every file's name in the data folder, and all of the database."""
    parts = [b"%b %b" % (str(path).encode(), path.read_bytes()) for path in house.data.rglob("*") if path.is_file()]
    if house.settings.database_url is not None:
        url = house.settings.store_url()
        parts.append(subprocess.run([BINARIES / "pg_dump", url], check=True, capture_output=True).stdout)
    return b"\n".join(parts)


def test_nothing_is_left_of_a_patient_but_uids_and_digests_in_the_audit_trail(house: House) -> None:
    uid = live_through_everything(house, ID, NAME, ACCESSION)
    other = live_through_everything(house, OTHER_ID, OTHER_NAME, "ACC-1")
    before = everything_kept(house)
    theirs, others = told_of(house, uid, ID, NAME, ACCESSION), told_of(house, other, OTHER_ID, OTHER_NAME, "ACC-1")
    assert [word for word in theirs | others if word not in before] == []

    found = vigie("find", "--id", ID)
    assert found.exit_code == 0
    assert uid in found.stdout
    assert other not in found.stdout
    assert re.search(rf"may be at {re.escape(house.send_to[0])}.*2 objects: [0-9.]+, [0-9.]+", found.stdout)

    erased = vigie("erase", "--id", ID, "--reason", "request 17/2026", "--yes")
    assert erased.exit_code == 0, erased.output
    after = everything_kept(house)
    records = list(house.store.audit.records())
    trail = "\n".join(record.document for record in records)
    assert [word for word in (ID, *NAME.split("^"), ACCESSION) if word in trail] == []
    assert [word for word in theirs if word in after and word not in trail.encode()] == []
    assert [word for word in others if word not in after] == []
    assert vigie("find", "--id", ID).exit_code == 1

    (erasure,) = [json.loads(record.document) for record in records if '"type":"erasure"' in record.document]
    assert [one["object_id"] for one in erasure["objects"] if one["kind"] == "study"] == [uid]
    assert "request 17/2026" in str(erasure)
    (whose,) = [one["object_id"] for one in erasure["objects"] if one["kind"] == "patient"]
    assert whose in {one["object_id"] for one in json.loads(records[0].document)["objects"]}
    assert house.result(other).outcome is Outcome.FOUND
    assert house.store.board.study(uid) is None


def test_who_the_patient_is_does_not_go_into_the_trail_as_a_reason(embedded: House) -> None:
    embedded.freeze(chest_with_ball(PatientID=ID, PatientName=NAME))
    for reason in (f"Mrs {NAME.split('^')[0]} asked", f"patient {ID}"):
        refused = vigie("erase", "--id", ID, "--reason", reason, "--yes")
        assert refused.exit_code == 2
    assert vigie("find", "--id", ID).exit_code == 0


@pytest.mark.parametrize("by", ["the same command", "retention"])
def test_an_erasure_that_was_killed_halfway_is_brought_to_its_end(
    embedded: House, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    uid = embedded.freeze(chest_with_ball(PatientID=ID, PatientName=NAME))

    def killed(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Erasing, "end", killed)
    assert vigie("erase", "--id", ID, "--reason", "request 17", "--yes").exit_code != 0
    monkeypatch.undo()
    monkeypatch.setenv("VIGIE_DATA", str(embedded.data))
    assert embedded.store.board.study(uid) is not None
    if by == "retention":
        keeper = Keeper(
            store=embedded.store,
            files=embedded.files,
            rules=Retention(quarantine=timedelta(days=30)),
            space=lambda: (1, 2),
            interval=timedelta(hours=1),
        )
        assert keeper.run() is not None
    else:
        assert vigie("erase", "--id", ID, "--reason", "request 17", "--yes").exit_code == 0
    assert embedded.store.board.study(uid) is None
    (record,) = [one for one in embedded.store.audit.records() if '"type":"erasure"' in one.document]
    # nothing was sent, and it is not said that it was
    assert "sent_to" not in record.document


def test_what_was_just_received_and_the_ids_that_a_registry_has_merged_are_found_too(embedded: House) -> None:
    first = embedded.freeze(chest_with_ball(PatientID=OTHER_ID))
    merge = PatientChange(
        keys=(PatientKey(patient_id=ID),),
        demographics=Demographics(),
        merges=((PatientKey(patient_id=OTHER_ID), PatientKey(patient_id=ID)),),
    )
    stamp = Stamp(at=now(), sender="HIS")
    message = AdtMessage(trigger_event="A40", control_id="1", stamp=stamp, changes=(merge,))
    embedded.store.reconcile_patients(message, now=now())
    embedded.keep(chest_with_ball(PatientID=ID)[:3])
    erasure = Erasure(store=embedded.store, files=embedded.files)
    found = erasure.find(ID, None)
    assert found.traces.study_instance_uids == (first,)
    assert (len(found.waiting), len(found.keys)) == (3, 2)
    erasure.erase_found(found, actor="test", reason="request 18")
    assert erasure.find(OTHER_ID, None).is_nothing
    assert erasure.find(ID, None).is_nothing
    assert list(embedded.files.pending()) == []
