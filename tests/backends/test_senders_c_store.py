"""C-STORE to real peers: dcmtk's storescp, and a pynetdicom SCP where a status must be forced."""

import threading
import time
from contextlib import contextmanager

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association

from services.backends.part10 import digest
from services.backends.senders import CStoreSender
from services.backends.senders.link import Link
from services.triage.errors import DestinationRefused, DestinationUnavailable
from tests.support.ct import ct_series, write_series
from tests.support.peers import free_port, received, storescp, wait_until


def as_files(series, folder):
    return [
        (ds.SOPClassUID, ds.SOPInstanceUID, path) for ds, path in zip(series, write_series(series, folder), strict=True)
    ]


@pytest.fixture
def files(tmp_path):
    return as_files(ct_series(slices=3), tmp_path / "kept")


@contextmanager
def peer(status=0x0000, *, sop_classes=(CTImageStorage,), transfer_syntax=ExplicitVRLittleEndian, **attributes):
    """A pynetdicom SCP; `status` is its answer, or called with the event. Yields its address and what it has seen."""
    seen = []

    def store(event):
        seen.append(event)
        return status(event) if callable(status) else status

    ae = AE(ae_title="PACS")
    for name, value in attributes.items():
        setattr(ae, name, value)
    for sop_class in sop_classes:
        ae.add_supported_context(sop_class, transfer_syntax)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield f"PACS@127.0.0.1:{port}", seen
    finally:
        server.shutdown()


def test_storescp_receives_the_frozen_bytes(files, tmp_path):
    with storescp(tmp_path / "pacs", free_port()) as address:
        CStoreSender(address, "VIGIE").send(files)
    assert sorted(digest(path.read_bytes()) for path in received(tmp_path / "pacs")) == sorted(
        digest(path.read_bytes()) for _, _, path in files
    )


def test_all_objects_of_a_result_travel_over_one_association_from_our_ae_title(files):
    with peer() as (address, seen):
        CStoreSender(address, "WATCH").send(files)
    assert len(seen) == len(files)
    assert {event.assoc for event in seen} == {seen[0].assoc}
    assert seen[0].assoc.requestor.ae_title == "WATCH"


def test_a_peer_that_takes_only_implicit_vr_receives_the_same_elements(files):
    with peer(transfer_syntax=ImplicitVRLittleEndian) as (address, seen):
        CStoreSender(address, "VIGIE").send(files)
    for event, (_, _, path) in zip(seen, files, strict=True):
        assert event.context.transfer_syntax == ImplicitVRLittleEndian
        assert event.dataset.PixelData == dcmread(path).PixelData
        assert event.dataset.ImagePositionPatient == dcmread(path).ImagePositionPatient


def test_an_ipv6_peer_is_reached(files, tmp_path):
    ae = AE(ae_title="PACS")
    ae.add_supported_context(CTImageStorage)
    port = free_port()
    server = ae.start_server(("::1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)])
    try:
        CStoreSender(f"PACS@[::1]:{port}", "VIGIE").send(files)
    finally:
        server.shutdown()


@pytest.mark.parametrize("status", [0xB000, 0xB007, 0x0107, 0x0111])
def test_a_warning_or_a_duplicate_means_that_the_peer_has_the_object(files, status):
    with peer(status) as (address, seen):
        CStoreSender(address, "VIGIE").send(files)
    assert len(seen) == len(files)


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110])
def test_a_peer_out_of_resources_is_tried_again_later(files, status):
    with peer(status) as (address, _), pytest.raises(DestinationUnavailable, match=f"{status:04X}"):
        CStoreSender(address, "VIGIE").send(files)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122, 0x0124])
def test_a_peer_that_will_not_take_an_object_is_not_asked_again(files, status):
    with peer(status) as (address, _), pytest.raises(DestinationRefused, match=f"{status:04X}"):
        CStoreSender(address, "VIGIE").send(files)


def test_one_refused_object_does_not_keep_the_others_from_the_peer(files):
    def answer(event):
        return 0xC000 if event.request.AffectedSOPInstanceUID == files[0][1] else 0

    with peer(answer) as (address, seen), pytest.raises(DestinationRefused):
        CStoreSender(address, "VIGIE").send(files)
    assert len(seen) == len(files)


def test_a_rejected_sop_class_is_named_and_the_others_are_sent(files, tmp_path):
    files += as_files(ct_series(slices=1, modality="MR"), tmp_path / "mr")
    with peer() as (address, seen), pytest.raises(DestinationRefused, match=r"MR Image Storage \(1\.2\.840\.10008"):
        CStoreSender(address, "VIGIE").send(files)
    assert len(seen) == 3


def test_a_peer_that_takes_none_of_the_sop_classes_refuses(files):
    only_mr = peer(sop_classes=(MRImageStorage,))
    with only_mr as (address, _), pytest.raises(DestinationRefused, match="CT Image Storage") as refusal:
        CStoreSender(address, "VIGIE").send(files)
    assert refusal.value.reason.code == "context_rejected"


def test_a_peer_that_is_down_is_tried_again_later(files):
    with pytest.raises(DestinationUnavailable):
        CStoreSender(f"PACS@127.0.0.1:{free_port()}", "VIGIE").send(files)


def test_a_host_name_that_does_not_resolve_is_tried_again_later(files):
    with pytest.raises(DestinationUnavailable, match="resolved"):
        CStoreSender("PACS@no-such-host.invalid:104", "VIGIE").send(files)


def test_a_rejected_association_is_tried_again_later(files):
    with peer(require_called_aet=True) as (address, _), pytest.raises(DestinationUnavailable, match="rejects"):
        CStoreSender(address.replace("PACS@", "OTHER@"), "VIGIE").send(files)


def test_an_association_lost_in_the_middle_is_tried_again_later(files):
    def abort(event):
        event.assoc.abort()
        return 0

    with peer(abort) as (address, _), pytest.raises(DestinationUnavailable):
        CStoreSender(address, "VIGIE").send(files)


def test_what_was_taken_before_the_association_was_lost_is_said(files):
    def abort_at_the_second(event):
        if event.request.AffectedSOPInstanceUID == files[1][1]:
            event.assoc.abort()
        return 0

    with peer(abort_at_the_second) as (address, _), pytest.raises(DestinationUnavailable) as lost:
        CStoreSender(address, "VIGIE").send(files)
    assert lost.value.taken == (files[0][1],)


def test_no_answer_is_lost_to_a_reactor_that_was_past_its_checkpoint(tmp_path, monkeypatch):
    """Under load, pynetdicom's reactor thread now and then took the answer to a request; here it always may."""

    class PassedBefore(threading.Event):
        def wait(self, timeout=None):
            time.sleep(0.005)
            return True

    checkpoint = PassedBefore()
    monkeypatch.setattr(
        Association, "_reactor_checkpoint", property(lambda self: checkpoint, lambda self, value: None), raising=False
    )
    with storescp(tmp_path / "pacs", free_port()) as address:
        CStoreSender(address, "VIGIE", link=Link(answer_timeout_s=10)).send(
            as_files(ct_series(slices=60), tmp_path / "kept")
        )
    assert len(received(tmp_path / "pacs")) == 60
    # the patch may not be undone under a thread that still uses it
    wait_until(lambda: not any(isinstance(thread, Association) for thread in threading.enumerate()))
