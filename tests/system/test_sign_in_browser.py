"""Signing in at an identity provider in a process of its own (oidc-provider-mock), and out again, in a real browser."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from services.gateway.app import create_app
from services.settings import Settings
from services.triage.finding import Flag
from tests.support.chromium import new_page
from tests.support.oidc import oidc_toml
from tests.support.peers import free_port, listens, wait_until
from tests.support.served import served
from tests.support.worklist import Ward, found

pytestmark = pytest.mark.system

USERS = (
    '{"sub": "1", "preferred_username": "c.martin", "name": "Dr Claire Martin", "roles": ["vigie-reader"]}',
    '{"sub": "2", "preferred_username": "j.doe", "roles": ["cleaning"]}',
)


def test_a_reader_signs_in_there_and_out_and_a_stranger_is_told_why_not(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    there, here = free_port(), free_port()
    root, issuer = f"http://127.0.0.1:{here}", f"http://localhost:{there}"
    (tmp_path / "oidc.toml").write_text(oidc_toml(issuer, root, client_id="vigie"))
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(there)]
    for user in USERS:
        command += ["--user-claims", user]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(there), what="the provider")
            settings = Settings(data=tmp_path, oidc=tmp_path / "oidc.toml", oidc_client_secret="secret")
            app = create_app(settings, store=ward.store, files=ward.files)  # by the clock that the provider has, too
            with served(app, port=here), new_page() as (page, _):
                page.goto(f"{root}/studies/{ward.uid(1)}")
                page.get_by_role("link", name="Sign in with the hospital's account").click()
                page.get_by_role("button", name="1", exact=True).first.click()
                page.wait_for_url(f"{root}/studies/{ward.uid(1)}")
                expect(page.get_by_role("heading", level=1)).to_have_text("FAMILY1, Given")
                expect(page.get_by_text("Dr Claire Martin")).to_be_visible()
                page.get_by_role("button", name="Sign out").click()
                page.wait_for_url(f"{issuer}/**")  # led on to sign out there
                page.goto(f"{root}/login/oidc")
                page.get_by_role("button", name="2", exact=True).first.click()
                page.wait_for_url(f"{root}/login/oidc/callback**")
                expect(page.get_by_role("alert").first).to_contain_text("none of your roles there opens anything")
        finally:
            process.kill()  # it holds nothing
