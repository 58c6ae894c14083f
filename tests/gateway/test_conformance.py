"""docs/conformance.md against a running listener: what it accepts is what the document says, and nothing else."""

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION, build_context, build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.sop_class import _STORAGE_CLASSES

from services.backends.files import FolderStudyFiles
from services.backends.storage_commitment import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, action_information
from services.backends.store import open_store
from services.settings import Settings
from services.triage.commitment import CommitmentRequest
from tests.support.archive import event_information, report
from tests.support.ct import ct_series
from tests.support.markdown import CONFORMANCE, table
from tests.support.modality import request_commitment
from tests.support.peers import free_port, wait_until
from tests.support.scu import Door, associate, encode, open_door, store
from tests.support.wire import echo_association_request, read_pdu

SERVICES = ("service", "SOP class", "transfer syntaxes", "role of the peer", "accepted")
EVERY_STORAGE_CLASS, ANY_SYNTAX = "every storage class, retired and private ones included", "any that is proposed"
PRIVATE_CLASSES = ("1.2.826.0.1.3680043.9.9999.1", "1.3.6.1.4.1.99999.7")
NAMES = {entry[0]: uid for uid, entry in UID_dictionary.items()}
SYNTAXES = sorted(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax")
CLASSES = sorted(uid for uid, entry in UID_dictionary.items() if entry[1] in ("SOP Class", "Meta SOP Class"))
# what is in no dictionary of pynetdicom but was once a storage class
RETIRED_STORAGE = [uid for uid in CLASSES if re.search(r"Storage( - Trial| SOP Class)?$", UID_dictionary[uid][0])]
ROLES = {"none": None, "SCU": (True, False), "SCP": (False, True)}
CALLING = "CT1"


def commitment(folder: Path) -> dict[str, str]:
    """A door at which CT1 may ask for storage commitment."""
    (folder / "destinations.toml").write_text('[pacs]\naddress = "PACS@127.0.0.1:104"\nstorage_commitment = true\n')
    (folder / "commitment.toml").write_text('[CT1]\narchive = "pacs"\nreport_to = "CT1@127.0.0.1:105"\n')
    return {name: str(folder / f"{name}.toml") for name in ("destinations", "commitment")}


SWITCHED_ON: dict[str, Callable[[Path], dict[str, str]]] = {
    "VIGIE_COMMITMENT": commitment,
    "VIGIE_COMPLETION_SIGNALS": lambda _folder: {"completion_signals": "true"},
}
"""How a service is switched on that the document says is accepted by a setting: the door's settings."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the document's table of services, of a service other than storage."""

    sop_class: str
    syntaxes: tuple[str, ...]
    role: str
    setting: str | None

    @property
    def roles(self) -> set[str]:
        """How a peer may propose the role: an SCU need not."""
        return {"none", "SCU"} if self.role == "SCU" else {"SCP"}


def rows() -> list[Row]:
    return [
        Row(
            sop_class=line["SOP class"],
            syntaxes=tuple(NAMES[name.strip()] for name in line["transfer syntaxes"].split(",")),
            role=line["role of the peer"],
            setting=None if line["accepted"] == "always" else line["accepted"].strip("`"),
        )
        for line in table(*SERVICES)
        if line["SOP class"] != EVERY_STORAGE_CLASS
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A door with nothing but its address set."""
    data = tmp_path_factory.mktemp("plain")
    open_store(Settings(data=data).store_url()).close()
    with open_door(data) as one:
        yield one


@pytest.fixture(scope="module")
def switched_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    """A door for each setting by which something is accepted."""
    with ExitStack() as stack:
        doors = {}
        for setting in {row.setting for row in rows() if row.setting}:
            data = tmp_path_factory.mktemp("on")
            open_store(Settings(data=data).store_url()).close()
            doors[setting] = stack.enter_context(open_door(data, **SWITCHED_ON[setting](data)))
        yield doors


def accepted(
    door: Door, sop_classes: Sequence[str], syntaxes: Sequence[str], role: str = "none"
) -> set[tuple[str, str]]:
    """(SOP class, transfer syntax) each, of these, in a context of its own; what the door accepts in that role."""
    proposed = [build_context(sop_class, syntax) for sop_class in sop_classes for syntax in syntaxes]
    found = set()
    for start in range(0, len(proposed), 100):
        contexts = proposed[start : start + 100]
        ae = AE(ae_title=CALLING)
        ae.acse_timeout = 60
        classes = {str(context.abstract_syntax) for context in contexts}
        roles = [build_role(UID(uid), *ROLES[role]) for uid in classes] if ROLES[role] else []
        association = ae.associate("127.0.0.1", door.port, contexts=contexts, ext_neg=roles)
        for context in association.accepted_contexts:
            as_proposed = (bool(context.as_scu), bool(context.as_scp)) == (ROLES[role] or (True, False))
            if as_proposed:
                found.add((str(context.abstract_syntax), str(context.transfer_syntax[0])))
        if association.is_established:
            association.release()
    return found


def test_the_document_names_a_setting_for_what_is_not_always_accepted_and_this_test_knows_it() -> None:
    assert {row.setting for row in rows()} - {None} == set(SWITCHED_ON)
    for setting in SWITCHED_ON:
        assert setting.removeprefix("VIGIE_").lower() in Settings.model_fields


def test_each_listed_service_is_accepted_in_the_listed_syntaxes_and_roles_and_in_no_others(
    plain: Door, switched_on: dict[str, Door]
) -> None:
    for setting, door in {None: plain, **switched_on}.items():
        offered = [row for row in rows() if row.setting in (None, setting)]
        for sop_class in {row.sop_class for row in rows()}:
            for role in ROLES:
                expected = {
                    (sop_class, syntax)
                    for row in offered
                    if row.sop_class == sop_class and role in row.roles
                    for syntax in row.syntaxes
                }
                assert accepted(door, [sop_class], SYNTAXES, role) == expected, (setting, UID(sop_class).name, role)


def test_every_storage_class_is_accepted_and_one_of_them_in_every_transfer_syntax(plain: Door) -> None:
    (line,) = [one for one in table(*SERVICES) if one["SOP class"] == EVERY_STORAGE_CLASS]
    assert line["transfer syntaxes"].startswith(ANY_SYNTAX)
    assert line["accepted"] == "always"
    classes = {*map(str, _STORAGE_CLASSES.values()), *PRIVATE_CLASSES}
    assert len(classes) > 150
    assert {uid for uid, _ in accepted(plain, sorted(classes), [ExplicitVRLittleEndian])} == classes
    assert accepted(plain, [CTImageStorage], SYNTAXES) == {(CTImageStorage, syntax) for syntax in SYNTAXES}


def test_retired_storage_classes_are_accepted(plain: Door) -> None:
    retired = [uid for uid in RETIRED_STORAGE if UID_dictionary[uid][3] == "Retired"]
    assert len(retired) > 15
    assert {uid for uid, _ in accepted(plain, retired, [ExplicitVRLittleEndian])} == set(retired)


def test_no_other_sop_class_of_the_standard_is_accepted(plain: Door, switched_on: dict[str, Door]) -> None:
    listed = {row.sop_class for row in rows()}
    named = [uid for uid in CLASSES if UID_dictionary[uid][4]]  # a class without a name is one that nobody knows
    others = [uid for uid in named if "Storage" not in UID_dictionary[uid][4] and uid not in listed]
    assert {"1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.4.1.2.2.1"} <= set(others)  # worklist, C-FIND
    for door in (plain, *switched_on.values()):
        assert accepted(door, others, [ExplicitVRLittleEndian]) == set()
    non_patient = ["1.2.840.10008.5.1.4.38.1", "1.2.840.10008.5.1.4.39.1", "1.2.840.10008.5.1.4.43.1"]
    assert accepted(plain, non_patient, [ExplicitVRLittleEndian]) == set()


def policies() -> dict[str, str]:
    return {line["item"]: line["value"] for line in table("item", "value")}


def rejection_of(value: str) -> tuple[int, ...]:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4), as the document gives them."""
    return tuple(int(number) for number in re.findall(r"(\d) \(", value))


def test_association_policies_are_what_the_document_says(plain: Door) -> None:
    said = policies()
    with associate(plain.port) as association:
        acceptor = association.acceptor
        assert said["Maximum length received"] == "0 (unlimited)"
        assert acceptor.maximum_length == 0
        assert said["Implementation Class UID and version name"] == "pynetdicom's"
        assert acceptor.implementation_class_uid == PYNETDICOM_IMPLEMENTATION_UID
        assert acceptor.implementation_version_name == PYNETDICOM_IMPLEMENTATION_VERSION
        assert said["Asynchronous operations, extended negotiation, user identity"].startswith("not answered")
        assert acceptor.asynchronous_operations == (1, 1)
        assert acceptor.user_identity is None
        assert acceptor.sop_class_extended == {}
    assert said["Associations at the same time"].startswith(f"{Settings.model_fields['max_associations'].default} ")


def test_any_application_context_is_taken_as_the_document_says(plain: Door) -> None:
    name, other = policies()["Application context name"].split("; ")
    assert other == "another one is taken for it"
    for each in (name, "1.2.3"):
        with socket.create_connection(("127.0.0.1", plain.port), 20) as connection:
            connection.sendall(echo_association_request(application_context=each))
            assert read_pdu(connection)[0] == A_ASSOCIATE_AC().pdu_type


def test_an_association_too_many_is_rejected_as_the_document_says(tmp_path: Path) -> None:
    said = rejection_of(policies()["One association more"])

    def asked(port: int) -> tuple[socket.socket, int, bytes]:
        connection = socket.create_connection(("127.0.0.1", port), 20)
        connection.sendall(echo_association_request())
        return connection, *read_pdu(connection)

    with open_door(tmp_path, max_associations="1") as door, ExitStack() as held:

        def is_first() -> bool:
            """Holds the one association, once that of the probe that found the door listening has ended."""
            connection, kind, _ = asked(door.port)
            held.enter_context(connection)
            return kind == A_ASSOCIATE_AC().pdu_type

        wait_until(is_first, what="an association")
        connection, kind, content = asked(door.port)
        connection.close()
    assert kind == A_ASSOCIATE_RJ().pdu_type
    assert tuple(content[1:]) == said


def codes(name: str) -> set[int]:
    """The statuses of a table whose first head is `name`."""
    return {int(code, 16) for line in table(name, "when") for code in re.findall(r"0x[0-9A-F]{4}", line[name])}


def test_each_storage_status_of_the_document_is_given_for_its_reason(plain: Door, tmp_path: Path) -> None:
    def sent(door: Door, one: Dataset, uid: str | None = None) -> int | None:
        with associate(door.port) as association:
            return store(association, encode(one), sop_instance_uid=uid or one.SOPInstanceUID)

    good, nameless = ct_series(slices=1)[0], ct_series(slices=1, StudyInstanceUID=None)[0]
    theirs = ct_series(slices=1)[0]
    FolderStudyFiles(tmp_path / "tenants").claim(theirs.StudyInstanceUID, "b")
    (tmp_path / "tenants.toml").write_text(
        '[a]\ncalling_ae_titles = ["TEST_SCU"]\ndestinations = []\n'
        '[b]\ncalling_ae_titles = ["CT2"]\ndestinations = []\n'
    )
    with (
        open_door(tmp_path / "full", min_free_mb=str(10**9)) as full,
        open_door(tmp_path / "tenants", tenants=str(tmp_path / "tenants.toml")) as of_a,
    ):
        given = {
            0x0000: sent(plain, good),
            0xA700: sent(full, good),
            0xA900: sent(plain, good, uid=generate_uid()),
            0xC000: sent(plain, nameless),
            0x0124: sent(of_a, theirs),
        }
    assert given == {code: code for code in codes("status")}


def objects() -> list[tuple[str, str]]:
    return [(CTImageStorage, generate_uid())]


@pytest.fixture
def no_database(tmp_path: Path) -> Iterator[Door]:
    nobody = f"postgresql://vigie@127.0.0.1:{free_port()}/vigie"
    with open_door(tmp_path, database_url=nobody, **commitment(tmp_path)) as door:
        yield door


def test_each_status_of_a_commitment_request_is_given_for_its_reason(
    switched_on: dict[str, Door], no_database: Door
) -> None:
    port = switched_on["VIGIE_COMMITMENT"].port
    asked, nothing = action_information(generate_uid(), objects()), action_information(generate_uid(), [])
    given = {
        0x0000: request_commitment(port, asked),
        0x0131: request_commitment(port, asked),
        0x0110: request_commitment(no_database.port, asked),
        0x0112: request_commitment(port, asked, instance="1.2.3"),
        0x0123: request_commitment(port, asked, action_type=2),
        0x0115: request_commitment(port, nothing),
        0x0124: request_of_a_provider(port),
    }
    assert given == {code: code for code in codes("status of an N-ACTION")}


def request_of_a_provider(port: int) -> int | None:
    """The status of an N-ACTION in a context that was negotiated for reports to us."""
    ae = AE(ae_title="PACS")
    roles = [build_role(STORAGE_COMMITMENT, scp_role=True)]
    association = ae.associate("127.0.0.1", port, contexts=[build_context(STORAGE_COMMITMENT)], ext_neg=roles)
    (context,) = association.accepted_contexts
    context._as_scu = True  # pynetdicom itself would not send it
    information = action_information(generate_uid(), objects())
    answer, _ = association.send_n_action(information, 1, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    association.release()
    return answer.get("Status")


def test_each_status_of_a_commitment_report_is_given_for_its_reason(plain: Door, no_database: Door) -> None:
    inquiry, asked = generate_uid(), objects()
    now = datetime.now(UTC)
    opened = open_store(Settings(data=plain.data).store_url())
    request = CommitmentRequest(transaction_uid=generate_uid(), calling_ae_title=CALLING, objects=tuple(asked))
    opened.requests.enter(request, now=now)
    due = opened.requests.claim(CALLING, now=now, duration=timedelta(minutes=1))
    assert due is not None
    opened.requests.archive_asked(due, inquiry, now=now, again_at=now, retry_at=now)
    information, unknown = event_information(inquiry, asked), event_information(generate_uid(), asked)
    given = {
        0x0000: report(plain.port, information),
        0x0110: report(no_database.port, information),
        0x0112: report(plain.port, information, instance="1.2.3"),
        0x0113: report(plain.port, information, event_type=3),
        0x0115: report(plain.port, unknown),
    }
    assert given == {code: [code] for code in codes("status of an N-EVENT-REPORT")}


def test_every_setting_that_the_document_names_is_one() -> None:
    named = set(re.findall(r"`VIGIE_([A-Z0-9_]+)", CONFORMANCE.read_text(encoding="utf-8")))
    assert {name.lower() for name in named} <= set(Settings.model_fields)
