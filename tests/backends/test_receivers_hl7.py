"""A notification as ORU^R01, read back by python-hl7; and what a receiver's acknowledgement means for it."""

import ssl
import threading
from dataclasses import replace

import hl7
import pytest

from services.backends.files import FolderStudyFiles
from services.backends.receivers.hl7_oru import oru_message
from services.backends.receivers.mllp import MllpNotifier
from services.backends.receivers.sample import sample
from services.backends.senders.link import PLAIN, Link, Tls
from services.triage.errors import DestinationRefused, DestinationUnavailable, Reason
from services.triage.finding import Flag, Outcome
from services.triage.result import IDENTITY_CORRECTED
from tests.support.certificates import Authority
from tests.support.mllp import mllp_server
from tests.support.peers import free_port
from tests.support.records import lesion
from tests.support.telling import hl7_table, replacing, value_of, with_finding, with_study


def message(notification=None, **choices):
    notification = notification or sample()
    return hl7.parse(oru_message(notification, value_of(notification), hl7_table(**choices)))


def observations(parsed, code):
    return [obx for obx in parsed.segments("OBX") if str(obx[3][0][0]) == code]


def statuses(parsed):
    return {str(obx[11]) for obx in parsed.segments("OBX")}


def test_the_message_is_preliminary_throughout_and_closes_no_order():
    parsed = message()
    assert str(parsed.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert str(parsed.segment("MSH")[12]) == "2.5.1"
    assert str(parsed.segment("OBR")[25]) == "P"
    assert statuses(parsed) == {"P", "O"}
    assert len(parsed.segment("ORC")) <= 5
    assert "Preliminary result of an AI" in str(parsed)


def test_patient_order_and_study_are_those_of_the_images():
    parsed = message(issuers={"HOSPITAL": "HOSP&1.2.3&ISO"}, patient_id_type="MR")
    assert str(parsed.segment("PID")[3]) == "SAMPLE-1^^^HOSP&1.2.3&ISO^MR"
    assert str(parsed.segment("PID")[5]) == "Sample^Ada^^^Dr^^L"
    assert (str(parsed.segment("PID")[7]), str(parsed.segment("PID")[8])) == ("19600229", "F")
    for segment in ("ORC", "OBR"):
        assert (str(parsed.segment(segment)[2]), str(parsed.segment(segment)[3])) == ("PLACER-1", "ACC-1")
    assert (str(parsed.segment("OBR")[7]), str(parsed.segment("OBR")[18])) == ("20260301114500", "ACC-1")
    (study,) = observations(parsed, "113014")
    assert (str(study[5]), str(study[11])) == ("1.2.826.0.1.3680043.10.1.1", "O")


def test_every_lesion_has_its_numbers_under_its_own_sub_id():
    parsed = message(with_finding(sample(), lesions=(lesion(1, score=0.93), lesion(2, score=0.61))))
    volumes = observations(parsed, "118565006")
    assert [(str(obx[4]), str(obx[5]), str(obx[6][0][0])) for obx in volumes] == [
        ("1", "4200", "mm3"),
        ("2", "4200", "mm3"),
    ]
    assert [str(obx[5]) for obx in observations(parsed, "111012")] == ["93", "93", "61"]
    assert "Lesion 2: score 0.61 (not calibrated on patients)" in str(observations(parsed, "121071")[1][5])


@pytest.mark.parametrize(
    ("calibrated", "words"), [(False, "score 0.93 (not calibrated on patients)"), (True, "score 0.93")]
)
def test_a_score_is_called_a_score(calibrated, words):
    parsed = message(with_finding(sample(), calibrated=calibrated))
    assert {str(nte[3]) for nte in parsed.segments("NTE")} == {words}
    assert "probability" not in str(parsed).lower()


@pytest.mark.parametrize(("score", "percent"), [(0.996, "99"), (1.0, "100"), (0.004, "0")])
def test_only_certainty_is_a_hundred_percent(score, percent):
    parsed = message(with_finding(sample(), score=score, lesions=()))
    assert [str(obx[5]) for obx in observations(parsed, "111012")] == [percent]


@pytest.mark.parametrize("outcome", [Outcome.NOT_ANALYSED, Outcome.FAILED])
def test_what_was_not_looked_at_says_so_and_has_no_number_and_no_priority(outcome):
    reason = Reason(code="too_few_slices", text="3 slices, and the model needs 20")
    finding = {"outcome": outcome, "score": None, "flag": Flag.ROUTINE, "lesions": (), "reason": reason}
    parsed = message(with_finding(sample(), **finding))
    assert observations(parsed, "111012") == observations(parsed, "260870009") == []
    assert str(observations(parsed, "111017")[0][5][0][0]) == "111245"
    assert "[too_few_slices]" in str(observations(parsed, "19005-8")[0][5])


@pytest.mark.parametrize(
    ("outcome", "flag", "abnormal"),
    [
        (Outcome.FOUND, Flag.URGENT, "AA"),
        (Outcome.FOUND, Flag.ROUTINE, "A"),
        (Outcome.EQUIVOCAL, Flag.ROUTINE, ""),
        (Outcome.NOTHING_FOUND, Flag.ROUTINE, ""),
    ],
)
def test_nothing_found_is_never_called_normal(outcome, flag, abnormal):
    parsed = message(with_finding(sample(), outcome=outcome, flag=flag))
    assert str(observations(parsed, "111017")[0][8]) == abnormal


def test_a_result_that_is_taken_back_is_posted_as_wrong_and_says_why():
    parsed = message(sample(withdrawn=True))
    assert statuses(parsed) == {"W", "O"}
    assert "withdrawn: it segments the diaphragm. Read the study as usual." in str(parsed.segments("NTE")[0][3])
    assert str(parsed.segment("OBR")[25]) == "P"


def test_a_corrected_identity_says_nothing_of_the_other_patient():
    corrected = replace(sample(withdrawn=True), withdrawn=IDENTITY_CORRECTED)
    assert "filed under other patient or order data" in str(message(corrected).segments("NTE")[0][3])


def test_a_lesion_that_is_no_longer_seen_is_deleted():
    earlier = with_finding(sample(), lesions=(lesion(1), lesion(2)))
    parsed = message(with_finding(replacing(earlier), lesions=(lesion(2),)))
    assert [(str(obx[4]), str(obx[11])) for obx in observations(parsed, "118565006")] == [("2", "P"), ("1", "D")]
    assert "Replaces the earlier result" in str(observations(parsed, "19005-8")[0][5])


def test_delimiters_of_names_and_numbers_stay_text():
    odd = with_study(sample(), patient_name="O|Neil^A&B~\\C", accession_number="A^1|2", issuer_of_patient_id="X&Y")
    parsed = message(odd)
    assert str(parsed.segment("PID")[5]).startswith("O\\F\\Neil^A\\T\\B\\R\\\\E\\C")
    assert parsed.unescape(str(parsed.segment("OBR")[18])) == "A^1|2"
    assert str(parsed.segment("PID")[3]) == "SAMPLE-1^^^X\\T\\Y^PI"
    assert len(parsed.segments("PID")) == 1


def test_a_name_in_three_scripts_is_three_names():
    parsed = message(with_study(sample(), patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう"))
    assert str(parsed.segment("PID")[5]) == "Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P"


def test_a_site_has_its_own_codes_facilities_and_numbers():
    parsed = message(
        codes={"report": "AI1^AI chest^99RIS", "volume": "V^Vol^99RIS"},
        sending_facility="RAD^1.2.3^ISO",
        receiving_application="RIS",
        placer_order_number="RequestedProcedureID",
        processing_id="T",
        acknowledgement="enhanced",
    )
    header = parsed.segment("MSH")
    assert [str(header[number]) for number in (3, 4, 5, 11, 15, 16)] == [
        "VIGIE",
        "RAD^1.2.3^ISO",
        "RIS",
        "T",
        "AL",
        "NE",
    ]
    assert str(parsed.segment("OBR")[4]).startswith("AI1^AI chest^99RIS^ct_lung_lesion^")
    assert str(parsed.segment("OBR")[2]) == "RP-1"
    assert observations(parsed, "V")


def test_nobody_is_told_of_the_images_of_two_patients():
    of_another = with_study(sample(), patient_id="ANOTHER").instances
    both = replace(sample(), instances=(*sample().instances, *of_another))
    with pytest.raises(DestinationRefused, match="two_patients"):
        message(both)


@pytest.fixture
def notifier(tmp_path):
    def made(address, link=PLAIN, **choices):
        return MllpNotifier(site=hl7_table(address, **choices), link=link, files=FolderStudyFiles(tmp_path))

    return made


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_accepted_message_is_told_and_its_repetition_is_the_same_to_the_byte(notifier, code):
    with mllp_server(code=code) as ris:
        for _ in range(2):
            notifier(ris.address).notify(sample())
    first, second = ris.blocks
    assert first == second
    assert len(str(ris.messages[0].segment("MSH")[10])) == 20


@pytest.mark.parametrize(
    ("code", "error_code", "lasting"),
    [
        ("AE", "", True),
        ("AE", "101", True),
        ("AE", "207^Application internal error^HL70357", False),
        ("AE", "206", False),
        ("AR", "", False),
        ("AR", "200", True),
        ("AR", "203^Unsupported version id^HL70357", True),
        ("CE", "", False),
        ("CE", "102", True),
        ("CR", "", True),
        ("CR", "207", False),
    ],
)
def test_a_refusal_lasts_or_passes_by_its_code(notifier, code, error_code, lasting):
    expected = DestinationRefused if lasting else DestinationUnavailable
    with mllp_server(code=code, error_code=error_code) as ris, pytest.raises(expected, match=code):
        notifier(ris.address).notify(sample())


def test_the_error_code_of_an_older_receiver_counts_too(notifier):
    def answer(message):
        return f"MSH|^~\\&|R||V||1||ACK|1|P|2.3.1\rMSA|AE|{message.segment('MSH')[10]}\rERR|PID^1^3^207&internal\r"

    with mllp_server(answer=answer) as ris, pytest.raises(DestinationUnavailable, match="error 207"):
        notifier(ris.address).notify(sample())


@pytest.mark.parametrize(
    "answer",
    [
        lambda message: "nonsense",
        lambda message: "MSH|^~\\&|R||V||1||ACK|1|P|2.5.1\r",
        lambda message: "MSH|^~\\&|R||V||1||ACK|1|P|2.5.1\rMSA|AA|another\r",
        lambda message: f"MSH|^~\\&|R||V||1||ACK|1|P|2.5.1\rMSA|ZZ|{message.segment('MSH')[10]}\r",
    ],
)
def test_what_is_no_acknowledgement_of_this_message_is_tried_again(notifier, answer):
    with mllp_server(answer=answer) as ris, pytest.raises(DestinationUnavailable):
        notifier(ris.address).notify(sample())


def test_a_receiver_that_is_away_or_silent_is_tried_again(notifier):
    with pytest.raises(DestinationUnavailable, match="cannot be reached"):
        notifier(f"127.0.0.1:{free_port()}").notify(sample())
    with mllp_server() as ris:
        ris.hold.set()
        link = Link(answer_timeout_s=0.3)
        with pytest.raises(DestinationUnavailable, match="did not answer in time"):
            notifier(ris.address, link).notify(sample())


@pytest.mark.parametrize(("character_set", "name"), [("UNICODE UTF-8", "Müller^山"), ("8859/1", "Müller^?")])
def test_the_message_is_in_the_character_set_that_it_names(notifier, character_set, name):
    with mllp_server() as ris:
        notifier(ris.address, character_set=character_set).notify(with_study(sample(), patient_name="Müller^山"))
    text = ris.blocks[0].decode("utf-8" if character_set == "UNICODE UTF-8" else "iso-8859-1")
    assert f"|{character_set}\r" in text
    assert f"|{name}^" in text


def test_over_tls_the_receivers_certificate_is_checked(notifier, tmp_path):
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    given = authority.certificate("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(given.certificate, given.key)
    with mllp_server(tls=context) as ris:
        notifier(ris.address, Link(tls=Tls(ca=authority.ca))).notify(sample())
        assert len(ris.blocks) == 1
        with pytest.raises(DestinationUnavailable, match="certificate is not accepted"):
            notifier(ris.address, Link(tls=Tls(ca=stranger.ca))).notify(sample())
    assert len(ris.blocks) == 1


def test_several_may_be_told_at_the_same_time(notifier):
    with mllp_server() as ris:
        threads = [threading.Thread(target=notifier(ris.address).notify, args=(sample(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ris.blocks) == 4
