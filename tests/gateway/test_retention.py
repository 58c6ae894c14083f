"""Retention over real files: what goes, what stays, and a death anywhere between."""

import os
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr
from pydicom import dcmread
from typer.testing import CliRunner

from services.backends.queue import EmbeddedJobQueue
from services.backends.store import connect
from services.backends.store.audit import event_of
from services.backends.store.tables import assignment, instance, result, study
from services.cli import app as commands
from services.gateway.app import create_app
from services.gateway.retention import Keeper
from services.settings import Settings
from services.triage.reading import ReadingAction, ReadingStep
from services.triage.retention import Hold, Retention
from tests.support.ct import ct_series
from tests.support.house import House, chest_with_ball
from tests.support.records import adt

DAYS_14 = Retention(images=timedelta(days=14))


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    return House(data=tmp_path / "data")


def keeper(house, rules=DAYS_14, space=lambda: (10**12, 2 * 10**12)):
    return Keeper(store=house.store, files=house.files, rules=rules, space=space, interval=timedelta(hours=1))


def done_with(house, *, days=0.0, **attributes):
    """A study that was analysed and read, all so many days ago."""
    uid = house.freeze(chest_with_ball(**attributes))
    house.store.readings.enter(uid, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=datetime.now(UTC)))
    if days:
        age(house, uid, days)
    return uid


def age(house, uid, days):
    """Have it all happened so long before."""
    then = datetime.now(UTC) - timedelta(days=days)
    columns = (instance.c.received_at, result.c.frozen_at, assignment.c.at, study.c.received_at)
    engine = connect(house.settings.store_url())
    with engine.begin() as connection:
        for column in columns:
            mine = column.table.c.study_instance_uid == uid
            connection.execute(sa.update(column.table).where(mine).values({column.name: then}))
    engine.dispose()
    for digest in house.store.retaining.digests(uid):
        os.utime(house.files.path(digest), (then.timestamp(), then.timestamp()))


def files_of(house):
    return {path.stem for path in (house.data / "instances").rglob("*.dcm")}


def test_old_images_go_and_everything_else_stays(house):
    old, young = done_with(house, days=20), done_with(house)
    images, kept = set(house.store.retaining.digests(old)), set(house.store.retaining.digests(young))
    report = keeper(house).run()
    assert files_of(house) == kept
    assert (report.studies, report.images) == (1, len(kept))
    assert report.image_bytes == sum(map(house.files.size, kept))
    _, ever = house.store.retaining.report()
    assert ever.studies == 1
    assert ever.size_bytes > len(images) * 500
    assert all(house.files.result_path(one.sha256) for one in house.result(old).objects)


def test_without_a_rule_nothing_ever_goes(house):
    done_with(house, days=3000)
    before = files_of(house)
    report = keeper(house, Retention()).run()
    assert files_of(house) == before
    assert report.studies == 1


