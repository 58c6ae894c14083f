"""The HL7 listener as a real process: frames good and bad, many connections, TLS, deaths and outages."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.gateway.adt.frames import MAX_MESSAGE_BYTES, MessageTooLong, next_message
from services.gateway.adt.listener import MAX_CONNECTIONS
from tests.support.certificates import Authority
from tests.support.hl7 import Mllp, adt_message, code, condition, fields, framed, mllp_send
from tests.support.listener import DIES_BEFORE_IT_ANSWERS, Listener, listener
from tests.support.postgres import postgres
from tests.support.records import STUDY, analyse

PID = "PID|1||P1||Roe^Jane||19600102|F"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    with listener(tmp_path_factory.mktemp("adt")) as opened:
        yield opened


@pytest.fixture
def peer(running: Listener) -> Iterator[Mllp]:
    connection = Mllp(running.port)
    yield connection
    connection.close()


def control_ids(answers: list[bytes | None]) -> list[str]:
    return [fields(answer or b"", "MSA")[2] for answer in answers]


def test_python_hl7s_own_client_is_answered(running: Listener, tmp_path: Path) -> None:
    assert fields(mllp_send(running.port, adt_message(PID, control_id="7"), tmp_path), "MSA")[:3] == ["MSA", "AA", "7"]


def test_messages_on_one_connection_are_answered_in_their_order(peer: Mllp) -> None:
    messages = [adt_message(PID, control_id=str(number)) for number in range(20)]
    assert control_ids(peer.ask_all(messages)) == [str(number) for number in range(20)]


def test_what_stands_outside_of_frames_is_skipped(peer: Mllp) -> None:
    begun = adt_message(PID, control_id="begun")[:40]
    peer.send(b"\r\n\x00garbage" + framed(adt_message(PID, control_id="1")) + b"\x1c\r\n\n\x0b" + begun)
    peer.send(framed(adt_message(PID, control_id="2")))
    assert control_ids([peer.answer(), peer.answer()]) == ["1", "2"]


def test_a_bad_message_does_not_stop_the_next(peer: Mllp) -> None:
    answers = peer.ask_all([b"", b"\xff\xfe", adt_message(PID, event="Z99"), adt_message(PID)])
    assert [code(answer or b"") for answer in answers] == ["AE", "AE", "AR", "AA"]


def test_a_message_that_is_too_long_is_answered_and_its_connection_closed(running: Listener, peer: Mllp) -> None:
    long = adt_message(PID, "OBX|1|ED|||" + "x" * (2 * MAX_MESSAGE_BYTES), control_id="long")
    peer.send(framed(long)[: MAX_MESSAGE_BYTES + 10])
    answer = peer.answer() or b""
    assert (code(answer), condition(answer), fields(answer, "MSA")[2]) == ("AE", "207", "long")
    assert peer.answer() is None
    another = Mllp(running.port)
    assert code(another.ask(adt_message(PID)) or b"") == "AA"
    another.close()


def test_a_peer_that_goes_in_the_middle_leaves_nothing(running: Listener) -> None:
    for part in (b"", b"\x0b", framed(adt_message(PID))[:-2]):
        gone = Mllp(running.port)
        gone.send(part)
        gone.close()
    another = Mllp(running.port)
    assert code(another.ask(adt_message(PID)) or b"") == "AA"
    another.close()


def test_many_connections_are_served_and_one_too_many_is_closed(running: Listener) -> None:
    peers = [Mllp(running.port) for _ in range(MAX_CONNECTIONS)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: one.ask(adt_message(PID)), peers))
    assert {code(answer or b"") for answer in answers} == {"AA"}
    surplus = Mllp(running.port)
    assert surplus.answer() is None
    for one in (surplus, *peers):
        one.close()


def test_no_patient_data_are_in_the_log(running: Listener, peer: Mllp) -> None:
    peer.ask_all([adt_message(PID), adt_message("PID|1||||Roe"), adt_message(PID.replace("P1", "P" * 70))])
    text = running.log.read_text()
    assert "adt_taken" in text
    assert "adt_refused" in text
    assert not [word for word in ("Roe", "Jane", "19600102", "PPPP") if word in text]


def test_it_stops_at_once_while_connections_are_silent(tmp_path: Path) -> None:
    with listener(tmp_path) as opened:
        silent = Mllp(opened.port)
        assert code(silent.ask(adt_message(PID)) or b"") == "AA"
        assert opened.stop() == 0
        assert silent.answer() is None
        silent.close()


def test_a_death_between_commit_and_answer_and_the_message_again(tmp_path: Path) -> None:
    message = adt_message("PID|1||B||Roe^Jane", "MRG|P1", event="A40")
    with listener(tmp_path, first=DIES_BEFORE_IT_ANSWERS) as opened:
        analyse(opened.store())
        peer = Mllp(opened.port)
        assert peer.ask(message) is None
        assert opened.process.wait(30) == -9
    with listener(tmp_path) as opened:
        peer = Mllp(opened.port)
        assert code(peer.ask(message) or b"") == "AA"
        peer.close()
        store = opened.store()
    found = store.board.study(STUDY)
    assert found is not None
    assert (found.row.study.patient_id, len(found.versions)) == ("B", 2)
    assert len([one for one in found.events if one.what == "patient_data"]) == 1
    assert store.board.counts().adt == {("A40", "applied"): 1, ("A40", "unchanged"): 1}


def test_while_the_database_is_away_the_sender_is_told_to_send_again(tmp_path: Path) -> None:
    with postgres() as server, server.database() as url, listener(tmp_path, database_url=url) as opened:
        peer = Mllp(opened.port)
        assert code(peer.ask(adt_message(PID)) or b"") == "AA"
        server.kill()
        answers = [peer.ask(message) or b"" for message in (adt_message(PID), adt_message(PID, event="A01"))]
        assert [(code(one), condition(one)) for one in answers] == [("AR", "207"), ("AR", "207")]
        server.start()
        assert code(peer.ask(adt_message(PID)) or b"") == "AA"
        peer.close()


def test_ids_without_an_authority_are_of_the_default_one(tmp_path: Path) -> None:
    with listener(tmp_path, hl7_assigning_authority="NORTH") as opened:
        analyse(opened.store())
        peer = Mllp(opened.port)
        for authority, name in (("SOUTH", "Roe^S"), ("NORTH", "Roe^N"), ("SOUTH", "Roe^S")):
            peer.ask(adt_message(f"PID|1||P1^^^{authority}||{name}"))
        peer.close()
        found = opened.store().board.study(STUDY)
    assert found is not None
    assert (found.row.study.patient_name, found.row.study.issuer_of_patient_id) == ("Roe^N", "")


def test_with_tls_only_who_shows_a_certificate_is_heard(authority: Authority, tmp_path: Path) -> None:
    mine, theirs = authority.certificate("127.0.0.1"), authority.certificate("his.example")
    tls = {"hl7_certificate": mine.certificate, "hl7_key": mine.key, "hl7_ca": authority.ca}
    known, unknown = (ssl.create_default_context(cafile=authority.ca) for _ in range(2))
    known.load_cert_chain(theirs.certificate, theirs.key)
    with listener(tmp_path, **tls) as opened:
        peer = Mllp(opened.port, context=known)
        assert code(peer.ask(adt_message(PID)) or b"") == "AA"
        peer.close()
        for context in (unknown, None):
            with contextlib.suppress(ssl.SSLError):
                assert Mllp(opened.port, context=context).ask(adt_message(PID)) is None
        assert sum(opened.store().board.counts().adt.values()) == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"hl7_certificate": __file__, "hl7_key": __file__}, f"{__file__}, or its key, cannot be used for TLS"),
        ({"hl7_ca": __file__}, "VIGIE_HL7_CA"),
        ({"hl7_character_set": "KLINGON"}, "VIGIE_HL7_CHARACTER_SET"),
    ],
)
def test_a_setting_that_cannot_be_used_is_said(tmp_path: Path, wrong: dict[str, str], told: str) -> None:
    with listener(tmp_path, **wrong) as opened:
        assert opened.process.wait(30) == 1
        assert told in opened.log.read_text()


def read(*parts: bytes, limit: int = 100, within_s: float = 5, ends: bool = True) -> list[bytes | None]:
    """What comes of these bytes, up to the end of the connection."""

    async def messages() -> list[bytes | None]:
        reader = asyncio.StreamReader(limit=limit)
        for part in parts:
            reader.feed_data(part)
        if ends:
            reader.feed_eof()
        found: list[bytes | None] = []
        while not found or found[-1] is not None:
            found.append(await next_message(reader, limit=limit, within_s=within_s))
        return found

    return asyncio.run(messages())


def test_a_message_that_never_ends_is_not_waited_for() -> None:
    assert read(b"\x0bMSH|", within_s=0.05, ends=False) == [None]


def test_garbage_without_a_frame_is_not_read_for_ever() -> None:
    assert read(b"x" * 1000, ends=False) == [None]


def test_of_a_message_that_is_too_long_the_beginning_is_told() -> None:
    with pytest.raises(MessageTooLong) as raised:
        read(b"\x0bMSH|" + b"x" * 200)
    assert raised.value.beginning.startswith(b"MSH|")
