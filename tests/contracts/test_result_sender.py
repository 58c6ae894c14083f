"""The contract of `ResultSender`, over real receivers: a folder, dcmtk's storescp, and Orthanc by STOW-RS."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from services.backends.part10 import digest
from services.backends.senders import route_to, sender_for
from services.settings import Settings
from services.triage.errors import DestinationRefused, DestinationUnavailable
from tests.support.ct import ct_series, write_series
from tests.support.orthanc import Orthanc, orthanc
from tests.support.peers import free_port, received, storescp

Files = list[tuple[str, str, Path]]
ONLY_CT = (
    "[[TransferSyntaxes]]\n[Any]\nTransferSyntax1 = LittleEndianExplicit\n"
    "[[PresentationContexts]]\n[CT]\nPresentationContext1 = CTImageStorage\\Any\n"
    "[[Profiles]]\n[OnlyCT]\nPresentationContexts = CT\n"
)


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """A destination that runs, all it has kept, a place like it where nobody listens, and what it will not take."""

    destination: str
    kept: Callable[[], Sequence[bytes]]
    down: str
    refused: Callable[[Path], Files]

    def send(self, files: Files) -> None:
        sender_for(route_to(self.destination), Settings()).send(files)


def as_files(series: Sequence[pydicom.Dataset], folder: Path) -> Files:
    paths = write_series(series, folder)
    return [(ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, paths, strict=True)]


def an_mr(folder: Path) -> Files:
    return as_files(ct_series(slices=1, modality="MR"), folder / "mr")


def a_uid_that_is_no_file_name(folder: Path) -> Files:
    ((sop_class, _, path),) = as_files(ct_series(slices=1), folder / "odd")
    return [(sop_class, "../1.2", path)]


def no_dicom(folder: Path) -> Files:
    path = folder / "no.dcm"
    path.write_bytes(b"not DICOM at all")
    return [("1.2.840.10008.5.1.4.1.1.2", "1.2.3", path)]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("receiver") / "orthanc") as running:
        yield running


@pytest.fixture(params=["folder", "c-store to storescp", "stow-rs to orthanc"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    if request.param == "folder":
        (tmp_path / "file").write_text("no folder can be here")
        out = tmp_path / "out"
        yield Receiver(
            destination=str(out),
            kept=lambda: [path.read_bytes() for path in out.rglob("*.dcm")],
            down=str(tmp_path / "file" / "out"),
            refused=a_uid_that_is_no_file_name,
        )
    elif request.param == "c-store to storescp":
        (tmp_path / "only-ct.cfg").write_text(ONLY_CT)
        options = "--config-file", str(tmp_path / "only-ct.cfg"), "OnlyCT"
        with storescp(tmp_path / "pacs", free_port(), *options) as address:
            yield Receiver(
                destination=address,
                kept=lambda: [path.read_bytes() for path in received(tmp_path / "pacs")],
                down=f"PACS@127.0.0.1:{free_port()}",
                refused=an_mr,
            )
    else:
        pacs: Orthanc = request.getfixturevalue("pacs")
        for name in httpx.get(f"{pacs.rest}/instances").json():
            httpx.delete(f"{pacs.rest}/instances/{name}").raise_for_status()
        yield Receiver(
            destination=pacs.dicomweb,
            kept=lambda: [
                httpx.get(f"{pacs.rest}/instances/{name}/file").content
                for name in httpx.get(f"{pacs.rest}/instances").json()
            ],
            down=f"http://127.0.0.1:{free_port()}/dicom-web",
            refused=no_dicom,
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return as_files(ct_series(slices=5), tmp_path / "frozen")


def digests(contents: Sequence[bytes]) -> list[str]:
    return sorted(digest(content) for content in contents)


def test_every_object_arrives_with_the_bytes_that_were_frozen(receiver: Receiver, files: Files) -> None:
    receiver.send(files)
    assert digests(receiver.kept()) == digests([path.read_bytes() for _, _, path in files])


def test_sending_again_is_harmless(receiver: Receiver, files: Files) -> None:
    receiver.send(files)
    receiver.send(files)
    assert digests(receiver.kept()) == digests([path.read_bytes() for _, _, path in files])


def test_a_receiver_that_is_down_is_tried_again_later(receiver: Receiver, files: Files) -> None:
    with pytest.raises(DestinationUnavailable):
        sender_for(route_to(receiver.down), Settings()).send(files)


def test_an_object_that_the_receiver_will_not_take_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    with pytest.raises(DestinationRefused) as refusal:
        receiver.send(receiver.refused(tmp_path))
    assert refusal.value.reason.code in ("store_refused", "context_rejected", "invalid_uid")
    assert receiver.kept() == []


def test_what_stow_rs_stored_is_served_by_qido_and_wado(pacs: Orthanc, files: Files) -> None:
    sender_for(route_to(pacs.dicomweb), Settings()).send(files)
    web, source = DICOMwebClient(url=pacs.dicomweb), pydicom.dcmread(files[0][2])
    served = web.retrieve_instance(source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)
    assert served == source