def test_a_full_disk_has_what_may_go_go_earlier_and_no_more_than_needed(house):
    oldest, older = done_with(house, days=9), done_with(house, days=8)
    unread = house.freeze(chest_with_ball())
    age(house, unread, 12)
    rules = Retention(images=timedelta(days=14), free_fraction=0.2, pressed=timedelta(days=2))
    each = len(house.store.retaining.digests(oldest))
    free = lambda: (190 + (3 * each - len(files_of(house))) * 40 // each, 1000)  # noqa: E731
    report = keeper(house, rules, free).run()
    assert house.store.retaining.digests(oldest) == ()
    assert len(house.store.retaining.digests(older)) == each
    assert report.held == {Hold.UNREAD: 1}
    assert not report.pressed


@pytest.mark.parametrize("dies", ["before", "within", "after"])
def test_whoever_dies_while_deleting_is_followed_by_one_who_goes_on(house, monkeypatch, dies):
    uid = done_with(house, days=20)
    delete = house.files.delete

    def killed(digests, **when):
        if dies == "within":
            delete(list(digests)[:7], **when)
        elif dies == "after":
            delete(digests, **when)
        raise KeyboardInterrupt

    monkeypatch.setattr(house.files, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        keeper(house).run()
    monkeypatch.undo()
    assert len(house.store.retaining.open()) == 1
    assert house.store.board.study(uid).row.images_deleted_at is not None
    keeper(house).run()
    assert files_of(house) == set()
    assert house.store.retaining.open() == []


def test_a_pass_that_was_held_up_while_another_process_took_over_deletes_nothing_more(house, monkeypatch):
    done_with(house, days=20)
    retaining, hour, before = house.store.retaining, timedelta(hours=1), files_of(house)
    decide, taken = retaining.decide, []

    def decide_and_be_held_up(*words, **more):
        taken.append(retaining.claim(now=datetime.now(UTC) + hour, duration=hour))
        return decide(*words, **more)

    with monkeypatch.context() as held_up:
        held_up.setattr(retaining, "decide", decide_and_be_held_up)
        assert keeper(house).run() is None
    assert files_of(house) == before
    retaining.release(taken[0])
    keeper(house).run()
    assert files_of(house) == set()


def test_a_study_that_is_sent_again_after_it_was_deleted_is_here_again(house):
    series = chest_with_ball()
    uid = house.freeze(series)
    house.store.readings.enter(uid, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=datetime.now(UTC)))
    age(house, uid, 20)
    keeper(house).run()
    assert files_of(house) == set()
    house.keep(series)
    house.dispatch()
    assert len(files_of(house)) == len(series)
    assert house.store.board.study(uid).row.images_deleted_at is None
    keeper(house).run()
    assert len(files_of(house)) == len(series)


def test_what_a_dead_worker_left_goes_after_a_day(house):
    named = done_with(house)
    left = house.files.keep_result(b"of a worker that died")
    keeper(house).run()
    assert house.files.result_path(left).exists()
    then = time.time() - 2 * 86400
    for path in (house.data / "results").rglob("*.dcm"):
        os.utime(path, (then, then))
    keeper(house).run()
    assert {path.stem for path in (house.data / "results").rglob("*.dcm")} == {
        one.sha256 for one in house.result(named).objects
    }


def test_the_record_of_a_study_goes_after_its_own_time(house):
    uid = done_with(house, days=400)
    rules = Retention(images=timedelta(days=14), results=timedelta(days=365))
    keeper(house, rules).run()
    assert house.store.board.study(uid) is None
    assert not list((house.data / "results").rglob("*.dcm"))
    types = [event_of(record.document).type for record in house.store.audit.records()]
    assert [one for one in types if one.endswith("_deleted")] == ["images_deleted", "record_deleted"]


def test_people_and_programs_are_told_that_images_are_gone_and_where_they_are(house):
    uid = done_with(house, days=20)
    (series_uid,) = [one.series_instance_uid for one in house.store.board.study(uid).series]
    keeper(house).run()
    client = TestClient(create_app(house.settings, store=house.store, files=house.files), base_url="http://127.0.0.1")
    root = f"/dicomweb/studies/{uid}"
    for path in (f"{root}/series/{series_uid}", f"{root}/series/{series_uid}/metadata"):
        answer = client.get(path, headers={"Accept": "*/*"})
        assert (answer.status_code, answer.json()["code"]) == (410, "images_not_kept")
        assert "PACS" in answer.json()["way_out"]
    whole = client.get(f"{root}/metadata", headers={"Accept": "application/dicom+json"})
    assert {one["00080060"]["Value"][0] for one in whole.json()} == {"SEG", "SR"}
    assert "no longer kept here" in whole.headers["Warning"]
    assert client.get(f"/dicomweb/studies?StudyInstanceUID={uid}").json()[0]["00201208"]["Value"] == [2]
    assert "no longer kept here" in client.get(f"/studies/{uid}").text
    assert "Images in the PACS only" in client.get("/?reading=read").text
    assert client.get(f"/api/studies/{uid}").json()["summary"]["images_deleted_at"] is not None
    again = client.post(f"/api/studies/{uid}/analyse")
    assert (again.status_code, again.json()["code"]) == (409, "images_not_kept")
    assert "vigie_retention_deleted_studies_total 1.0" in client.get("/metrics").text


def test_an_image_that_comes_late_to_a_study_whose_images_are_gone_is_said_aloud(house):
    series = chest_with_ball()
    uid = house.freeze(series[:-1])
    house.store.readings.enter(uid, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=datetime.now(UTC)))
    age(house, uid, 20)
    keeper(house).run()
    house.queue_study(series[-1:])
    house.work()
    result = house.result(uid)
    assert result.reason.code == "images_not_kept"
    assert [one.modality for one in result.objects] == ["SR"]


