"""`vigie models add` and `describe`: a bundle comes in whole, once, looked over; and it is said what it means."""

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.backends.files import durable
from services.backends.inference import survey
from services.backends.inference.bundle_files import REGISTRATION, TRIAGE
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.registration import require_allowed
from services.cli import app
from services.triage.errors import ModelRefused
from tests.support.bundle import TRIAGE as DESCRIBED
from tests.support.bundle import bright_spot_bundle

PANCREAS = {"0": "background", "1": "pancreas", "2": "pancreatic tumor"}


class Desk:
    """A folder of bundles that are brought, and the folder of models that they are brought into."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.models = folder, folder / "models"

    def bundle(self, name: str = "spot", *, channels: dict[str, str] | None = None, **inference: object) -> Path:
        bundle = bright_spot_bundle(self.folder / "brought", name=name)
        (bundle / "LICENSE").write_text("\nApache License 2.0\n")
        told = {"type": "image", "modality": "CT", "channel_def": channels or PANCREAS}
        metadata = {
            "version": "1.2.3",
            "name": "Pancreas CT",
            "network_data_format": {"inputs": {"image": told}, "outputs": {"pred": told}},
        }
        change(bundle / "configs" / "metadata.json", {}, over=metadata)
        change(bundle / "configs" / "inference.json", inference)
        return bundle

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(app, ["models", *map(str, arguments), "--models", str(self.models)])

    @property
    def events(self) -> list[str]:
        spool = (self.folder / "data" / "audit" / "spool").glob("*.json")
        return sorted(json.loads(path.read_text())["type"] for path in spool)


def change(path: Path, told: dict[str, Any], *, over: dict[str, Any] | None = None) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if over is None else over), **told}))


def zipped(path: Path, entries: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The weights are opened in one test only: it takes seconds."""
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(survey.importlib.util, "find_spec", lambda name: None)
    return Desk(tmp_path)


