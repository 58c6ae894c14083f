"""Nothing listens beyond this machine without sign-in and TLS, unless it is told so by name."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.exposure import exposures, is_loopback
from services.settings import Settings
from tests.support.oidc import oidc_toml

PEOPLE, OIDC = Path("people.toml"), Path("oidc.toml")
CERTIFICATE = {"http_certificate": Path("c.pem"), "http_key": Path("k.pem")}
WITHOUT_SIGN_IN, WITHOUT_TLS = "nobody has to sign in", "no TLS"


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("127.0.0.1:8000", True),
        ("127.8.9.1:8000", True),
        ("localhost:8000", True),
        ("[::1]:8000", True),
        ("::1", True),
        ("0.0.0.0:8000", False),
        ("[::]:8000", False),
        (":8000", False),
        ("", False),
        ("192.0.2.1:8000", False),
        ("127.0.0.1.example:8000", False),
        ("localhost.example:8000", False),
        ("vigie:8000", False),
        ("[::ffff:192.0.2.1]:8000", False),
        ("2130706433:8000", False),
    ],
)
def test_only_loopback_is_this_machine(address: str, is_here: bool) -> None:
    assert is_loopback(address) == is_here


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ({}, [WITHOUT_SIGN_IN, WITHOUT_TLS]),
        ({"people": PEOPLE}, [WITHOUT_TLS]),
        ({"oidc": OIDC}, [WITHOUT_TLS]),
        ({"https": True}, [WITHOUT_SIGN_IN]),
        (CERTIFICATE, [WITHOUT_SIGN_IN]),
        ({"people": PEOPLE, "https": True}, []),
        ({"oidc": OIDC, **CERTIFICATE}, []),
        ({"insecure_http_without_sign_in": True}, [WITHOUT_TLS]),
        ({"insecure_http_without_tls": True}, [WITHOUT_SIGN_IN]),
        ({"insecure_http_without_sign_in": True, "insecure_http_without_tls": True}, []),
    ],
    ids=str,
)
def test_each_thing_that_is_missing_is_named_with_its_way_out(told: dict[str, object], missing: list[str]) -> None:
    found = exposures(Settings(http="0.0.0.0:8000", **told), http=True, dicom=False)
    assert [any(word in each.missing for each in found) for word in missing] == [True] * len(found)
    assert len(found) == len(missing)
    assert all("--insecure-http-" in each.way_out and "VIGIE_" in each.way_out for each in found)
    assert exposures(Settings(http="127.0.0.1:8000", **told), http=True, dicom=False) == ()
    assert exposures(Settings(http="0.0.0.0:8000", **told), http=False, dicom=False) == ()


@pytest.mark.parametrize("command", [["gateway"], ["gateway", "--role", "door"], ["standalone"]], ids=str)
def test_the_commands_refuse_to_start_and_say_why(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*command, "--http", "0.0.0.0:0", "--data", str(tmp_path)], env={"COLUMNS": "400"})
    assert done.exit_code == 2
    for word in (WITHOUT_SIGN_IN, "VIGIE_PEOPLE", "VIGIE_OIDC", WITHOUT_TLS, "VIGIE_HTTP_CERTIFICATE", "VIGIE_HTTPS"):
        assert word in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (("issuer = ", "issuer = 'http://idp.example' #"), "issuer: is no https://"),
        (("client_id", "clientid"), "clientid: Extra inputs"),
        (("[roles]", "algorithms = ['HS256']\n[roles]"), "'HS256' is none of"),
        (("[roles]", "algorithms = ['none']\n[roles]"), "'none' is none of"),
        (("vigie-api", "vigie at site:1"), "machines.audience: is client_id"),
        (("reader = ", "radiologist = "), "roles.radiologist"),
        (("[roles]", "[tenants]\na = ['x']\n[roles]"), "tenants_claim: is missing"),
        (("[roles]", "tenants_claim = 'h'\ntenants = {a = ['x']}\n[roles]"), "there is no tenant 'a'"),
        (("url = ", "url = 'https://vigie.example/desk' #"), "url: the desk is at the root"),
        (("[roles]", "[roles"), "is not TOML (at line"),
    ],
    ids=str,
)
def test_a_file_of_a_provider_that_cannot_be_used_is_refused_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: tuple[str, str], told: str
) -> None:
    path = tmp_path / "oidc.toml"
    path.write_text(oidc_toml("https://idp.example").replace(*spoilt, 1))
    monkeypatch.setenv("VIGIE_OIDC", str(path))
    done = CliRunner().invoke(app, ["gateway", "--data", str(tmp_path)], env={"COLUMNS": "400"})
    assert done.exit_code == 2
    assert told in done.output


def test_the_example_of_a_provider_can_be_used() -> None:
    from services.backends.oidc.file import load_oidc

    example = Path(__file__).resolve().parents[2] / "deploy" / "oidc.toml"
    assert load_oidc(example, []).redirect_uri == "https://vigie.hospital.example/login/oidc/callback"


OPTIONAL = [name for name, field in Settings.model_fields.items() if field.default is None]


def test_an_optional_setting_that_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"triton", "hl7", "dicom_tls", "database_url", "broker_url", "session_key", "oidc", "people"} <= {*OPTIONAL}
    for name in Settings.model_fields:
        monkeypatch.setenv(f"VIGIE_{name.upper()}", "")
    found = Settings()
    assert {name: getattr(found, name) for name in OPTIONAL} == dict.fromkeys(OPTIONAL)
    assert found.ae_title == "VIGIE"
    assert found.send_to == ()
    by_flag = Settings(**dict.fromkeys(OPTIONAL, ""))
    assert {name: getattr(by_flag, name) for name in OPTIONAL} == dict.fromkeys(OPTIONAL)


def test_a_secret_of_blanks_is_no_secret_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_SESSION_KEY", " ")
    with pytest.raises(ValueError, match="at least 32"):
        Settings()


def test_certificate_and_key_of_http_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_HTTP_CERTIFICATE", "c.pem")
    with pytest.raises(ValueError, match="go together"):
        Settings()