def test_the_plan_tells_what_would_go_and_what_holds_the_rest_and_changes_nothing(house, monkeypatch):
    goes = done_with(house, days=20)
    unread = house.freeze(chest_with_ball())
    age(house, unread, 20)
    monkeypatch.setenv("VIGIE_RETENTION_DAYS", "14")
    planned = CliRunner().invoke(commands, ["retention", "plan", "--studies"])
    lines = planned.stdout.splitlines()
    assert any(goes in line and "goes now" in line for line in lines), planned.output
    assert any(unread in line and "nobody marked it as read" in line for line in lines)
    assert len(files_of(house)) == 40
    done = CliRunner().invoke(commands, ["retention", "run"])
    assert "images of 1 studies deleted" in done.stdout
    assert len(files_of(house)) == 20
    assert "1: nobody marked it as read" in CliRunner().invoke(commands, ["retention", "status"]).stdout


def test_without_a_rule_run_says_how_to_set_one(house):
    refused = CliRunner().invoke(commands, ["retention", "run"])
    assert refused.exit_code == 2
    assert "VIGIE_RETENTION_DAYS" in refused.output


@pytest.mark.parametrize("variable", ["VIGIE_RETENTION_FREE_PERCENT", "VIGIE_RETENTION_UNREAD_DAYS"])
def test_a_setting_that_changes_nothing_while_no_images_go_is_refused_at_start(house, monkeypatch, variable):
    monkeypatch.setenv(variable, "10")
    monkeypatch.setenv("VIGIE_RETENTION_QUARANTINE_DAYS", "30")  # is about other files
    refused = CliRunner().invoke(commands, ["retention", "plan"])
    assert refused.exit_code == 2
    assert {variable, "VIGIE_RETENTION_DAYS", "VIGIE_RETENTION_TENANT_DAYS"} <= set(re.findall(r"\w+", refused.output))


@pytest.mark.parametrize("rule", [{"retention_days": 14}, {"retention_tenant_days": "north=14"}])
def test_with_a_rule_by_which_images_go_each_of_these_settings_is_taken(tmp_path, rule):
    found = Settings(data=tmp_path, retention_free_percent=10, retention_unread_days=28, **rule).retention()
    assert (found.free_fraction, found.unread) == (0.1, timedelta(days=28))


def test_corrected_patient_data_still_reach_the_results_of_images_that_are_gone(house):
    uid = house.take_in(chest_with_ball(PatientID="P7", PatientName="Old^Name"))
    house.work()
    house.store.readings.enter(uid, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=datetime.now(UTC)))
    age(house, uid, 20)
    keeper(house).run()
    house.store.reconcile_patients(adt("P7", patient_name="New^Name"), now=datetime.now(UTC))
    house.dispatch()
    house.work()
    written = [dcmread(house.files.result_path(one.sha256)) for one in house.result(uid).objects]
    assert [(one.PatientID, one.PatientName) for one in written] == [("P7", "New^Name")] * 2


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request, house, tmp_path):
    """The house on either database."""
    if request.param == "sqlite":
        yield house
        return
    with request.getfixturevalue("postgresql").database() as url:
        house.settings = house.settings.model_copy(update={"database_url": SecretStr(url)})
        house.__dict__["queue"] = EmbeddedJobQueue(f"sqlite:///{tmp_path / 'bells' / 'queue.sqlite'}")
        yield house
        house.store.close()