def test_a_zip_of_the_zoos_hosts_is_added_whole_and_once(desk: Desk) -> None:
    bundle = desk.bundle()
    files = {f"spot/{path.relative_to(bundle)}": path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    source = zipped(desk.folder / "spot_v1.2.3.zip", {**files, "__MACOSX/spot/._LICENSE": b"x"})
    assert "would be added" in desk.run("add", source, "--dry-run").output
    assert not desk.models.exists()
    added = desk.run("add", source)
    assert added.exit_code == 0, added.output
    assert [path.name for path in desk.models.iterdir()] == ["spot@1.2.3"]
    told = json.loads((desk.models / "spot@1.2.3" / REGISTRATION).read_text())
    assert (told["source"], told["licence"], told["trusted"]) == ("spot_v1.2.3.zip", "Apache License 2.0", None)
    assert told["sha256"] in added.output
    assert "was not opened: torch is not installed here" in added.output
    again = desk.run("add", bundle)
    assert (again.exit_code, "nothing changed" in again.output) == (0, True), "the same bytes, from a folder now"
    (bundle / "docs.txt").write_text("changed")
    other = desk.run("add", bundle)
    assert (other.exit_code, "has this version with other content" in other.output) == (1, True)
    assert desk.events == ["model_added"]


def test_all_that_is_wrong_is_told_at_once(desk: Desk) -> None:
    bundle = desk.bundle(x="$open('y')")
    (bundle / "LICENSE").unlink()
    change(bundle / "configs" / "metadata.json", {"version": 1, "network_data_format": {}})
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    change(bundle / "configs" / "inference.json", {}, over={k: v for k, v in config.items() if k != "inferer"})
    (bundle / "models" / "model.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused = desk.run("add", bundle)
    assert refused.exit_code == 1
    for words in (
        "has no 'version'", "network_data_format.inputs", "network_data_format.outputs", "there is no LICENSE",
        "inference.json has no 'inferer'", "pointer of git-lfs", "it would run code: x: the name 'open'", "add --trust",
    ):  # fmt: skip
        assert words in refused.output
    assert list(desk.models.glob("*")) == []


def test_weights_that_are_still_to_be_downloaded_are_told_with_their_address(desk: Desk) -> None:
    bundle = desk.bundle()
    listed = (
        "large_files:\n- path: models/model.pt\n  url: https://example.org/w.pt\n  hash_val: 'ab'\n  hash_type: md5\n"
    )
    (bundle / "large_files.yml").write_text(listed)
    assert "models/model.pt is not the file that large_files.yml names (md5 ab)" in desk.run("add", bundle).output
    (bundle / "models" / "model.pt").rename(bundle / "models" / "model.ts")
    told = desk.run("add", bundle).output
    assert "models/model.pt is not there: download https://example.org/w.pt to models/model.pt (md5 ab)" in told
    (bundle / "large_files.yml").unlink()
    assert "only TorchScript, model.ts, which is code" in desk.run("add", bundle).output


def test_weights_are_opened_without_running_code_of_them(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.undo()
    monkeypatch.setenv("VIGIE_DATA", str(desk.folder / "data"))
    bundle, marker = desk.bundle(), desk.folder / "marker"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(marker),)

    (bundle / "models" / "model.pt").write_bytes(pickle.dumps(Payload(), protocol=2))
    refused = desk.run("add", bundle)
    assert "models/model.pt cannot be opened without running code of it" in refused.output
    assert "state_dict()" in refused.output
    assert not marker.exists()


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"../evil": b""}, "reaches out of its folder"),
        ({"/evil": b""}, "reaches out of its folder"),
        ({"a\\..\\evil": b""}, "reaches out of its folder"),
        ({"a/x": b"", "b/x": b""}, "must hold one folder"),
        ({"a": b""}, "must hold one folder"),
    ],
)
def test_a_zip_that_reaches_out_of_its_folder_is_refused(
    desk: Desk, entries: dict[str, str | bytes], told: str
) -> None:
    refused = desk.run("add", zipped(desk.folder / "bad.zip", entries))
    assert (refused.exit_code, told in refused.output) == (1, True), refused.output
    assert not (desk.folder / "evil").exists()


def test_a_bomb_and_links_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.backends.inference import staging

    monkeypatch.setattr(staging, "MOST_BYTES", 1000)
    bomb = zipped(desk.folder / "bomb.zip", {"a/x": bytes(10_000)})
    assert "unpacks to more than 1000 bytes" in desk.run("add", bomb).output
    link = zipfile.ZipInfo("a/configs")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(desk.folder / "link.zip", "w") as archive:
        archive.writestr(link, "/etc")
    assert "is a link" in desk.run("add", desk.folder / "link.zip").output
    bundle = desk.bundle()
    (bundle / "models" / "more.pt").symlink_to("/etc/passwd")
    assert "models/more.pt is a link" in desk.run("add", bundle).output
    assert list(desk.models.glob("*")) == []


def test_a_bundle_that_would_delete_files_comes_in_only_when_it_is_trusted(desk: Desk) -> None:
    kept = desk.folder / "kept.pth"
    kept.write_text("kept")
    saver = {"_target_": "SaveClassificationd", "keys": "s", "output_dir": str(desk.folder), "filename": kept.name}
    bundle = desk.bundle(x=saver)
    refused = desk.run("add", bundle)
    assert refused.exit_code == 1
    assert "it would run code: x: _target_ 'SaveClassificationd'" in refused.output
    assert desk.run("add", bundle, "--trust", "--reason", "read by us").exit_code == 0
    assert kept.read_text() == "kept"


