"""The rules as Prometheus reads them (promtool): what burns a budget sounds, and what does not is silent."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helm.conftest import Render, profile

NS = 'namespace="radiology"'


@pytest.fixture(scope="module")
def rules(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (rule,) = (one for one in render(profile("hospital")) if one["kind"] == "PrometheusRule")
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
    return file


def promtool(*words: object) -> str:
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fires(rules: Path, at: str, series: dict[str, str], alerts: dict[str, bool], *, step: str = "1m") -> None:
    """At this time after the beginning, with these series (a value each step), these alerts sound or do not."""
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    expressions = [
        {
            "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) > bool 0 or vector(0)',
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": int(sounds)}],
        }
        for alert, sounds in alerts.items()
    ]
    file = rules.with_name("test.yaml")
    test = {"interval": step, "input_series": inputs, "promql_expr_test": expressions}
    file.write_text(yaml.safe_dump({"rule_files": [rules.name], "evaluation_interval": step, "tests": [test]}))
    promtool("test", "rules", file)


def test_prometheus_reads_every_rule(rules: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", rules)


def test_a_door_that_is_away_for_minutes_sounds_and_one_that_misses_a_beat_does_not(rules: Path) -> None:
    door = f"vigie_door_answers{{{NS}}}"
    alerts = ("VigieDoorBudgetBurns", "VigieDoorBudgetLeaks")
    fires(rules, "6h", {door: "1x400"}, dict.fromkeys(alerts, False))
    fires(rules, "130m", {door: "1x120 0x20"}, {"VigieDoorBudgetBurns": True})
    # over for long: nobody is called
    fires(rules, "200m", {door: "1x60 0x1 1x200"}, {"VigieDoorBudgetBurns": False})


def test_two_doors_of_which_one_answers_are_a_door(rules: Path) -> None:
    series = {f'vigie_door_answers{{{NS}, pod="a"}}': "0x200", f'vigie_door_answers{{{NS}, pod="b"}}': "1x200"}
    fires(rules, "3h", series, {"VigieDoorBudgetBurns": False})


def test_a_desk_that_answers_one_request_in_twenty_by_an_error_sounds(rules: Path) -> None:
    name = "vigie_http_request_duration_seconds_count"
    good, bad = f'{name}{{{NS}, status="200"}}', f'{name}{{{NS}, status="503"}}'
    fires(rules, "3h", {good: "0+100x200", bad: "0+5x200"}, {"VigieDeskBudgetBurns": True})
    fires(rules, "3h", {good: "0+10000x200", bad: "0+1x200"}, {"VigieDeskBudgetBurns": False})
    fires(rules, "3h", {good: "0+100x200"}, {"VigieDeskBudgetBurns": False})


def test_late_flags_sound_when_most_are_late_and_not_when_nobody_sends(rules: Path) -> None:
    def flags(in_time: int, late: int) -> dict[str, str]:
        told = {}
        for window in ("5m", "30m", "1h", "6h", "1d", "3d"):
            told[f'vigie_flags{{{NS}, window="{window}", in_time="true"}}'] = f"{in_time}x200"
            told[f'vigie_flags{{{NS}, window="{window}", in_time="false"}}'] = f"{late}x200"
        return told

    fires(rules, "30m", flags(1, 9), {"VigieFlagBudgetBurns": True})
    fires(rules, "30m", flags(97, 3), {"VigieFlagBudgetBurns": False, "VigieFlagBudgetLeaks": False})
    fires(rules, "150m", flags(92, 8), {"VigieFlagBudgetBurns": False, "VigieFlagBudgetLeaks": True})
    fires(rules, "150m", flags(0, 0), {"VigieFlagBudgetBurns": False, "VigieFlagBudgetLeaks": False})


def test_one_lost_image_sounds(rules: Path) -> None:
    lost = f'vigie_instances_lost{{{NS}, fault="missing"}}'
    fires(rules, "10m", {lost: "0x20"}, {"VigieInstancesLost": False})
    fires(rules, "10m", {lost: "0x5 1x20"}, {"VigieInstancesLost": True})


def test_a_clock_that_is_off_sounds_and_one_that_is_only_badly_measured_does_not(rules: Path) -> None:
    labels = f'{{{NS}, against="database", pod="worker-1"}}'
    offset, uncertainty = f"vigie_clock_offset_seconds{labels}", f"vigie_clock_offset_uncertainty_seconds{labels}"
    fires(rules, "20m", {offset: "-4x30", uncertainty: "0.01x30"}, {"VigieClocksDiffer": True})
    fires(rules, "20m", {offset: "2.5x30", uncertainty: "2.4x30"}, {"VigieClocksDiffer": False})


def test_workers_alone_do_not_hide_that_the_gateway_is_gone(rules: Path) -> None:
    fires(rules, "20m", {f'vigie_build_info{{{NS}, part="worker"}}': "1x30"}, {"VigieGone": True})
    fires(rules, "20m", {f'vigie_build_info{{{NS}, part="all"}}': "1x30"}, {"VigieGone": False})


@pytest.mark.parametrize(("there", "gone"), [("desk", "door"), ("door", "desk")])
def test_the_door_alone_does_not_hide_that_the_desk_is_gone_nor_the_desk_the_door(
    rules: Path, there: str, gone: str
) -> None:
    one, other = (f'vigie_build_info{{{NS}, part="{part}"}}' for part in (there, gone))
    fires(rules, "20m", {one: "1x30", other: "1x30"}, {"VigieGone": False})
    fires(rules, "20m", {one: "1x30", other: "1x5"}, {"VigieGone": True})


def test_a_door_that_cannot_be_asked_burns_its_budget(rules: Path) -> None:
    """Its pods are gone, and what they exported with them."""
    fires(rules, "130m", {f"vigie_door_answers{{{NS}}}": "1x100 _x40"}, {"VigieDoorBudgetBurns": True})


def test_callers_that_are_refused_again_and_again_sound_and_a_few_attempts_do_not(rules: Path) -> None:
    """Every door tells the same count; a reason that nobody met yet is 0."""

    def refused(**counts: str) -> dict[str, str]:
        return {
            f'vigie_callers_refused_total{{{NS}, pod="{pod}", reason="{reason}"}}': values
            for pod in "ab"
            for reason, values in counts.items()
        }

    alert = "VigieCallersRefused"
    fires(rules, "60m", refused(unknown_title="0x30 0+1x6 6x60", wrong_address="0x120"), {alert: False})
    every_five_minutes = " ".join(f"{count}x4" for count in range(30))
    fires(rules, "90m", refused(unknown_title=every_five_minutes), {alert: True})
    scan = refused(tls_handshake="0x30 40x120", unknown_title="0x30 0x120")
    fires(rules, "32m", scan, {alert: True})
    fires(rules, "100m", scan, {alert: False})
    fires(rules, "60m", refused(too_many="0+100x120", quota="0+100x120"), {alert: False})


def test_studies_missing_here_sound_unless_they_were_fetched(rules: Path) -> None:
    """Every door and desk tells the same counts; what one PACS lets fetch is not another's."""

    def reconciled(missing: int, incomplete: int, fetched: int, pacs: str = "archive") -> dict[str, str]:
        return {
            f'vigie_reconciliation_studies{{{NS}, pod="{pod}", pacs="{pacs}", state="{state}"}}': f"{count}x30"
            for pod in "ab"
            for state, count in (("missing", missing), ("incomplete", incomplete), ("fetched", fetched))
        }

    def sounds(series: dict[str, str], *, loud: bool) -> None:
        fires(rules, "20m", series, {"VigieStudiesMissing": loud})

    sounds(reconciled(0, 0, 0), loud=False)
    sounds(reconciled(2, 1, 0), loud=True)
    sounds(reconciled(2, 1, 2), loud=True)
    sounds(reconciled(2, 1, 3), loud=False)
    sounds(reconciled(0, 1, 0) | reconciled(2, 0, 2, pacs="other"), loud=True)