RECORDS_TOO = Retention(images=timedelta(days=14), results=timedelta(days=365))


def record_only(house, series):
    """A study whose images were deleted, and whose record is old enough to go; its UID."""
    uid = house.freeze(series)
    house.store.readings.enter(uid, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=datetime.now(UTC)))
    age(house, uid, 400)
    keeper(house).run()
    assert files_of(house) == set()
    return uid


@pytest.mark.parametrize("seen", ["recorded", "waiting"])
def test_a_study_that_is_sent_again_during_the_pass_stays_with_its_record(anywhere, monkeypatch, seen):
    house, series = anywhere, chest_with_ball()
    uid = record_only(house, series)
    listed = house.store.retaining.recorded

    def then_sent_again(**which):
        uids = listed(**which)
        house.keep(series)
        if seen == "recorded":
            house.dispatch()
        return uids

    monkeypatch.setattr(house.store.retaining, "recorded", then_sent_again)
    keeper(house, RECORDS_TOO).run()
    house.dispatch()
    assert len(house.store.retaining.digests(uid)) == len(files_of(house)) == len(series)
    assert house.result(uid).outcome is not None
    assert all(house.files.result_path(one.sha256) for one in house.result(uid).objects)


@pytest.mark.parametrize("comes_back", [False, True])
def test_whoever_dies_while_a_record_goes_is_followed_by_one_who_asks_again(anywhere, monkeypatch, comes_back):
    house, series = anywhere, chest_with_ball()
    uid = record_only(house, series)

    def killed(*_, **__):
        raise KeyboardInterrupt

    # before anything is erased, and, from an older version, with the note that all of it is to go
    house.store.erasing.begin(
        [uid], actor="retention", reason="nothing was done with it for 365 days", now=datetime.now(UTC)
    )
    monkeypatch.setattr(house.store.retaining, "recorded", killed)
    with pytest.raises(KeyboardInterrupt):
        keeper(house, RECORDS_TOO).run()
    monkeypatch.undo()
    if comes_back:
        house.keep(series)
        house.dispatch()
    keeper(house, RECORDS_TOO).run()
    assert house.store.retaining.open(whole=True) == []
    assert (house.store.board.study(uid) is not None) == comes_back
    assert len(files_of(house)) == (len(series) if comes_back else 0)
    assert bool(list((house.data / "results").rglob("*.dcm"))) == comes_back


def test_images_that_come_while_the_record_goes_are_a_new_study(anywhere, monkeypatch):
    house, series = anywhere, chest_with_ball()
    uid = record_only(house, series)
    expire = house.store.erasing.expire

    def sent_again_beside(*words, **which):
        house.keep(series)
        return expire(*words, **which)

    monkeypatch.setattr(house.store.erasing, "expire", sent_again_beside)
    keeper(house, RECORDS_TOO).run()
    assert house.store.board.study(uid) is None
    house.dispatch()
    assert len(house.store.retaining.digests(uid)) == len(files_of(house)) == len(series)
    assert len(house.jobs(uid)) == 1


def test_what_a_reader_saved_goes_with_the_record_unless_it_was_sent_again(house):
    for sent_again in (False, True):
        series = chest_with_ball()
        uid = house.freeze(series)
        saved = ct_series(slices=1, StudyInstanceUID=uid, Modality="SR")
        house.keep(saved)
        house.dispatch()
        house.store.readings.enter(uid, ReadingStep(action=ReadingAction.READ, reader="Dr A", at=datetime.now(UTC)))
        age(house, uid, 400)
        keeper(house).run()
        (left,) = files_of(house)
        if sent_again:
            house.keep(saved)  # it is here: only its time tells
        keeper(house, RECORDS_TOO).run()
        house.dispatch()
        assert files_of(house) == ({left} if sent_again else set())
        assert house.store.retaining.digests(uid) == ((left,) if sent_again else ())