def test_trust_is_written_down_and_holds_for_those_bytes_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = desk.bundle(x="$__import__('scripts.net')")
    change(bundle / "configs" / "triage.json", {}, over=DESCRIBED)
    assert desk.run("add", bundle, "--trust").exit_code == 2, "say why"
    added = desk.run("add", bundle, "--trust", "--reason", "read by us")
    assert "trusted: x: the name '__import__'" in added.output
    place = desk.models / "spot@1.2.3"
    trusted = json.loads((place / REGISTRATION).read_text())["trusted"]
    assert (trusted["reason"], bool(trusted["by"]), bool(trusted["at"])) == ("read by us", True, True)
    with pytest.raises(ModelRefused) as caught:
        require_allowed(place)
    assert caught.value.reason.code == "runs_only_in_triton"
    assert "trusted by" in desk.run("list").output
    monkeypatch.setattr("services.backends.inference.registration.in_triton", lambda: True)
    require_allowed(place)
    (place / "scripts.py").write_text("another")
    with pytest.raises(ModelRefused) as caught:
        require_allowed(place)
    assert caught.value.reason.code == "needs_trust"
    assert "changed since" in desk.run("list").output


def test_a_bundle_is_no_model_before_it_is_said_what_its_classes_mean(desk: Desk) -> None:
    bright_spot_bundle(desk.models, name="other")
    assert desk.run("add", desk.bundle()).exit_code == 0
    catalogue = Catalogue(desk.models)
    assert catalogue.names() == ("other",), "the others go on"
    with pytest.raises(ModelRefused) as caught:
        catalogue.get("spot")
    assert caught.value.reason.code == "not_described"
    assert "spot@1.2.3: not used before" in desk.run("list").output
    described = desk.run("describe", "spot", "--write")
    assert described.exit_code == 1
    for key in ("min_volume_ml", "min_slices", "thresholds.detect", "scope_statement", "sensitivity_statement"):
        assert f"to be decided: {key}: " in described.output
    path = desk.models / "spot@1.2.3" / TRIAGE
    told = json.loads(path.read_text())
    assert told["modality"] == "CT"
    assert told["anatomic_region"] == {"value": "15776009", "scheme": "SCT", "meaning": "Pancreas"}
    organ, tumour = told["classes"]["1"], told["classes"]["2"]
    assert (organ["kind"], organ["type"]["value"], organ["category"]["value"]) == ("organ", "15776009", "91723000")
    assert (tumour["kind"], tumour["type"]["value"], tumour["category"]["value"]) == ("tumour", "52988006", "49755003")
    assert catalogue.names() == ("other",)
    decided = {key: DESCRIBED[key] for key in ("min_volume_ml", "min_slices", "thresholds")}
    change(path, {**decided, "scope_statement": "Pancreas.", "sensitivity_statement": "None."})
    assert desk.run("describe", "spot").exit_code == 0
    model = catalogue.get("spot")
    assert [each.type.value for each in model.classes if each.type] == ["15776009", "52988006"]


def test_what_is_wrong_in_a_triage_section_is_told_and_what_is_missing_is_not_wrong(
    desk: Desk,
) -> None:
    bundle = desk.bundle()
    triage = {**DESCRIBED, "expect": {}, "min_slices": "few", "scope_statement": None}
    del triage["thresholds"]
    change(bundle / TRIAGE, triage, over={})
    wrong = ["triage.expect: Extra inputs are not permitted", "triage.min_slices: Input should be a valid integer"]
    refused = desk.run("add", bundle)
    assert refused.exit_code == 1
    told = [line for line in refused.stderr.splitlines() if "triage" in line]
    assert [line.startswith(f"- {each}") for line, each in zip(told, sorted(wrong, reverse=True), strict=True)]
    shutil.copytree(bundle, desk.models / "spot")
    described = desk.run("describe", "spot")
    assert described.exit_code == 1
    assert all(f"wrong: {each}" in described.stderr for each in wrong)
    assert "thresholds.detect" in described.stderr


