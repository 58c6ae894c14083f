"""The metrics as a Prometheus server would read them."""

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.gateway.refusals import RefusedFor
from services.triage.commitment import CommitmentRequest
from services.triage.errors import StoreUnavailable
from services.triage.finding import Flag
from services.triage.patient import AdtOutcome
from tests.support.scraped import scrape
from tests.support.worklist import Ward, found, nothing_found


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def test_counts_come_from_the_store(ward: Ward) -> None:
    ward.analysed(1, found(Flag.URGENT, (0.9, 12.0)))
    ward.analysed(2, nothing_found())
    ward.arrive(3)
    ward.arrive(4)
    ward.complete(4)
    ward.now += timedelta(seconds=60)
    ward.lease(4)
    ward.arrive(5)
    ward.complete(5)
    ward.now += timedelta(seconds=30)
    samples, _ = scrape(ward.client())
    assert samples["vigie_store_up", ()] == 1
    assert samples["vigie_studies", (("state", "analysed"),)] == 2
    assert samples["vigie_studies", (("state", "receiving"),)] == 1
    assert samples["vigie_studies", (("state", "failed"),)] == 0
    assert samples["vigie_jobs", (("state", "queued"),)] == 1
    assert samples["vigie_jobs", (("state", "analysing"),)] == 1
    assert samples["vigie_jobs", (("state", "frozen"),)] == 2
    labels = (("flag", "urgent"), ("model", "ct_lung_lesion"), ("outcome", "found"))
    assert samples["vigie_results_total", labels] == 1
    assert samples["vigie_deliveries", (("destination", "PACS"), ("state", "pending"))] == 2
    assert samples["vigie_oldest_queued_job_age_seconds", ()] == 30
    assert samples["vigie_oldest_unfinished_job_age_seconds", ()] == 90
    assert samples["vigie_oldest_pending_delivery_age_seconds", ()] == 90


@pytest.mark.parametrize(
    ("waits", "due_s"),
    [
        ({"longest_wait_s": "900"}, 900),
        ({"longest_wait_s": "0", "quiet_period_s": "15", "pacs_grace_s": "30"}, 45),
    ],
)
def test_a_study_that_stays_at_receiving_is_overdue_when_nothing_may_hold_it_any_longer(
    ward: Ward, waits: dict[str, str], due_s: float
) -> None:
    def overdue_s() -> float:
        samples, _ = scrape(ward.client(**waits))
        return samples["vigie_completion_overdue_seconds", ()]

    assert overdue_s() == 0
    ward.arrive(1)
    ward.now += timedelta(seconds=due_s)
    ward.arrive(2)
    assert overdue_s() == 0
    ward.now += timedelta(seconds=70)
    assert overdue_s() == 70
    ward.complete(1)
    assert overdue_s() == max(0, 70 - due_s)


def test_storage_commitment_that_is_asked_of_us_is_counted_by_ae_and_state(ward: Ward) -> None:
    ward.arrive(1)
    request = CommitmentRequest(transaction_uid="2.25.1", calling_ae_title="CT1", objects=(("1.2", "1.3"),))
    ward.store.requests.enter(request, now=ward.now)
    ward.now += timedelta(seconds=45)
    samples, _ = scrape(ward.client())
    assert samples["vigie_commitment_requests", (("calling_ae_title", "CT1"), ("state", "asked"))] == 1
    assert samples["vigie_oldest_open_commitment_request_age_seconds", ()] == 45


def test_a_result_that_was_sent_is_told_of_until_its_destination_has_committed_it(ward: Ward) -> None:
    ward.analysed(1, nothing_found())
    due = ward.store.claim_delivery("PACS", now=ward.now, duration=timedelta(minutes=1))
    assert due is not None
    ward.store.delivered(due.delivery_id, now=ward.now, ask_commitment=True)
    ward.now += timedelta(days=2)
    samples, _ = scrape(ward.client())
    assert samples["vigie_oldest_uncommitted_delivery_age_seconds", ()] == 2 * 86400
    assert samples["vigie_oldest_pending_delivery_age_seconds", ()] == 0


def test_callers_refused_are_counted_from_0_on_for_each_reason(ward: Ward) -> None:
    client = ward.client()
    before, _ = scrape(client)
    of = {reason: ("vigie_callers_refused_total", (("reason", reason.value),)) for reason in RefusedFor}
    assert [before[each] for each in of.values()] == [0] * len(RefusedFor)
    ward.store.refusals.count(RefusedFor.UNKNOWN_TITLE, 12)
    after, _ = scrape(client)
    assert {reason: after[each] for reason, each in of.items()} == dict.fromkeys(RefusedFor, 0) | {
        RefusedFor.UNKNOWN_TITLE: 12
    }


