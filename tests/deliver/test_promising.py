"""From a modality's request for storage commitment to our report, with an archive that makes every fault."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from services.backends.storage_commitment import action_information
from services.cli import app
from services.triage.commitment import RequestLine, RequestState
from tests.support.archive import Archive, archive, event_information, report
from tests.support.ct import ct_series
from tests.support.delivering import delivering
from tests.support.house import House
from tests.support.modality import Modality, modality, request_commitment
from tests.support.peers import free_port, wait_until
from tests.support.scu import Door, associate, encode, open_door, store

MR = "1.2.840.10008.5.1.4.1.1.4"
SENDER = "from services.backends.senders.{} import {} as Them; import os\n"
BEFORE_THE_REQUEST = SENDER.format("commitment", "StorageCommitmentUser") + "Them._request = lambda *_: os._exit(9)"
AFTER_THE_REQUEST = (
    SENDER.format("commitment", "StorageCommitmentUser")
    + "request = Them._request; Them._request = lambda *words: (request(*words), os._exit(9))"
)
BEFORE_THE_REPORT = SENDER.format("reporter", "StorageCommitmentReporter") + "Them.report = lambda *_: os._exit(9)"
AFTER_THE_REPORT = (
    SENDER.format("reporter", "StorageCommitmentReporter")
    + "report = Them.report; Them.report = lambda *words: (report(*words), os._exit(9))"
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A house whose modality CT1 may ask, its door, the archive it asks, and the series that it holds."""

    house: House
    door: Door
    ct: Modality
    pacs: Archive
    objects: Sequence[tuple[str, str]]

    @property
    def uids(self) -> tuple[str, ...]:
        return tuple(uid for _, uid in self.objects)

    def ask(self, objects: Sequence[tuple[str, str]] | None = None) -> str:
        """The modality asks, by default for all that is held; answers the Transaction UID."""
        transaction = generate_uid()
        assert self.ct.ask(self.door.port, transaction, objects or self.objects) == 0x0000
        return transaction

    def warm_up(self) -> None:
        """Return once delivery is at work: what follows counts in seconds."""
        self.ct.report_of(self.ask([(MR, "1.2.3")]))

    def line(self) -> RequestLine:
        """The newest request."""
        return self.house.store.requests.lines(set(RequestState))[-1]

    def until(self, state: RequestState) -> None:
        wait_until(lambda: self.line().state is state, what=state)


def house_for(
    folder: Path, ct: str, pacs: str, *, choices: dict[str, object], archive_choices: dict[str, object]
) -> House:
    """CT1 may ask; its archive is `pacs`."""
    folder.mkdir(exist_ok=True)
    destinations, commitment = folder / "destinations.toml", folder / "commitment.toml"
    asked = [f"{key} = {value}" for key, value in ({"commitment_wait_s": 5} | archive_choices).items()]
    destinations.write_text("\n".join(["[pacs]", f'address = "{pacs}"', "storage_commitment = true", *asked]))
    chosen = [f"{key} = {value}" for key, value in ({"look_for_s": 0} | choices).items()]
    commitment.write_text("\n".join(["[CT1]", 'archive = "pacs"', f'report_to = "{ct}"', *chosen]))
    return House(data=folder / "data", destinations=destinations, commitment=commitment)