def test_of_classes_without_a_tumour_it_is_said_what_becomes_of_the_studies(desk: Desk) -> None:
    organs_alone = desk.bundle(channels={"0": "background", "1": "spleen"})
    desk.run("add", organs_alone)
    shutil.rmtree(organs_alone)
    told = desk.run("describe", "spot").stderr
    assert "note: no class is a tumour: every study is not_analysed [no_tumour_class]" in told
    desk.run("add", desk.bundle(channels={"0": "background", "1": "spleen", "2": "tumor"}), "--name", "both")
    assert "no class is a tumour" not in desk.run("describe", "both").stderr


def test_the_list_says_of_each_bundle_that_cannot_be_read_why_and_lists_the_others(desk: Desk) -> None:
    bright_spot_bundle(desk.models, name="fine")
    (bright_spot_bundle(desk.models, name="fine@2.0", version="2.0") / "configs" / "metadata.json").write_text("{")
    (bright_spot_bundle(desk.models, name="torn") / "models" / "model.pt").unlink()
    told = desk.run("list")
    assert told.exit_code == 1
    assert "│ fine " in told.stdout
    assert "│ torn " not in told.stdout
    assert "fine@2.0: unreadable: configs/metadata.json of 'fine@2.0' is not JSON" in told.stderr
    assert "torn: unreadable: bundle 'torn' has no models/model.pt" in told.stderr


def test_channels_that_overlap_are_for_a_person(desk: Desk) -> None:
    desk.run("add", desk.bundle(channels={"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}))
    assert "to be decided: classes: " in desk.run("describe", "spot").output


def torn(bundle: Path, file: str = "configs/metadata.json", *, text: str = "{") -> None:
    (bundle / file).write_text(text)


def a_folder(bundle: Path, file: str) -> None:
    (bundle / file).unlink(missing_ok=True)
    (bundle / file).mkdir()


def a_file(bundle: Path) -> None:
    shutil.rmtree(bundle)
    bundle.touch()


METADATA_FILE, TRIAGE_FILE = "configs/metadata.json", "configs/triage.json"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda bundle: (bundle / METADATA_FILE).unlink(), "'spot' has no configs/metadata.json: is this the bundle's"),
        (torn, "configs/metadata.json of 'spot' is not JSON: "),
        (lambda bundle: torn(bundle, text="[" * 100_000), "configs/metadata.json of 'spot' is not JSON: "),
        (lambda bundle: torn(bundle, text="version: 1.2.3"), "configs/metadata.json of 'spot' is not JSON: "),
        (lambda bundle: (bundle / METADATA_FILE).write_bytes(b"\xff"), "configs/metadata.json of 'spot' is not JSON: "),
        (lambda bundle: torn(bundle, text="[]"), "configs/metadata.json of 'spot' is no mapping"),
        (
            lambda bundle: a_folder(bundle, METADATA_FILE),
            "configs/metadata.json of 'spot' cannot be read: Is a directory",
        ),
    ],
)
def test_metadata_that_cannot_be_read_are_told_alike_by_describe_and_add(
    desk: Desk, harm: Callable[[Path], None], said: str
) -> None:
    bundle = desk.bundle()
    harm(bundle)
    added = desk.run("add", bundle, "--dry-run")
    assert (added.exit_code, f"- {said}" in added.stderr) == (1, True), added.stderr
    shutil.copytree(bundle, desk.models / "spot")
    described = desk.run("describe", "spot", "--write")
    assert isinstance(described.exception, SystemExit), described.exception
    assert (described.exit_code, described.stdout) == (1, "")
    assert described.stderr.startswith(said)
    assert len(described.stderr.splitlines()) == 1
    assert not (desk.models / "spot" / TRIAGE).exists()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda bundle: torn(bundle, TRIAGE_FILE), "configs/triage.json of 'spot' is not JSON: "),
        (lambda bundle: torn(bundle, TRIAGE_FILE, text="[1]"), "configs/triage.json of 'spot' is no mapping"),
        (lambda bundle: a_folder(bundle, TRIAGE_FILE), "configs/triage.json of 'spot' cannot be read: Is a directory"),
        (
            lambda bundle: change(bundle / METADATA_FILE, {"triage": "later"}),
            "'triage' in configs/metadata.json of 'spot' is no mapping",
        ),
        (a_file, "configs/metadata.json of 'spot' cannot be read: Not a directory"),
    ],
)
def test_what_else_cannot_be_described_is_told_in_a_line(desk: Desk, harm: Callable[[Path], None], said: str) -> None:
    shutil.copytree(desk.bundle(), desk.models / "spot")
    harm(desk.models / "spot")
    described = desk.run("describe", "spot")
    assert isinstance(described.exception, SystemExit), described.exception
    assert (described.exit_code, described.stdout) == (1, "")
    assert described.stderr.startswith(said)


