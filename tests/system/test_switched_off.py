"""A model switched off while the service runs: what comes is not analysed, what was sent is recalled beside it."""

from pathlib import Path

import httpx
import pytest

from services.backends.senders import CStoreSender
from tests.support.ct import write_series
from tests.support.house import chest_with_ball
from tests.support.peers import listens, wait_until
from tests.support.people import shows_key, write_people
from tests.support.standalone import Running, standalone

pytestmark = pytest.mark.system


def send(vigie: Running, folder: Path) -> str:
    """A study by C-STORE; answers its UID."""
    series = chest_with_ball()
    paths = write_series(series, folder)
    CStoreSender(vigie.address, "CT1").send(
        [(each.SOPClassUID, each.SOPInstanceUID, path) for each, path in zip(series, paths, strict=True)]
    )
    return str(series[0].StudyInstanceUID)


def test_from_the_switch_on_studies_are_not_analysed_and_the_period_before_is_recalled(tmp_path: Path) -> None:
    people, out = write_people(tmp_path), tmp_path / "pacs"
    with (
        standalone(tmp_path / "data", send_to=[str(out)], fake_segmenter_s=0, people=people, recall_notes=1) as vigie,
        httpx.Client(base_url=f"http://127.0.0.1:{vigie.http_port}", headers=shows_key("lead")) as desk,
    ):

        def row(uid: str) -> dict:
            answer = desk.get(f"/api/studies/{uid}")
            return answer.json()["summary"] if answer.status_code == 200 else {"outcome": None, "recalled": False}

        wait_until(lambda: listens(vigie.http_port))
        before = send(vigie, tmp_path / "before")
        wait_until(lambda: row(before)["outcome"] and any(out.rglob("*.dcm")))
        assert row(before)["outcome"] == "found"
        sent = set(out.rglob("*.dcm"))
        model = "/api/models/ct_lung_lesion"
        assert desk.post(f"{model}/switch-off", json={"reason": "wrong"}).json()["changed"]
        after = send(vigie, tmp_path / "after")
        wait_until(lambda: row(after)["outcome"])
        assert (row(after)["outcome"], row(after)["reason"]["code"]) == ("not_analysed", "model_switched_off")
        wait_until(lambda: len(set(out.rglob("*.dcm")) - sent) == 1)
        asked = desk.post(f"{model}/recall", json={"reason": "the whole week"})
        assert (asked.status_code, asked.json()["results"]) == (202, 1)
        wait_until(lambda: desk.get("/api/recalls").json()[0]["finished_at"])
        assert row(before)["recalled"]
        wait_until(lambda: len(set(out.rglob("*.dcm")) - sent) == 2)
        assert httpx.get(f"{desk.base_url}/api/studies").status_code == 401
        log = vigie.log.read_text()
    assert "recall_finished" in log
    assert "key-of-" not in log
