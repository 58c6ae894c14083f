"""`helm test` where the DICOM port speaks TLS alone: the very command of its pod, against a service that does, too."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.helm.conftest import KUBERNETES, OPERATORS, Render, changed, profile
from tests.helm.engine import Chart
from tests.helm.manifests import Manifest, named, of_kind, pod_labels
from tests.support.certificates import Authority, Certificate
from tests.support.peers import free_port
from tests.support.standalone import Running, standalone

FOLDER = "/etc/vigie-test-tls"
NAME = "vigie.hospital.example"
"""By which senders know the door; nobody in the cluster does."""

PEERS = """
[VIGIE]
addresses = ["127.0.0.1"]
certificates = ["vigie-test"]
tls = true
"""


def tls_alone(**tls: Any) -> dict[str, Any]:
    """Values of a hospital whose door has no plain port."""
    of_door = {"enabled": True, "issuer": {"name": "hospital-ca"}, "dnsNames": [NAME], "clientCertificates": True}
    values = changed(profile("hospital"), "door", {"tls": of_door | tls})
    return changed(values, "helmTest.study", False)


@pytest.fixture(scope="module")
def own(authority: Authority) -> Certificate:
    """What cert-manager would put into the Secret of the test."""
    return authority.certificate("vigie-test")


@pytest.fixture(scope="module")
def mutual(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    """A service whose TLS port takes the test as a peer by its certificate; and that port."""
    folder, port, its = tmp_path_factory.mktemp("mutual"), free_port(), authority.certificate(NAME)
    (folder / "peers.toml").write_text(PEERS)
    tls = {"dicom_tls_certificate": its.certificate, "dicom_tls_key": its.key, "dicom_tls_ca": authority.ca}
    with standalone(
        folder / "data", fake_segmenter_s=0.0, dicom_tls=f"127.0.0.1:{port}", peers=folder / "peers.toml", **tls
    ) as running:
        yield running, port


@pytest.fixture
def probed(
    authority: Authority, own: Certificate, mutual: tuple[Running, int]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run what the pod runs. What is replaced is what the cluster's name server would say, and its Secrets."""

    def run(manifests: list[Manifest], ca: Path = authority.ca) -> subprocess.CompletedProcess[str]:
        running, port = mutual
        (container,) = named(manifests, "Pod", "vigie-test")["spec"]["containers"]
        here = {
            "vigie-dicom:2762": f"127.0.0.1:{port}",
            "http://vigie-desk": f"http://127.0.0.1:{running.http_port}",
            f"{FOLDER}/ca.crt": str(ca),
            f"{FOLDER}/tls.crt": str(own.certificate),
            f"{FOLDER}/tls.key": str(own.key),
        }
        program, *arguments = container["command"]
        assert program == "vigie"
        for there, address in here.items():
            arguments = [word.replace(there, address) for word in arguments]
        command = [Path(sys.executable).with_name("vigie"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_it_shows_a_certificate_of_its_own_and_checks_the_doors(
    render: Render, probed: Callable[..., subprocess.CompletedProcess[str]]
):
    done = probed(render(tls_alone()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["ok      C-ECHO", "ok      checks"]
    assert "over TLS" in done.stdout


@pytest.mark.parametrize(
    ("tls", "name", "told"),
    [
        # the door knows the test by its certificate alone
        ({"clientCertificates": False}, "", "TLS fails: TLSV13_ALERT_CERTIFICATE_REQUIRED"),
        ({}, "other.example", "its certificate is not accepted: Hostname mismatch"),
        ({"dnsNames": [], "secret": "mine", "issuer": {"name": ""}}, "", "its certificate is not accepted"),
    ],
)
def test_what_fails_is_told(
    render: Render,
    probed: Callable[..., subprocess.CompletedProcess[str]],
    tls: dict[str, Any],
    name: str,
    told: str,
):
    values = changed(tls_alone(**tls), "helmTest.tls", {"serverName": name, "secret": "mine"})
    done = probed(render(values))
    assert done.returncode == 1
    assert told in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_door_that_another_authority_vouches_for_is_not_believed(
    render: Render, probed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    done = probed(render(tls_alone()), ca=Authority(tmp_path / "other").ca)
    assert (done.returncode, "its certificate is not accepted" in done.stdout) == (1, True)


def secret_of(manifests: list[Manifest]) -> dict[str, Any]:
    """As the pod mounts it, to where its command looks."""
    pod = named(manifests, "Pod", "vigie-test")["spec"]
    (volume,) = (one for one in pod["volumes"] if "secret" in one)
    (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == volume["name"])
    assert mount == {"name": volume["name"], "mountPath": FOLDER, "readOnly": True}
    files = {word.split("=")[1] for word in pod["containers"][0]["command"] if FOLDER in word}
    assert files == {f"{FOLDER}/{one['path']}" for one in volume["secret"]["items"]}
    return volume["secret"]


def test_the_issuer_of_the_doors_certificate_gives_it_one_as_a_client(render: Render):
    manifests = render(tls_alone())
    certificate = named(manifests, "Certificate", "vigie-test-tls")["spec"]
    assert certificate["usages"] == ["digital signature", "key encipherment", "client auth"]
    assert certificate["dnsNames"] == ["vigie-test"]
    assert certificate["issuerRef"] == named(manifests, "Certificate", "vigie-dicom-tls")["spec"]["issuerRef"]
    assert "server auth" in named(manifests, "Certificate", "vigie-dicom-tls")["spec"]["usages"]
    assert secret_of(manifests)["secretName"] == certificate["secretName"]
    for one in manifests:
        if one["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize(
    ("tls", "own", "expected"),
    [
        ({"clientCertificates": False}, "", "vigie-dicom-tls"),
        ({"clientCertificates": False, "secret": "door", "issuer": {"name": ""}}, "", "door"),
        ({"secret": "door", "issuer": {"name": ""}}, "probe", "probe"),
        ({}, "probe", "probe"),
    ],
)
def test_a_secret_of_others_is_used_and_of_the_doors_never_its_key(
    render: Render, tls: dict[str, Any], own: str, expected: str
):
    manifests = render(changed(tls_alone(**tls), "helmTest.tls", {"secret": own}))
    secret = secret_of(manifests)
    assert secret["secretName"] == expected
    assert (len(secret["items"]) == 1) == (tls.get("clientCertificates") is False)
    assert "vigie-test-tls" not in [one["metadata"]["name"] for one in of_kind(manifests, "Certificate")]


def test_the_pod_may_reach_the_tls_port(render: Render):
    manifests = render(tls_alone())
    labels = pod_labels(manifests)["vigie-test"]
    admitted = [
        rule["ports"]
        for rule in named(manifests, "NetworkPolicy", "vigie-door")["spec"]["ingress"]
        for peer in rule.get("from", [])
        if peer.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels.items()
    ]
    assert [{"port": 2762}] in admitted
    out = named(manifests, "NetworkPolicy", "vigie-test")["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in out] == [[53, 53], [8000, 2762]]


def test_without_a_certificate_to_show_there_is_none_and_the_notes_say_so(chart: Chart, render: Render):
    values = tls_alone(secret="mine", issuer={"name": ""})
    assert not of_kind(render(values), "Pod")
    told = {name: text for name, text in chart.render(values, name="vigie").items() if name.endswith("NOTES.txt")}
    assert "There is no helm test" in "".join(told.values())
    assert "helmTest.tls.secret" in "".join(told.values())
    with_one = chart.render(changed(values, "helmTest.tls", {"secret": "probe"}), name="vigie")
    assert "helm test vigie" in "".join(text for name, text in with_one.items() if name.endswith("NOTES.txt"))
