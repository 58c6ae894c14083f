"""In the cluster as elsewhere nothing is open by accident: what the chart gives door and desk, the program accepts."""

import asyncio
import tomllib
from ipaddress import ip_network
from typing import Any

import pytest
import yaml
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from services.backends.oidc.file import load_oidc
from services.exposure import exposures
from services.settings import Settings
from tests.helm.conftest import PROFILES, Render, changed, profile
from tests.helm.engine import Chart
from tests.helm.manifests import Manifest, containers, named, of_kind, pods

OIDC = yaml.safe_load("""
issuer: https://sso.example/realms/hospital
url: https://vigie.example
client_id: vigie
roles_claim: [resource_access, vigie, roles]
roles: {reader: [vigie-reader]}
machines: {audience: vigie-api, tasks: {store: [vigie.store]}}
""")


def settings_of(manifests: list[Manifest], component: str) -> Settings:
    """As the pod's process reads them; what lies in Secrets is left out."""
    given = dict(named(manifests, "ConfigMap", "vigie-settings")["data"])
    (container,) = containers(pods(manifests)[f"vigie-{component}"])
    given |= {one["name"]: one["value"] for one in container["env"] if "value" in one}
    values = {name.removeprefix("VIGIE_").lower(): value for name, value in given.items() if name.startswith("VIGIE_")}
    return Settings(**values)


@pytest.mark.parametrize("component", ["door", "desk"])
@pytest.mark.parametrize("name", [*PROFILES, "operators"])
def test_door_and_desk_of_every_profile_start(render: Render, name: str, component: str):
    settings = settings_of(render(profile(name)), component)
    assert settings.http == "0.0.0.0:8000"
    assert exposures(settings, http=True, dicom=False) == ()


@pytest.mark.parametrize("name", ["hospital", "region"])
def test_what_is_insecure_is_said_by_name_and_for_no_desk_of_a_hospital(render: Render, name: str):
    desk = settings_of(render(profile(name)), "desk")
    assert (desk.insecure_http_without_sign_in, desk.insecure_http_without_tls, desk.https) == (False, False, True)


def test_without_people_or_tls_they_do_not_start(render: Render):
    nobody = render(changed(profile("hospital"), "access.peopleSecret", ""))
    assert len(exposures(settings_of(nobody, "desk"), http=True, dicom=False)) == 1
    no_ingress = render(changed(profile("hospital"), "desk.ingress.enabled", False))
    assert len(exposures(settings_of(no_ingress, "desk"), http=True, dicom=False)) == 1
    plain = render(changed(profile("hospital"), "insecure", {"doorHttpWithoutTls": False}))
    assert len(exposures(settings_of(plain, "door"), http=True, dicom=False)) == 1
    assert exposures(settings_of(plain, "desk"), http=True, dicom=False) == ()


def address_seen(trusted: str, *, peer: str, forwarded: str) -> str:
    """Whom the desk takes a request for, that comes from `peer`, as uvicorn reads FORWARDED_ALLOW_IPS."""
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"][0])

    scope = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 4711),
        "headers": [(b"x-forwarded-for", forwarded.encode())],
    }
    asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize("name", ["hospital", "region", "operators"])
def test_nobody_chooses_the_address_that_they_are_known_by(render: Render, name: str):
    manifests = render(changed(profile(name), "desk.proxies", ["10.244.0.0/16", "2001:db8:1::/48"]))
    (container,) = containers(pods(manifests)["vigie-desk"])
    (trusted,) = (one["value"] for one in container["env"] if one["name"] == "FORWARDED_ALLOW_IPS")
    for proxy in ("10.244.3.7", "2001:db8:1::7"):
        assert address_seen(trusted, peer=proxy, forwarded="198.51.100.9, 192.0.2.5") == "192.0.2.5"
        assert address_seen(trusted, peer=proxy, forwarded="192.0.2.5, 10.244.9.9") == "192.0.2.5", "two proxies"
    assert address_seen(trusted, peer="192.0.2.5", forwarded="198.51.100.9") == "192.0.2.5", "no proxy"


@pytest.mark.parametrize("name", ["hospital", "region", "operators"])
def test_without_named_proxies_no_forwarded_address_is_believed_and_it_is_said(chart: Chart, render: Render, name: str):
    unnamed = changed(profile(name), "desk.proxies", [])
    (container,) = containers(pods(render(unnamed))["vigie-desk"])
    assert not [one for one in container["env"] if one["name"] == "FORWARDED_ALLOW_IPS"], "uvicorn: loopback alone"
    told = [
        text
        for path, text in chart.render(unnamed, name="vigie", namespace="radiology").items()
        if path.endswith("NOTES.txt")
    ]
    assert "desk.proxies" in told[0]


def test_the_profiles_trust_no_network_that_a_hospital_has():
    documentation = [ip_network(one) for one in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
    for name in ("hospital", "region"):
        named = [ip_network(one) for one in profile(name)["desk"]["proxies"]]
        assert named
        assert all(any(one.subnet_of(each) for each in documentation) for one in named)


@pytest.mark.parametrize("name", ["hospital", "region"])
def test_no_network_of_a_cluster_may_store(name: str):
    """Who may is an archive, a modality, or a few of them; the pods' network is everybody's."""
    for title, peer in profile(name)["peers"].items():
        if "store" in peer.get("may", ["store"]):
            assert all(ip_network(one).num_addresses <= 256 for one in peer["addresses"]), title
        else:
            assert peer["max_associations"] == 1, title


def test_the_doors_http_port_speaks_tls_of_its_own(render: Render):
    values = changed(profile("hospital"), "insecure", {"doorHttpWithoutTls": False})
    manifests = render(changed(values, "door.stow", {"tlsSecret": "vigie-stow-tls"}))
    door = settings_of(manifests, "door")
    assert exposures(door, http=True, dicom=False) == ()
    pod = pods(manifests)["vigie-door"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "stow-tls")
    (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "stow-tls")
    assert volume["secret"]["secretName"] == "vigie-stow-tls"
    assert str(door.http_certificate).startswith(mount["mountPath"])
    probes = [pod["containers"][0][f"{one}Probe"]["httpGet"]["scheme"] for one in ("startup", "liveness")]
    assert probes == ["HTTPS", "HTTPS"]
    schemes = {
        one["metadata"]["name"]: one["spec"]["podMetricsEndpoints"][0].get("scheme")
        for one in of_kind(manifests, "PodMonitor")
    }
    assert (schemes["vigie-door"], schemes["vigie-desk"]) == ("https", None)


def test_the_identity_provider_is_told_to_doors_and_desks_and_reached_by_them(render: Render, tmp_path: Any):
    access = {"oidc": OIDC, "oidcSecret": "vigie-oidc", "oidcCidrs": ["192.0.2.0/24"], "oidcPort": 8443}
    manifests = render({**profile("hospital"), "access": access})
    text = named(manifests, "ConfigMap", "vigie-files")["data"]["oidc.toml"]
    assert tomllib.loads(text) == OIDC
    (tmp_path / "oidc.toml").write_text(text)
    assert load_oidc(tmp_path / "oidc.toml", []).client_id == "vigie"
    for name, pod in pods(manifests).items():
        given = {one["name"]: one for each in containers(pod) for one in each.get("env", [])}
        is_theirs = name in {"vigie-door", "vigie-desk"}
        assert ("VIGIE_OIDC" in given, "VIGIE_OIDC_CLIENT_SECRET" in given) == (is_theirs, is_theirs)
    policy = named(manifests, "NetworkPolicy", "vigie-identity-provider")["spec"]
    assert policy["egress"] == [{"ports": [{"port": 8443}], "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]
