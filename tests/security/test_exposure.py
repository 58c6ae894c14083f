"""What a listener that others reach must have, or be told by name that it needs not."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from services.cli import app
from services.exposure import dicom_exposures, hl7_exposures
from services.settings import Settings

OUTSIDE, CALLERS, CLEAR = "0.0.0.0:11112", "insecure_dicom_any_caller", "insecure_dicom_without_tls"
TLS = {
    "dicom_tls": "0.0.0.0:2762",
    "dicom_tls_certificate": "cert.pem",
    "dicom_tls_key": "key.pem",
    "dicom_tls_ca": "ca.pem",
}
HL7_FILES = {"hl7_certificate": "cert.pem", "hl7_key": "key.pem"}


@pytest.mark.parametrize(
    ("settings", "open_by"),
    [
        ({}, []),
        ({"dicom": "127.0.0.1:104"}, []),
        ({"dicom": "[::1]:104"}, []),
        ({"dicom": "localhost:104"}, []),
        ({"dicom": OUTSIDE}, [CALLERS, CLEAR]),
        ({"dicom": "[::]:104"}, [CALLERS, CLEAR]),
        ({"dicom": ":104"}, [CALLERS, CLEAR]),
        ({"dicom": "vigie.hospital.example:104"}, [CALLERS, CLEAR]),
        ({"dicom": OUTSIDE, "peers": "peers.toml"}, [CLEAR]),
        ({"dicom": OUTSIDE, "calling_ae_titles": "CT1"}, [CLEAR]),
        ({"dicom": OUTSIDE, "tenants": "tenants.toml"}, [CLEAR]),
        ({"dicom": OUTSIDE, CLEAR: True}, [CALLERS]),
        ({"dicom": OUTSIDE, CALLERS: True, CLEAR: True}, []),
        (TLS, [CALLERS]),
        (TLS | {"peers": "peers.toml"}, []),
        (TLS | {"peers": "peers.toml", "dicom": OUTSIDE}, [CLEAR]),
    ],
)
def test_a_dicom_listener_that_others_reach_knows_its_callers_and_speaks_tls(
    settings: dict[str, str], open_by: list[str]
) -> None:
    assert [one.setting for one in dicom_exposures(Settings(**settings))] == open_by


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({}, False),
        ({"hl7": "127.0.0.1:2575"}, False),
        ({"hl7": "0.0.0.0:2575"}, True),
        ({"hl7": "0.0.0.0:2575", **HL7_FILES}, True),
        ({"hl7": "0.0.0.0:2575", **HL7_FILES, "hl7_ca": "ca.pem"}, False),
        ({"hl7": "0.0.0.0:2575", "insecure_hl7_without_mutual_tls": True}, False),
    ],
)
def test_an_hl7_listener_that_others_reach_asks_for_certificates(settings: dict[str, str], is_open: bool) -> None:
    assert bool(hl7_exposures(Settings(**settings))) is is_open


def test_the_gateway_does_not_start_open_and_says_every_way_out_at_once(tmp_path: Path) -> None:
    for command in ("gateway", "standalone"):
        words = [command, "--data", str(tmp_path), "--dicom", "0.0.0.0:11112", "--hl7", "0.0.0.0:2575"]
        done = CliRunner().invoke(app, words, env={"COLUMNS": "400"})
        assert done.exit_code == 2
        for name in ("any-caller", "without-tls"):
            assert f"--insecure-dicom-{name}" in done.output
        assert "VIGIE_INSECURE_HL7_WITHOUT_MUTUAL_TLS=true" in done.output


def test_no_setting_that_is_a_secret_is_printed() -> None:
    settings = Settings(database_url="postgresql://vigie:secret@db/vigie", session_key="k" * 32)
    assert isinstance(settings.database_url, SecretStr)
    assert "secret@" not in repr(settings)
    assert "kkkk" not in repr(settings)
