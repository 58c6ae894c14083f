"""A short campaign against a real gateway; `make fuzz` is the long one."""

from pathlib import Path
from random import Random

import pytest

from fuzz.campaign import campaign
from fuzz.cases import cases
from fuzz.hl7 import run as run_hl7
from fuzz.pdus import run as run_pdus
from fuzz.seeds import seeds
from fuzz.service import running
from fuzz.table import markdown
from fuzz.tally import Tally
from fuzz.watch import Watch

pytestmark = pytest.mark.system


def test_two_hundred_hostile_instances_break_nothing() -> None:
    tallies = campaign(200, "test", ("dicom",))
    assert [str(finding) for tally in tallies for finding in tally.findings] == []
    assert sum(tally.cases for tally in tallies[:2]) == 200
    assert all(tally.kept and tally.refused for tally in tallies)


def test_a_case_is_made_again_from_its_seed_and_number() -> None:
    origins = seeds()
    first, again = (next(cases(origins, "test")) for _ in range(2))
    assert first.content == again.content
    assert first.content != next(cases(origins, "other")).content


def test_messages_and_pdus_break_nothing_and_what_would_is_found(tmp_path: Path) -> None:
    with running(tmp_path / "around") as service:
        watch, tally = Watch(service), Tally(target="test")
        watch.begin()
        assert run_hl7(service, watch, count=40, seed="test").findings == []
        assert run_pdus(service, seeds(), watch, count=40, seed="test").findings == []
        with service.log.open("a") as log:
            log.write('{"event": "unforeseen_error", "level": "error", "text": "ZQFUZZCANARY"}\n')
        (service.around / "tmp" / "evil").touch()
        watch.judge(tally)
    found = [finding.what for finding in tally.findings]
    assert len(found) == 3
    assert "evil" in found[0]
    assert "unforeseen_error" in found[1]
    assert "a value" in found[2]


def test_the_table_tells_each_target_with_its_refusals() -> None:
    tally = Tally(target="PDUs", cases=Random(1).randrange(5, 9), seconds=2.0)
    tally.refused["A-ABORT"] += 3
    assert "A-ABORT 3" in markdown([tally])
