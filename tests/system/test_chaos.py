"""Five rounds of the chaos campaign (`make chaos` plays a hundred)."""

import pytest

from chaos.campaign import main

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]


def test_five_rounds_of_faults_lose_and_double_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--rounds", "5", "--seed", "5"])

    said = capsys.readouterr().out
    assert code == 0, said
    for nothing in ("| lost | 0 |", "| doubled | 0 |", "| stuck | 0 |", "| wrong | 0 |", "| rounds | 5 |"):
        assert nothing in said
