"""A worker serves all tenants: each result has what its tenant's destinations take, and goes to them alone."""

from pathlib import Path

import pytest

from services.triage.tenant import Tenant
from tests.support.house import House, chest_with_ball
from tests.support.two_hospitals import write_files


@pytest.mark.parametrize(
    ("tenant", "modalities", "destination"), [("a", {"SEG", "SR"}, "pacs-a"), ("b", {"SEG", "SR", "PR"}, "pacs-b")]
)
def test_overlays_are_written_for_a_tenant_whose_destination_takes_them(
    tmp_path: Path, tenant: str, modalities: set[str], destination: str
) -> None:
    settings = {name: Path(path) for name, path in write_files(tmp_path, "PACS@h:104", "PACS_B@h:104").items()}
    with settings["destinations"].open("a") as file:
        file.write('objects = ["SR", "GSPS"]\n')  # of pacs-b
    house = House(data=tmp_path / "data")
    house.settings = house.settings.model_copy(update=settings)
    uid = house.queue_study(chest_with_ball())
    house.store.adopt(Tenant(name=tenant))
    assert house.work() is not None
    result = house.result(uid)
    assert {one.modality for one in result.objects} == modalities
    assert [one.destination for one in result.deliveries] == [destination]
