"""Whatever a program keeps in the data folder is in `vigie backup`'s copy, or is left out by name, with a reason."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import services
from services.backends.audit_spool import AuditSpool
from services.backends.backup.copying import AFTER_DATABASE, BEFORE_DATABASE, LEFT_OUT
from services.backends.backup.manifest import Snapshot
from services.gateway.audit.settling import settling
from services.triage.errors import Reason
from tests.support.backups import backup, backup_later, lose, vigie
from tests.support.house import House, chest_with_ball

SOURCE = Path(services.__file__).parent
GIVEN_IT = {
    "AuditSpool",
    "FolderStudyFiles",
    "DiskCollector",  # these look how much is free
    "check_data_folder",
    "disk_usage",
    "inbox",
    "_only_one",
    "require_empty",
    "Source",  # these copy
    "put_back",
    "str",
}
"""Who is given the data folder: what they make below it is known to these tests."""


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    return House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))


def left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def paths(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def one_of_each(house: House) -> None:
    """All that the programs write, and what a kill leaves of it."""
    files, spool = house.files, AuditSpool(house.data)
    uid = house.freeze(chest_with_ball())
    (digest, *_) = house.store.retaining.digests(uid)
    files.outdate([digest])
    files.claim(uid, "north")
    files.quarantine(b"odd", reason=Reason(code="odd", text="odd"), received_from="CT1")
    house.keep(chest_with_ball())
    waiting = sorted((house.data / "inbox").glob("*.dcm"))
    waiting[0].rename(house.data / "deleting" / f"{waiting[0].name[:64]}.dcm")
    waiting[1].with_suffix(".0.unfinished").write_bytes(b"DIC")
    (house.data / "audit" / "spool").mkdir(parents=True)
    for name in ("spool/odd.json", "anchors.jsonl", "dropped-1"):
        (house.data / "audit" / name).write_text("{")
    settling(spool, house.store.audit).turn(datetime.now(UTC))
    for name in ("spool/waits.json", "spool/0.unfinished", "dropped"):
        (house.data / "audit" / name).write_text("{")
    (house.data / "standalone.lock").touch()


def test_every_file_is_put_back_where_it_was_but_for_those_that_are_left_out_by_name(house):
    one_of_each(house)
    before = paths(house.data)
    folder = backup(house)
    assert vigie("backup", "verify", folder).exit_code == 0
    lose(house)
    assert vigie("restore", folder).exit_code == 0
    missing = {name for name, content in before.items() if paths(house.data).get(name) != content}
    assert {name for name in missing if not left_out(name)} == set()
    assert [path.read_text() for path in (house.data / "audit").glob("dropped-*")] == ["{"]


def test_the_folders_that_the_programs_make_are_copied_or_left_out_by_name():
    known = {name.partition("/")[0] for name in (*BEFORE_DATABASE, *AFTER_DATABASE)}
    made = set(names_below_data())
    assert made >= {*known, "vigie.sqlite", "standalone.lock"}
    assert {name for name in made if name not in known and not left_out(name)} == set()
    assert set(given_the_data_folder()) == GIVEN_IT


def test_what_lies_there_otherwise_is_told_and_not_copied(house):
    house.freeze(chest_with_ball())
    (house.data / "notes").mkdir()
    (house.data / "notes" / "mine.txt").write_text("mine")
    (house.data / "lost+found").mkdir()
    made = vigie("backup", "make", house.data.parent / "backup")
    assert made.exit_code == 0
    assert [line for line in made.stderr.splitlines() if "not copied" in line] == [
        "not copied as a file, for Vigie gives nothing this name: notes"
    ]
    (snapshot,) = (house.data.parent / "backup" / "snapshots").iterdir()
    assert not [name for name, _ in Snapshot(snapshot).files() if "notes" in name]


def test_an_older_copy_keeps_whose_a_study_was_when_it_is_moved(house, monkeypatch):
    uid = house.freeze(chest_with_ball())
    house.files.assign(uid, "north")
    folder = backup(house)
    (old,) = (path.name for path in (folder / "snapshots").iterdir())
    house.files.assign(uid, "elsewhere")
    backup_later(house, monkeypatch)
    assert vigie("backup", "verify", folder, "--snapshot", old).exit_code == 0
    house = lose(house)
    assert vigie("restore", folder, "--snapshot", old).exit_code == 0
    assert house.files.claim(uid, "whoever asks") == "north"


def test_a_copy_from_before_these_had_a_digest_in_their_names_is_put_back(house):
    from services.backends.backup.manifest import write_list, write_manifest

    uid = house.freeze(chest_with_ball())
    house.files.claim(uid, "north")
    folder = backup(house)
    (place,) = (folder / "snapshots").iterdir()
    snapshot = Snapshot(place)
    (claim,) = (folder / "files" / "tenants").rglob("*@*")
    claim.rename(claim.with_name(claim.name.partition("@")[0]))
    listed = [(name.partition("@")[0], size) for name, size in snapshot.files()]
    write_manifest(place, snapshot.manifest.model_copy(update={"list_sha256": write_list(place, listed)}))
    assert vigie("backup", "verify", folder).exit_code == 0
    house = lose(house)
    assert vigie("restore", folder).exit_code == 0
    assert house.files.claim(uid, "whoever asks") == "north"


@cache
def nodes() -> list[tuple[Path, ast.BinOp | ast.Call]]:
    """All joins and calls of the source that may be about the data folder, or may have it."""
    sources = {path: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    trees = {path: ast.parse(text) for path, text in sources.items() if "data" in text or "root /" in text}
    return [
        (path, one) for path, tree in trees.items() for one in ast.walk(tree) if isinstance(one, ast.BinOp | ast.Call)
    ]


def names_below_data() -> Iterator[str]:
    """What the source joins to the data folder, by whatever name it has there."""
    for path, node in nodes():
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant)):
            continue
        name = ast.unparse(node.left)
        is_root = name == "root" and path.is_relative_to(SOURCE / "backends" / "files")
        if name in ("data", "self.data") or name.endswith("settings.data") or is_root:
            yield str(node.right.value)


def given_the_data_folder() -> Iterator[str]:
    for _, node in nodes():
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(ast.unparse(one).endswith("settings.data") for one in given if isinstance(one, ast.Attribute)):
                yield ast.unparse(node.func).rpartition(".")[2]
