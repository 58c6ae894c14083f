"""Two hospitals at one Vigie: what one asks for storage commitment of what the other has."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from services.triage.commitment import RequestState
from services.triage.tenant import Tenant
from tests.support.archive import archive
from tests.support.ct import ct_series
from tests.support.delivering import delivering
from tests.support.house import House
from tests.support.modality import modality
from tests.support.peers import free_port
from tests.support.scu import open_door
from tests.support.two_hospitals import write_files

NO_SUCH_INSTANCE = 0x0112


def test_an_ae_of_one_hospital_gets_nothing_committed_of_the_other_and_learns_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with archive() as pacs, modality(ae_title="CT_A") as ct:
        files = write_files(tmp_path, pacs.address, f"PACS@127.0.0.1:{free_port()}")
        destinations = Path(files["destinations"])
        asked = "storage_commitment = true\ncommitment_wait_s = 5\n[pacs-b]"
        destinations.write_text(destinations.read_text().replace("[pacs-b]", asked))
        commitment = tmp_path / "commitment.toml"
        commitment.write_text(f'[CT_A]\narchive = "pacs-a"\nreport_to = "{ct.address}"\nlook_for_s = 0\n')
        monkeypatch.setenv("VIGIE_TENANTS", files["tenants"])
        house = House(data=tmp_path / "data", destinations=destinations, commitment=commitment)
        ours, theirs, unknown = ct_series(slices=2), ct_series(slices=2, seed=5), generate_uid()
        studies = {name: house.take_in(series) for name, series in (("a", ours), ("b", theirs))}
        for name, study in studies.items():
            assert house.store.move(study, Tenant(name=name), actor="test", now=datetime.now(UTC))
        # of one that is there, of one that is there as another class, and of one that nobody has
        objects = [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in (*ours, theirs[0])]
        objects += [("1.2.840.10008.5.1.4.1.1.4", str(theirs[1].SOPInstanceUID)), (objects[0][0], unknown)]
        settings = {**files, "commitment": str(commitment)}
        with open_door(house.data, **settings) as door:
            transaction = generate_uid()
            assert ct.ask(door.port, generate_uid(), objects, called="VIGIE_B") is None  # as whom it is no AE of ours
            with delivering(house):
                assert ct.ask(door.port, transaction, objects, called="VIGIE_A") == 0x0000
                told = ct.report_of(transaction)
        lines = house.store.requests.lines(set(RequestState))
    own = [str(one.SOPInstanceUID) for one in ours]
    assert told.committed == tuple(own)
    assert told.failed == dict.fromkeys([*(str(one.SOPInstanceUID) for one in theirs), unknown], NO_SUCH_INSTANCE)
    assert [uids for _, uids in pacs.requests] == [own]
    assert len(lines) == 1
    histories = {name: house.store.board.study(study) for name, study in studies.items()}
    noted = {name: [one.what for one in found.events if "commitment" in one.what] for name, found in histories.items()}
    assert noted["a"][0] == "commitment_decided"
    assert noted["b"] == []