def test_hl7_messages_are_counted_from_0_on_where_they_are_taken(ward: Ward) -> None:
    def counted(**settings: str) -> dict[tuple[tuple[str, str], ...], float]:
        samples, _ = scrape(ward.client(**settings))
        return {labels: count for (name, labels), count in samples.items() if name == "vigie_adt_messages_total"}

    assert counted() == {}
    before = counted(hl7="127.0.0.1:2575")
    events = ("A08", "A18", "A31", "A40", "A47", "other")
    none = {(("event", event), ("outcome", outcome.value)): 0 for event in events for outcome in AdtOutcome}
    assert before == none
    ward.store.count_message("A08", AdtOutcome.REFUSED)
    assert counted(hl7="127.0.0.1:2575") == none | {(("event", "A08"), ("outcome", "refused")): 1}


def test_the_time_to_flag_is_told_over_a_day_from_the_first_and_from_the_last_image(ward: Ward) -> None:
    client = ward.client()
    samples, _ = scrape(client)
    assert samples["vigie_time_to_flag_studies", ()] == 0
    assert not [name for name, _ in samples if name == "vigie_time_to_flag_seconds"]
    began = ward.now
    ward.arrive(1)
    ward.now += timedelta(seconds=30)
    ward.arrive(1, index_from=4)
    ward.now += timedelta(seconds=70)
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.9, 12.0)))
    samples, _ = scrape(client)
    assert samples["vigie_time_to_flag_studies", ()] == 1
    assert ward.now - began == timedelta(seconds=100)
    for since, seconds in (("first_instance", 100), ("last_instance", 70)):
        for quantile in ("0.5", "0.95"):
            assert samples["vigie_time_to_flag_seconds", (("from", since), ("quantile", quantile))] == seconds
    ward.now += timedelta(hours=25)
    assert scrape(client)[0]["vigie_time_to_flag_studies", ()] == 0


def test_requests_are_timed_by_route_and_never_by_path(ward: Ward) -> None:
    client = ward.client()
    uid = ward.arrive(1)
    client.get(f"/api/studies/{uid}")
    client.get("/api/studies?search=FAMILY1")
    client.get("/nowhere/FAMILY1")
    client.request("FAMILY1", "/")
    samples, text = scrape(client)
    labels = (("method", "GET"), ("route", "/api/studies/{uid}"), ("status", "200"))
    assert samples["vigie_http_request_duration_seconds_count", labels] == 1
    assert uid not in text
    assert "FAMILY1" not in text


def test_no_patient_data_is_in_the_metrics(ward: Ward) -> None:
    ward.analysed(1, nothing_found())
    _, text = scrape(ward.client())
    for secret in ("FAMILY1", "P-0001", ward.uid(1), 'A1"'):
        assert secret not in text


def test_every_metric_of_ours_says_what_to_do(ward: Ward) -> None:
    _, text = scrape(ward.client())
    ours = [family for family in text_string_to_metric_families(text) if family.name.startswith("vigie_")]
    assert len(ours) >= 8
    for family in ours:
        assert len(family.documentation) > 40


@pytest.mark.parametrize(("which", "answers"), [(("counts",), 1), (("counts", "result_object"), 0)])
def test_while_the_store_is_away_or_slow_the_scrape_answers_and_says_which(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, which: tuple[str, ...], answers: int
) -> None:
    def refuse(*_: object, **_told: object) -> None:
        raise StoreUnavailable("no database, or no answer in time")

    client = ward.client()
    for question in which:
        monkeypatch.setattr(type(ward.store.board), question, refuse)
    samples, _ = scrape(client)
    assert samples["vigie_store_up", ()] == 0
    assert samples["vigie_check_ok", (("check", "store"),)] == answers
    assert not any(name == "vigie_studies" for name, _ in samples)


def test_two_applications_do_not_share_a_registry(ward: Ward, tmp_path: Path) -> None:
    ward.arrive(1)
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    other = Ward(other_folder)
    assert scrape(ward.client())[0]["vigie_studies", (("state", "receiving"),)] == 1
    assert scrape(other.client())[0]["vigie_studies", (("state", "receiving"),)] == 0


@pytest.mark.parametrize(
    ("settings", "retention", "scrub"), [({}, 0, 1), ({"retention_days": "14", "scrub_files_per_s": "0"}, 1, 0)]
)
def test_what_is_to_be_done_from_time_to_time_is_told_before_it_was_ever_done(
    ward: Ward, settings: dict[str, str], retention: int, scrub: int
) -> None:
    samples, _ = scrape(ward.client(**settings))
    assert samples["vigie_retention_switched_on", ()] == retention
    assert samples["vigie_scrub_switched_on", ()] == scrub
    assert ("vigie_retention_timestamp_seconds", ()) not in samples
