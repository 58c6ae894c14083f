"""HL7 ADT messages: what is understood of them, what is answered, and what is kept of those nobody can understand."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.backends.files import FolderStudyFiles
from services.backends.store import SqlStudyStore, open_store
from services.gateway.adt.intake import AdtIntake
from services.gateway.adt.message import CHARACTER_SETS, moment
from services.triage.errors import MessageRefused, StoreUnavailable
from services.triage.patient import AdtMessage, Demographics, PatientKey, Register
from tests.support.hl7 import adt_message, code, condition, fields
from tests.support.records import NOON

PID = "PID|1||P1^^^NORTH^MR||Roe^Jane||19600102|F"
MRG = "MRG|P0^^^NORTH^MR"


class Heard:
    """In the place of the store: what was said to it."""

    def __init__(self, data: Path) -> None:
        self.messages: list[AdtMessage] = []
        self.counted: list[tuple[str, str]] = []
        self.register = Register()
        self.files = FolderStudyFiles(data)
        self.intake = AdtIntake(store=self, files=self.files)  # type: ignore[arg-type]
        self._quarantine = data / "quarantine"

    def reconcile_patients(self, message: AdtMessage, *, now: datetime) -> SimpleNamespace:
        self.messages.append(message)
        self.register.apply(message)
        return SimpleNamespace(outcome=SimpleNamespace(value="applied"), studies=0, retired=False)

    def count_message(self, trigger_event: str, outcome: str) -> None:
        self.counted.append((trigger_event, outcome))

    def answer(self, message: bytes) -> bytes:
        return self.intake.answer(message, received_from="192.0.2.7", now=NOON)

    def demographics(self, *segments: str, **header: str) -> Demographics:
        answer = self.answer(adt_message(*segments, **header))
        assert code(answer) == "AA", answer
        return self.messages[-1].changes[0].demographics

    def quarantined(self) -> dict[str, bytes]:
        """Message by the code of its reason."""
        notes = {path: json.loads(path.read_text()) for path in self._quarantine.glob("*.json")}
        return {note["code"]: path.with_suffix(".bin").read_bytes() for path, note in notes.items()}


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path)


def test_an_update_says_name_birth_date_and_sex_of_an_id_and_its_assigning_authority(heard: Heard) -> None:
    answer = heard.answer(adt_message(PID, control_id="4711"))
    assert fields(answer, "MSA") == ["MSA", "AA", "4711", ""]
    assert fields(answer, "MSH")[2:6] == ["VIGIE", "RAD", "HIS", "HOSP"]
    assert (fields(answer, "MSH")[8], fields(answer, "MSH")[17]) == ("ACK^A08^ACK", "UNICODE UTF-8")
    (message,) = heard.messages
    (change,) = message.changes
    assert (message.trigger_event, message.control_id, message.stamp.sender) == ("A08", "4711", "HOSP/HIS")
    assert (change.keys, change.merges) == ((PatientKey(patient_id="P1", issuer="NORTH"),), ())
    assert change.demographics == Demographics(patient_name="Roe^Jane", patient_birth_date="19600102", patient_sex="F")


@pytest.mark.parametrize(
    ("xpn", "name"),
    [
        ("Roe^Jane^Mary^Jr^Dr^MD^L", "Roe^Jane^Mary^Dr^Jr MD"),
        ("Roe", "Roe"),
        ("van Gogh&van&Gogh^Vincent", "van Gogh^Vincent"),
        ("Maiden^Jane^^^^^M~Roe^Jane^^^^^L", "Roe^Jane"),
        ("Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("山田^太郎^^^^^L^I~ヤマダ^タロウ^^^^^L^P", "=山田^太郎=ヤマダ^タロウ"),
        (r"O\T\Neil\S\x=y^Ja\X0D\ne\.sp99999999\\H\z\N\ ", "O&Neil x y^Ja ne z"),
        ("山田\u3000太郎", "山田 太郎"),
        ('""', ""),
        ('""^Jane', "^Jane"),
        ("", None),
        ("^^", None),
        (f"{'x' * 70}^Jane", "x" * 64),
    ],
)
def test_a_name_becomes_one_of_dicom(heard: Heard, xpn: str, name: str | None) -> None:
    assert heard.demographics(f"PID|1||P1||{xpn}").patient_name == name


@pytest.mark.parametrize(
    ("told", "date"),
    [("19600102", "19600102"), ("196001021530+0100", "19600102"), ("196001", "196001"), ("1960", "1960"), ('""', "")],
)
def test_a_birth_date_is_as_exact_as_it_was_told(heard: Heard, told: str, date: str) -> None:
    assert heard.demographics(f"PID|1||P1||Roe||{told}").patient_birth_date == date


@pytest.mark.parametrize(
    ("told", "sex"),
    [("F", "F"), ("m", "M"), ("O", "O"), ("A", "O"), ("N", "O"), ("U", ""), ('""', ""), ("", None), ("X7", None)],
)
def test_a_sex_becomes_one_of_dicom(heard: Heard, told: str, sex: str | None) -> None:
    assert heard.demographics(f"PID|1||P1||Roe|||{told}").patient_sex == sex


@pytest.mark.parametrize(
    ("character_set", "codec", "name"),
    [
        ("8859/1", "latin-1", "Müller^Änne"),
        ("8859/5", "iso8859-5", "Иванов^Иван"),
        ("UNICODE UTF-8", "utf-8", "Müller^山田"),
        ("utf-8", "utf-8", "Müller^山田"),
        ("ASCII~ISO IR87", "iso2022_jp", "Yamada^山田"),
        ("~ISO IR87", "iso2022_jp", "ｶ^亜^円".replace("ｶ", "カ")),
        ("ISO IR6~ISO IR14~ISO IR87", "iso2022_jp_ext", "ﾔﾏﾀﾞ^山田"),
        ("KS X 1001", "euc_kr", "김^희중"),
        ("GB 18030-2000", "gb18030", "王^小东"),
        ("", "ascii", "Mueller^Anne"),
    ],
)
def test_names_are_read_in_the_character_set_that_is_told(
    heard: Heard, character_set: str, codec: str, name: str
) -> None:
    told = heard.demographics(f"PID|1||P1||{name}", character_set=character_set, codec=codec)
    assert told.patient_name == name


def test_every_id_of_a_patient_is_told_and_the_namespace_is_the_issuer(heard: Heard) -> None:
    heard.demographics("PID|1|OLD|P1^5^M11^NORTH&1.2.3&ISO^MR~999^^^&2.16.1&ISO~7~P1^^^NORTH~^^^NORTH||Roe")
    keys = [(key.patient_id, key.issuer) for key in heard.messages[0].changes[0].keys]
    assert keys == [("P1", "NORTH"), ("999", "2.16.1"), ("7", "")]


@pytest.mark.parametrize("event", ["A40^ADT_A39", "A18", "A47"])
def test_a_merge_pairs_ids_by_their_assigning_authority(heard: Heard, event: str) -> None:
    answer = heard.answer(
        adt_message("PID|1||B^^^NORTH~222^^^SSA||Roe", "PD1||", "MRG|A^^^NORTH~111^^^SSA~9^^^OTHER", event=event)
    )
    assert code(answer) == "AA"
    merges = [(prior.patient_id, now.patient_id) for prior, now in heard.messages[0].changes[0].merges]
    assert merges == [("A", "B"), ("111", "222")]


def test_a_prior_id_that_is_listed_as_one_that_goes_on_does_not(heard: Heard) -> None:
    assert code(heard.answer(adt_message("PID|1||A^^^N~B^^^N||Roe", "MRG|A^^^N", event="A40"))) == "AA"
    (change,) = heard.messages[0].changes
    assert ([key.patient_id for key in change.keys], len(change.merges)) == (["B"], 1)


@pytest.mark.parametrize(
    ("surviving", "prior", "becomes"),
    [
        ("V777^^^HOSP^VN~123^^^HOSP^MR", "999^^^HOSP^MR", "123"),
        ("078051120^^^^SS~123^^^HOSP^MR", "999^^^HOSP^MR", "123"),
        ("078051120^^^^SS~123^^^^mr", "999", "123"),
        ("I5^^^HOSP^PI~123^^^HOSP^MR", "I4^^^HOSP^PI~999^^^HOSP^MR", "123"),
        ("I5^^^HOSP^PI~123^^^HOSP^MR", "999^^^HOSP^PT", "I5"),
        ("123^^^HOSP^MR", f"{'9' * 70}^^^HOSP^VN~999^^^HOSP", "123"),
    ],
)
def test_a_merge_goes_to_an_id_of_the_patient_and_never_to_the_number_of_something_else(
    heard: Heard, surviving: str, prior: str, becomes: str
) -> None:
    intake = replace(heard.intake, default_issuer="HOSP")
    for event in ("A40", "A18", "A47"):
        message = adt_message(f"PID|1||{surviving}||Roe", f"MRG|{prior}", event=event)
        assert code(intake.answer(message, received_from="192.0.2.7", now=NOON)) == "AA"
        merges = {before.patient_id: now.patient_id for before, now in heard.messages[-1].changes[0].merges}
        assert merges["999"] == becomes


def test_an_update_renames_nobody_whose_id_is_the_number_of_the_patients_visit(heard: Heard) -> None:
    heard.demographics("PID|1||123^^^HOSP^MR~5001^^^HOSP^VN||Roe")
    assert [key.patient_id for key in heard.messages[0].changes[0].keys] == ["123"]


def test_a_site_says_which_types_of_ids_are_its_patients(heard: Heard) -> None:
    intake = replace(heard.intake, identifier_types=frozenset({"PAT"}))
    message = adt_message("PID|1||123^^^HOSP^PAT~5^^^HOSP^MR~7||Roe")
    assert code(intake.answer(message, received_from="192.0.2.7", now=NOON)) == "AA"
    assert [key.patient_id for key in heard.messages[0].changes[0].keys] == ["123", "7"]


def test_an_id_without_an_authority_is_of_the_default_one(heard: Heard) -> None:
    intake = replace(heard.intake, default_issuer="NORTH")
    message = adt_message("PID|1||B^^^NORTH~222^^^SSA||Roe", "MRG|A", event="A40")
    assert code(intake.answer(message, received_from="192.0.2.7", now=NOON)) == "AA"
    ((prior, surviving),) = heard.messages[0].changes[0].merges
    assert (prior, surviving) == (
        PatientKey(patient_id="A", issuer="NORTH"),
        PatientKey(patient_id="B", issuer="NORTH"),
    )


def test_a_message_may_merge_several_patients_and_across_assigning_authorities(heard: Heard) -> None:
    message = adt_message("PID|1||B^^^N", "MRG|A^^^S", "PID|2||D^^^N", "MRG|C^^^N", event="A40", recorded="2026")
    assert code(heard.answer(message)) == "AA"
    held = [heard.register.survivor(PatientKey(patient_id=i, issuer=j)).patient_id for i, j in (("A", "S"), ("C", "N"))]
    assert held == ["B", "D"]


@pytest.mark.parametrize(
    ("message", "acknowledgement", "number", "location"),
    [
        (adt_message(PID, event="A01"), "AR", "201", "MSH^1^9^1^2"),
        (adt_message(PID, event="A08").replace(b"ADT^A08", b"ORM^O01"), "AR", "200", "MSH^1^9^1^1"),
        (adt_message(PID).replace(b"|2.5|", b"|3.0|"), "AR", "203", "MSH^1^12"),
        (adt_message(PID, control_id=""), "AE", "101", "MSH^1^10"),
        (adt_message(PID, character_set="KLINGON"), "AE", "103", "MSH^1^18"),
        (adt_message("PID|1||P1||Müller", codec="latin-1"), "AE", "102", "MSH^1^18"),
        (adt_message("PID|1||^^^NORTH||Roe"), "AE", "101", "PID^1^3"),
        (adt_message("PID|1||5001^^^NORTH^VN||Roe"), "AE", "103", "PID^1^3"),
        (adt_message(PID, "MRG|V7^^^NORTH^VN", event="A40"), "AE", "103", "MRG^1^1"),
        (adt_message("PID|1||P1||Roe||19601345"), "AE", "102", "PID^1^7"),
        (adt_message(f"PID|1||{'9' * 65}||Roe"), "AE", "102", "PID^1^3"),
        (adt_message(), "AE", "100", ""),
        (adt_message(PID, event="A40"), "AE", "100", "MRG^1"),
        (adt_message(MRG, PID, event="A40"), "AE", "100", "MRG^1"),
        (adt_message(PID, "MRG|", event="A40"), "AE", "101", "MRG^1^1"),
        (adt_message("PID|1||B^^^N~C^^^S", "MRG|A^^^W", event="A40"), "AE", "102", "MRG^1^1"),
        (b"", "AE", "100", "MSH^1^1"),
        (b"PID|1||P1\r", "AE", "100", "MSH^1^1"),
        (b"MSH|^^\\&|HIS", "AE", "100", "MSH^1^1"),
    ],
)
def test_what_cannot_be_taken_is_answered_with_the_place_and_the_code(
    heard: Heard, message: bytes, acknowledgement: str, number: str, location: str
) -> None:
    answer = heard.answer(message)
    assert (code(answer), condition(answer), fields(answer, "ERR")[2]) == (acknowledgement, number, location)
    assert fields(answer, "MSA")[3] == fields(answer, "ERR")[8] != ""
    assert heard.messages == []
    kept = heard.quarantined()
    assert list(kept.values()) == ([message] if acknowledgement == "AE" else [])


def test_a_message_is_counted_under_an_event_that_is_taken_or_as_other(heard: Heard) -> None:
    cut_short = MessageRefused("too_large", "it is too large", condition=100)
    for event in ("A40", "A01"):
        heard.intake.answer(adt_message(PID, event=event), received_from="192.0.2.7", now=NOON, cut_short=cut_short)
    heard.answer(b"")
    assert heard.counted == [("A40", "refused"), ("other", "refused"), ("other", "refused")]


def test_no_answer_and_no_reason_quotes_a_value(heard: Heard) -> None:
    for message in (adt_message("PID|1||SECRET1^^^NORTH||SECRET2||SECRET3"), adt_message("PID|1||||SECRET2")):
        assert b"SECRET" not in heard.answer(message)
    assert "SECRET" not in "".join(path.read_text() for path in heard._quarantine.glob("*.json"))


def test_a_message_with_delimiters_of_its_own_is_answered_in_them(heard: Heard) -> None:
    message = adt_message(PID).replace(b"&", b"?").replace(b"|", b"#").replace(b"^", b"!")
    answer = heard.answer(message)
    assert answer.startswith(b"MSH#!~\\?#VIGIE#RAD#HIS#HOSP#")
    assert b"\rMSA#AA#1#" in answer
    assert heard.messages[0].changes[0].demographics.patient_name == "Roe^Jane"


def test_segments_may_end_in_newlines(heard: Heard) -> None:
    for ending in (b"\n", b"\r\n", b"\r\r"):
        assert code(heard.answer(adt_message(PID).replace(b"\r", ending))) == "AA"


@pytest.mark.parametrize(("mode", "expected"), [("|AL|NE|", "CA"), ("|NE|AL|", "AA"), ("|||", "AA")])
def test_the_enhanced_mode_is_answered_with_an_accept_acknowledgement(heard: Heard, mode: str, expected: str) -> None:
    message = adt_message(PID).replace(b"|2.5||||||", f"|2.5||{mode}|".encode())
    assert code(heard.answer(message)) == expected


def test_a_store_that_is_away_makes_the_sender_send_again(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("OperationalError")

    monkeypatch.setattr(heard, "reconcile_patients", away)
    answer = heard.answer(adt_message(PID))
    assert (code(answer), condition(answer)) == ("AR", "207")
    assert "send the message again" in fields(answer, "MSA")[3]
    assert heard.quarantined() == {}


def test_what_can_neither_be_understood_nor_be_kept_is_to_be_sent_again(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwritable(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(heard.files, "quarantine", unwritable)
    answer = heard.answer(adt_message())
    assert (code(answer), condition(answer)) == ("AR", "207")


def test_an_error_nobody_foresaw_is_answered_and_the_message_kept(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("Roe^Jane")

    monkeypatch.setattr(heard, "reconcile_patients", broken)
    assert (code(heard.answer(adt_message(PID))), list(heard.quarantined())) == ("AE", ["internal_error"])
    assert "Roe" not in "".join(capfd.readouterr())


def test_the_time_is_that_of_the_event_and_never_in_the_future(heard: Heard) -> None:
    for recorded in ("20260301100000+0000", "20260301110000+0100", "20270101"):
        heard.answer(adt_message(PID, recorded=recorded))
    earlier = datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert [one.stamp.at for one in heard.messages] == [earlier, earlier, NOON]


@pytest.mark.parametrize("text", ["", "2026-03-01", "20261301", "202603012460", "0000", "20260301120000+9999"])
def test_what_is_no_point_in_time_is_none(text: str) -> None:
    assert moment(text) is None


def test_every_character_set_has_a_codec(heard: Heard) -> None:
    for character_set in sorted(CHARACTER_SETS):
        assert code(heard.answer(adt_message(PID, character_set=character_set))) == "AA", character_set


# --- whatever comes -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SqlStudyStore:
    return open_store(f"sqlite:///{tmp_path_factory.mktemp('fuzz') / 'vigie.sqlite'}")


BYTES = st.binary(max_size=60)
LINES = st.text(st.sampled_from('|^~\\&"PIDMRGA40.X\r\n3 é山\x00\ud7ff'), max_size=80)
MESSAGES = st.one_of(
    BYTES,
    st.builds(lambda line, event: adt_message(line, event=event), LINES, st.sampled_from(["A08", "A40", "A99"])),
    st.builds(lambda a, b: adt_message(f"PID|1||{a}||{b}||{a}|{b}", f"MRG|{b}", event="A40"), LINES, LINES),
    st.builds(lambda rest: b"MSH|^~\\&|" + rest, BYTES),
    st.builds(lambda where, byte: _with(adt_message(PID), where, byte), st.integers(0, 150), st.binary(max_size=2)),
)


def _with(message: bytes, where: int, byte: bytes) -> bytes:
    return message[:where] + byte + message[where + 1 :]


@given(MESSAGES)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_message_has_an_answer_and_none_breaks_anything(
    store: SqlStudyStore, tmp_path: Path, message: bytes
) -> None:
    files = FolderStudyFiles(tmp_path)
    intake = AdtIntake(store=store, files=files)
    answer = intake.answer(message, received_from="192.0.2.7", now=NOON)
    assert answer.startswith(b"MSH")
    notes = [json.loads(path.read_text())["code"] for path in (tmp_path / "quarantine").glob("*.json")]
    assert "internal_error" not in notes
