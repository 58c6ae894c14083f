"""Nobody feeds us our own tail: a PACS forwards all it stores to Vigie, and Vigie stores its results in that PACS."""

import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos.studies import EXPECTED, MODEL, make_study
from tests.support.bundle import bright_spot_bundle, routing_file
from tests.support.orthanc import orthanc
from tests.support.peers import listens, wait_until
from tests.support.standalone import standalone

QUIET_PERIOD_S = 1.0
# How long to look on after everything has come to rest; VIGIE_TAIL_S=600 for the ten minutes of a real quiet period.
LOOK_ON_S = float(os.environ.get("VIGIE_TAIL_S", 20 * QUIET_PERIOD_S))
OWN_OBJECTS = 4  # SEG and SR of the lesion, one SR each of the two others in scope

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(300 + LOOK_ON_S)]


def test_each_study_has_one_result_when_the_pacs_sends_our_results_back_to_us(tmp_path: Path) -> None:
    bright_spot_bundle(tmp_path / "models", name=MODEL, min_volume_ml=0.01)
    settings = {"models": tmp_path / "models", "routing": routing_file(tmp_path / "routing.toml", model=MODEL)}
    studies = [make_study(kind, tmp_path / kind, seed=seed) for seed, kind in enumerate(EXPECTED)]
    images = sum(len(study.files) for study in studies)
    with (
        orthanc(tmp_path / "pacs", forwards=True) as pacs,
        standalone(tmp_path / "data", send_to=[pacs.address], quiet_period_s=QUIET_PERIOD_S, **settings) as vigie,
    ):
        api = f"http://127.0.0.1:{vigie.http_port}/api/studies"
        pacs.forward_to(vigie.dicom_port)
        wait_until(lambda: listens(vigie.http_port), what="the desk listening")
        for study in studies:
            pacs.upload(study.files)

        def details() -> dict[str, dict[str, Any]]:
            answers = {study.kind: httpx.get(f"{api}/{study.uid}", timeout=30) for study in studies}
            return {kind: answer.json() for kind, answer in answers.items() if answer.is_success}

        def results() -> int:
            return len(vigie.events("frozen"))

        def came_back() -> bool:
            """Whether everything, our own objects too, is known to Vigie."""
            return sum(detail["summary"]["instance_count"] for detail in details().values()) >= images + OWN_OBJECTS

        wait_until(came_back, timeout_s=200, what="our own objects back from the PACS")
        wait_until(lambda: set(pacs.jobs()) == {"Success"}, what="the PACS having nothing more to send")
        time.sleep(LOOK_ON_S)  # that nothing happens cannot be waited for

        assert pacs.instances() == images + OWN_OBJECTS
        assert results() == 3, "the study out of scope has none"
        for kind, detail in details().items():
            assert [version["number"] for version in detail["versions"]] == [1], kind
            assert detail["summary"]["state"] == EXPECTED[kind][0]
            assert not [uid for series in detail["series"] for uid in series["conflicts"]]
        modalities = {kind: detail["summary"]["modalities"] for kind, detail in details().items()}
        assert modalities == {
            "lesion": ["CT", "SEG", "SR"],
            "clean": ["CT", "SR"],
            "out_of_scope": ["MR"],
            "not_analysable": ["CT", "SR"],
        }