def test_the_first_message_of_an_event_that_is_refused_sounds(rules: Path) -> None:
    refused = f'vigie_adt_messages_total{{{NS}, event="A40", outcome="refused"}}'
    fires(rules, "60m", {refused: "0x120"}, {"VigieAdtRefused": False})
    fires(rules, "35m", {refused: "0x30 1x120"}, {"VigieAdtRefused": True})
    fires(rules, "120m", {refused: "0x30 1x120"}, {"VigieAdtRefused": False})


@pytest.mark.parametrize(
    ("alert", "of", "hours", "step"),
    [("VigieRetentionStands", "retention", 4, 5), ("VigieScrubStale", "scrub", 7 * 24, 60)],
)
def test_what_is_switched_on_and_not_done_within_its_period_or_never_sounds(
    rules: Path, alert: str, of: str, hours: int, step: int
) -> None:
    """step: minutes between two values."""
    on, done = f"vigie_{of}_switched_on{{{NS}}}", f"vigie_{of}_timestamp_seconds{{{NS}}}"
    up, late, steps = f"vigie_store_up{{{NS}}}", hours + 3, hours * 60 // step
    never = {on: "1x900", up: "1x900"}

    def after(at_h: int, series: dict[str, str], *, sounds: bool) -> None:
        fires(rules, f"{at_h}h", series, {alert: sounds}, step=f"{step}m")

    after(hours - 1, never, sounds=False)
    after(late, never, sounds=True)
    after(late, {**never, done: f"_x{steps - 1} {hours * 3600}x900"}, sounds=False)
    after(2 * hours + 3, {**never, done: f"{hours * 3600}x900"}, sounds=True)
    # not on for so long, on no more, nobody can tell
    after(late, {**never, on: f"0x{steps - 1} 1x900"}, sounds=False)
    after(late, {**never, on: f"1x{steps} 0x900", done: "0x900"}, sounds=False)
    after(late, {**never, up: f"1x{steps} 0x900"}, sounds=False)