@contextmanager
def site(
    folder: Path,
    *,
    pacs: dict[str, object] | None = None,
    ct: dict[str, object] | None = None,
    archive_choices: dict[str, object] | None = None,
    **choices: object,
) -> Iterator[Site]:
    """pacs, ct: faults of the two peers. archive_choices, choices: keys of the two files."""
    with archive(**(pacs or {})) as keeps, modality(**(ct or {})) as asks:  # type: ignore[arg-type]
        house = house_for(folder, asks.address, keeps.address, choices=choices, archive_choices=archive_choices or {})
        series = ct_series(slices=4)
        house.take_in(series)
        objects = [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in series]
        files = {"destinations": str(house.destinations), "commitment": str(house.commitment)}
        with open_door(house.data, **files) as door:
            yield Site(house=house, door=door, ct=asks, pacs=keeps, objects=objects)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One in which nobody delivers, for what the door alone answers."""
    with site(tmp_path_factory.mktemp("quiet")) as one:
        yield one


def test_what_the_archive_commits_is_committed_to_the_modality_and_the_study_tells_it(tmp_path: Path) -> None:
    with site(tmp_path) as here, delivering(here.house):
        transaction = here.ask()
        told = here.ct.report_of(transaction)
        here.until(RequestState.REPORTED)
        (row,) = here.house.store.board.work_list()
        study = here.house.store.board.study(row.study.study_instance_uid)
    assert (told.event_type, told.committed, told.failed) == (1, here.uids, {})
    ((inquiry, asked),) = here.pacs.requests
    assert inquiry != transaction
    assert tuple(asked) == here.uids
    assert study is not None
    lines = [(one.what, one.cause) for one in study.events if one.what.startswith("commitment")]
    assert lines == [
        ("commitment_decided", f"4 of 4 instances committed, transaction {transaction}"),
        ("commitment_reported", "4 of 4 instances committed, to CT1"),
    ]


def test_what_we_do_not_hold_or_hold_as_something_else_fails_and_the_archive_is_not_asked_for_it(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as here, delivering(here.house):
        (cls, first), (_, second), *_ = here.objects
        transaction = here.ask([(cls, first), (MR, second), (cls, "1.2.3")])
        told = here.ct.report_of(transaction)
    assert (told.event_type, told.committed, told.failed) == (2, (first,), {second: 0x0119, "1.2.3": 0x0112})
    assert [asked for _, asked in here.pacs.requests] == [[first]]


def test_an_instance_that_comes_just_after_the_request_is_waited_for(tmp_path: Path) -> None:
    with site(tmp_path, look_for_s=60) as here, delivering(here.house):
        here.ct.report_of(here.ask())  # delivery is at work
        late = ct_series(slices=1, seed=5)
        transaction = here.ask([(str(late[0].SOPClassUID), str(late[0].SOPInstanceUID))])
        time.sleep(2)
        assert len(here.pacs.requests) == 1
        here.house.take_in(late)
        assert here.ct.report_of(transaction).committed == (str(late[0].SOPInstanceUID),)


def test_an_instance_whose_file_is_gone_is_not_committed(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        wanted = here.house.store.requests
        transaction = here.ask()
        found = wanted.claim("CT1", now=here.line().asked_at, duration=timedelta(0))
        assert found is not None
        held = found.wanted[0].held
        assert held is not None
        here.house.files.path(held[1][0]).unlink()
        with delivering(here.house):
            told = here.ct.report_of(transaction)
    assert told.failed == {here.uids[0]: 0x0112}
    assert told.committed == here.uids[1:]


def test_what_the_archive_does_not_have_yet_is_asked_for_again_and_only_that(tmp_path: Path) -> None:
    faults = {"fails": lambda number, uids: uids[2:] if number == 1 else []}
    with site(tmp_path, pacs=faults) as here, delivering(here.house):
        told = here.ct.report_of(here.ask())
    assert (told.event_type, told.committed) == (1, here.uids)
    assert [tuple(asked) for _, asked in here.pacs.requests] == [here.uids, here.uids[2:]]


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"fails": lambda number, uids: uids[1:] if number == 1 else uids}, 0x0112),
        ({"answers": False}, 0x0110),
        ({"status": 0x0110}, 0x0110),
    ],
    ids=["has it not", "says nothing", "refuses"],
)
def test_what_the_archive_has_not_committed_in_time_fails(
    tmp_path: Path, faults: dict[str, object], reason: int
) -> None:
    # one that answers is listened to: an answer that meets our release costs pynetdicom a timeout
    quick = {"commitment_answer_within_s": 1, "commitment_wait_s": 5 if "fails" in faults else 0.1}
    with site(tmp_path, pacs=faults, archive_choices=quick, decide_within_s=12) as here, delivering(here.house):
        here.warm_up()
        told = here.ct.report_of(here.ask())
        assert len(here.pacs.requests) >= 2
    committed = here.uids[:1] if "fails" in faults else ()
    assert told.committed == committed
    assert told.failed == dict.fromkeys(here.uids[len(committed) :], reason)


def test_an_archive_that_is_down_is_asked_when_it_is_back_and_else_the_request_fails(tmp_path: Path) -> None:
    with site(tmp_path, decide_within_s=6) as here:
        nobody = free_port()
        assert here.house.destinations
        text = here.house.destinations.read_text()
        here.house.destinations.write_text(text.replace(f":{here.pacs.port}", f":{nobody}"))
        with delivering(here.house):
            here.warm_up()
            first = here.ask()
            wait_until(lambda: here.line().reason is not None, what="a fault")
            assert here.line().reason.code == "destination_unavailable"  # type: ignore[union-attr]
            assert here.ct.report_of(first).failed == dict.fromkeys(here.uids, 0x0110)
            second = here.ask()
            with archive(port=nobody):
                assert here.ct.report_of(second).committed == here.uids


def test_the_archive_may_answer_at_the_door(tmp_path: Path) -> None:
    with (
        site(tmp_path, pacs={"answers": False}, archive_choices={"commitment_wait_s": 0}) as here,
        delivering(here.house),
    ):
        transaction = here.ask()
        wait_until(lambda: here.pacs.requests)
        ((inquiry, _),) = here.pacs.requests
        assert report(here.door.port, event_information(inquiry, here.objects), times=2) == [0x0000, 0x0000]
        assert here.ct.report_of(transaction).committed == here.uids


@pytest.mark.parametrize(
    ("fault", "asked", "reported"),
    [(BEFORE_THE_REQUEST, 1, 1), (AFTER_THE_REQUEST, 2, 1), (BEFORE_THE_REPORT, 1, 1), (AFTER_THE_REPORT, 1, 2)],
    ids=["before the request", "after the request", "before the report", "after the report"],
)
def test_after_a_death_at_any_step_the_next_process_goes_on(
    tmp_path: Path, fault: str, asked: int, reported: int
) -> None:
    quick = {"commitment_answer_within_s": 1}
    with site(tmp_path, archive_choices=quick) as here:
        transaction = here.ask()
        with delivering(here.house, lease_s=1, fault=fault) as process:
            assert process.wait(timeout=60) == 9
        with delivering(here.house):
            here.until(RequestState.REPORTED)
    assert len(here.pacs.requests) == asked
    assert [one.transaction_uid for one in here.ct.reports] == [transaction] * reported
    assert {one.committed for one in here.ct.reports} == {here.uids}


def test_a_modality_that_is_down_or_busy_is_told_when_it_is_back(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        transaction = here.ask()
        assert here.house.commitment
        elsewhere = free_port()
        text = here.house.commitment.read_text()
        here.house.commitment.write_text(text.replace(f":{here.ct.port}", f":{elsewhere}"))
        with delivering(here.house):
            wait_until(lambda: here.line().attempt >= 1 and here.line().state is RequestState.DECIDED)
            with modality(port=elsewhere, answers=lambda number: 0x0110 if number == 1 else 0x0000) as back:
                here.until(RequestState.REPORTED)
    assert [one.transaction_uid for one in back.reports] == [transaction] * 2


def test_a_report_that_is_refused_or_never_taken_is_given_up_listed_and_brought_again_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = {"answers": lambda number: 0x0115 if number == 1 else 0x0000}
    with site(tmp_path, ct=refuses) as here:
        transaction = here.ask()
        with delivering(here.house):
            here.until(RequestState.GIVEN_UP)
            monkeypatch.setenv("VIGIE_DATA", str(here.house.data))
            listed = vigie("list").stdout
            assert transaction in listed
            assert "answered status 0x0115 to the report [report_refused]" in listed
            assert vigie("report", "--all").stdout == "1 of 1 will be reported again\n"
            here.until(RequestState.REPORTED)
    assert vigie("list").stdout == "None.\n"
    assert vigie("report", transaction).exit_code == 1
    assert vigie("report").exit_code == 2
    with site(tmp_path / "other", report_within_s=2) as here:
        here.ask()
        assert here.house.commitment
        text = here.house.commitment.read_text()
        here.house.commitment.write_text(text.replace(f":{here.ct.port}", f":{free_port()}"))
        with delivering(here.house):
            here.until(RequestState.GIVEN_UP)
        assert here.line().attempt >= 2


def vigie(*words: str):
    return CliRunner().invoke(app, ["commitments", *words])


def test_a_request_is_kept_before_it_is_acknowledged_and_its_transaction_uid_taken_once(quiet: Site) -> None:
    transaction = quiet.ask()
    lines = quiet.house.store.requests.lines({RequestState.ASKED})
    assert transaction in {one.transaction_uid for one in lines}
    assert quiet.ct.ask(quiet.door.port, transaction, quiet.objects) == 0x0131


def test_the_role_may_be_proposed_or_left_out(quiet: Site) -> None:
    assert quiet.ct.ask(quiet.door.port, generate_uid(), quiet.objects, scu_role=True) == 0x0000


def test_an_ae_that_is_not_in_the_file_is_not_offered_the_service(quiet: Site) -> None:
    information = action_information(generate_uid(), quiet.objects)
    assert request_commitment(quiet.door.port, information, ae_title="STRANGER") is None
    assert request_commitment(quiet.door.port, information, ae_title="STRANGER", scu_role=True) is None


def without(keyword: str, *, of_item: bool = False) -> Dataset:
    information = action_information("1.2.3", [(MR, "1.2.4")])
    del (information.ReferencedSOPSequence[0] if of_item else information)[keyword]
    return information


@pytest.mark.parametrize(
    ("information", "changes", "status"),
    [
        (action_information("1.2.3", [(MR, "1.2.4")]), {"instance": "1.2.5"}, 0x0112),
        (action_information("1.2.3", [(MR, "1.2.4")]), {"action_type": 2}, 0x0123),
        (without("TransactionUID"), {}, 0x0115),
        (without("ReferencedSOPSequence"), {}, 0x0115),
        (without("ReferencedSOPClassUID", of_item=True), {}, 0x0115),
        (without("ReferencedSOPInstanceUID", of_item=True), {}, 0x0115),
        (action_information("1.2.3", []), {}, 0x0115),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused(
    quiet: Site, information: Dataset, changes: dict[str, object], status: int
) -> None:
    assert request_commitment(quiet.door.port, information, **changes) == status  # type: ignore[arg-type]


def test_while_the_database_is_away_a_request_is_refused_and_instances_are_taken(quiet: Site, tmp_path: Path) -> None:
    files = {"destinations": str(quiet.house.destinations), "commitment": str(quiet.house.commitment)}
    nobody = f"postgresql://vigie@127.0.0.1:{free_port()}/vigie"
    with open_door(tmp_path, database_url=nobody, **files) as door:
        assert quiet.ct.ask(door.port, generate_uid(), quiet.objects) == 0x0110
        one = ct_series(slices=1)[0]
        with associate(door.port) as association:
            assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000