@pytest.mark.parametrize("told", [[1], {"inputs": [1], "outputs": {"pred": {"channel_def": ["a", "b"]}}}])
def test_metadata_of_another_shape_than_monais_tell_nothing(desk: Desk, told: object) -> None:
    shutil.copytree(desk.bundle(), desk.models / "spot")
    change(desk.models / "spot" / METADATA_FILE, {"network_data_format": told, "triage": None})
    described = desk.run("describe", "spot")
    assert described.exit_code == 1
    assert "to be decided: classes: " in described.stderr


def test_what_nobody_may_read_or_write_is_told_by_describe_and_add(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = desk.bundle()
    shutil.copytree(bundle, desk.models / "spot")
    said = "configs/metadata.json of 'spot' cannot be read: Permission denied"

    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as faults:
        faults.setattr(durable, "replace", lambda *_, **__: denied(Path("x")))
        described = desk.run("describe", "spot", "--write")
        assert "configs/triage.json of 'spot' cannot be written: Permission denied" in described.stderr
        assert (described.exit_code, (desk.models / "spot" / TRIAGE).exists()) == (1, False)
    with monkeypatch.context() as faults:
        faults.setattr(Path, "read_text", denied)
        described = desk.run("describe", "spot")
        assert (described.exit_code, described.stderr.startswith(said)) == (1, True), described.stderr
    with monkeypatch.context() as faults:
        faults.setattr(shutil, "copyfile", denied)
        added = desk.run("add", bundle, "--dry-run")
        assert isinstance(added.exception, SystemExit), added.exception
        assert (added.exit_code, "cannot be copied: [Errno 13] Permission denied" in added.stderr) == (1, True)


def test_a_bundle_that_is_not_there_is_wrong_usage_and_a_folder_that_is_not_is_told(desk: Desk) -> None:
    described = desk.run("describe", "spot")
    assert (described.exit_code, "models cannot be read: No such file" in described.stderr) == (1, True)
    desk.models.mkdir()
    (desk.models / "loop").symlink_to("loop")
    for name in ("spot", "loop", "../brought", str(desk.bundle())):
        described = desk.run("describe", name)
        assert isinstance(described.exception, SystemExit), described.exception
        assert (described.exit_code, "there must be one bundle" in described.stderr) == (2, True)


@pytest.mark.data
def test_the_zoos_bundles_are_described_as_far_as_they_tell(test_data: Path) -> None:
    from services.backends.inference.describing import draft

    zoo = test_data / "bundles" / "model_zoo"
    organs = draft(zoo / "swin_unetr_btcv_segmentation")["classes"]
    assert {told["kind"] for told in organs.values()} <= {"organ", None}
    assert organs["3"]["type"]["meaning"] == "Kidney", "spelled 'Kideny' there"
    assert draft(zoo / "pancreas_ct_dints_segmentation")["classes"]["2"]["kind"] == "tumour"
    spleen = draft(zoo / "spleen_ct_segmentation")
    assert spleen["anatomic_region"]["meaning"] == "Spleen"
    assert spleen["thresholds"]["urgent"] == 1.0, "no tumour, so nothing to be decided of it"