DAY = 86400


@pytest.mark.parametrize(
    ("revocation_list", "certificate", "sound"),
    [
        (7 * DAY, 90 * DAY, set()),
        (3 * DAY, 90 * DAY, {"VigieRevocationListEnds"}),
        (7 * DAY, 14 * DAY, {"VigieCertificateEnds"}),
        (DAY, 90 * DAY, {"VigieRevocationListEnds", "VigieTlsShuts"}),
        # cannot be read
        (7 * DAY, 0, {"VigieCertificateEnds", "VigieTlsShuts"}),
    ],
)
def test_what_shuts_the_door_or_the_way_to_a_peer_is_said_days_before(
    rules: Path, revocation_list: int, certificate: int, sound: set[str]
) -> None:
    """The clock of the rules begins at 0."""
    alerts = ("VigieRevocationListEnds", "VigieCertificateEnds", "VigieTlsShuts")
    for labels in (f'{{{NS}, listener="dicom", peer=""}}', f'{{{NS}, listener="", peer="destination pacs"}}'):
        # of the two that end alike one has time left
        for ending, lasting in (("certificate", "authority"), ("authority", "certificate")):
            series = {
                f"vigie_tls_revocation_list_next_update_timestamp_seconds{labels}": f"{revocation_list}x200",
                f"vigie_tls_{ending}_not_after_timestamp_seconds{labels}": f"{certificate}x200",
                f"vigie_tls_{lasting}_not_after_timestamp_seconds{labels}": f"{90 * DAY}x200",
            }
            fires(rules, "2h", series, {alert: alert in sound for alert in alerts})


def test_a_gpu_that_cannot_be_read_sounds_and_one_that_nobody_asks_does_not(rules: Path) -> None:
    for source, sounds in (("unreadable", True), ("not_asked", False), ("nvml", False)):
        series = {f'vigie_worker_energy_source{{{NS}, of="gpu", source="{source}"}}': "1x120"}
        fires(rules, "2h", series, {"VigieGpuEnergyUnreadable": sounds})
