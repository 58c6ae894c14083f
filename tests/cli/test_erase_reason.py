"""The reason of an erasure is kept for good: it must not tell who was erased."""

import pytest

from services.cli.patient import tells_who

NAMES = frozenset({"MÜLLER^ANNA^J", "WU^LI=吴^丽", "ACC-90210"})
IDS = {"PID-4711", "OLD-815"}


@pytest.mark.parametrize(
    "reason",
    ["request of Anna Mueller", "Müller's request", "pid-4711 asked", "was old-815", "LI asked", "accession 90210"],
)
def test_a_name_an_id_or_a_number_is_found_however_it_is_spelled(reason: str) -> None:
    assert tells_who(reason, NAMES, IDS)


@pytest.mark.parametrize("reason", ["request 2026-17", "annual review", "a list", "j", ""])
def test_what_only_resembles_a_part_of_it_may_stand(reason: str) -> None:
    assert not tells_who(reason, NAMES, IDS)
