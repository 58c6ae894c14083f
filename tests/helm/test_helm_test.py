"""`helm test`: the very command of its pod, against a service that runs here."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.cli.probe import PATIENT_ID
from tests.helm.conftest import Render, changed, profile
from tests.helm.manifests import Manifest, named, pod_labels
from tests.support.standalone import Running, standalone

SLICES = 20
SENDING = changed(profile("hospital"), "helmTest.study", True)
SAMPLE = Path(__file__).resolve().parents[2] / "dicom_samples" / "phantom_negative"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("probed") / "data"
    with standalone(data, fake_segmenter_s=0.0, quiet_period_s=3.0, check_called_ae_title=True) as running:
        yield running


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the sample's slices: enough to be analysed, and soon done."""
    folder = tmp_path_factory.mktemp("sample")
    for path in sorted(SAMPLE.glob("*.dcm"))[:SLICES]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def manifests(render: Render) -> list[Manifest]:
    return render(SENDING)


def probed(manifests: list[Manifest], running: Running, sample: Path) -> subprocess.CompletedProcess[str]:
    """Run what the pod runs. What is replaced is what the image and the cluster's name server would say."""
    (container,) = named(manifests, "Pod", "vigie-test")["spec"]["containers"]
    here = {
        "vigie-dicom:11112": f"127.0.0.1:{running.dicom_port}",
        "http://vigie-desk": f"http://127.0.0.1:{running.http_port}",
        "/opt/sample": str(sample),
    }
    command = list(container["command"])
    for there, address in here.items():
        command = [word.replace(there, address) for word in command]
    program, *arguments = command
    assert program == "vigie"
    return subprocess.run(
        [Path(sys.executable).with_name("vigie"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_study_is_sent_its_result_read_and_recalled(manifests: list[Manifest], service: Running, sample: Path):
    done = probed(manifests, service, sample)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("ok ") for line in lines)
    (study,) = httpx.get(f"http://127.0.0.1:{service.http_port}/api/studies", timeout=30).json()["studies"]
    assert study["study"]["patient_id"] == PATIENT_ID
    assert study["study"]["study_instance_uid"] in done.stdout
    assert study["instance_count"] == SLICES
    assert study["state"] == "analysed"
    # it moves nothing up in the list of those who read
    assert (study["recalled"], study["flag"]) == (True, None)


def test_without_a_study_it_only_asks(render: Render, service: Running, sample: Path):
    done = probed(render(profile("hospital")), service, sample)
    assert done.returncode == 0, done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["C-ECHO:", "checks:"]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("door.service.port", 1, "FAILED  C-ECHO: VIGIE@vigie-dicom:1: the host name cannot be resolved"),
        ("settings.ae_title", "OTHER", "FAILED  C-ECHO: OTHER@127.0.0.1:"),
        ("helmTest.timeoutSeconds", 1, "FAILED  no result within 1 s: the study is '"),
    ],
)
def test_what_fails_is_told(render: Render, service: Running, sample: Path, path: str, value: object, told: str):
    done = probed(render(changed(SENDING, path, value)), service, sample)
    assert done.returncode == 1
    assert told in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_pod_may_reach_door_and_desk_and_nothing_else(manifests: list[Manifest]):
    labels = pod_labels(manifests)["vigie-test"]
    for name, port in (("vigie-door", 11112), ("vigie-desk", 8000)):
        ingress = named(manifests, "NetworkPolicy", name)["spec"]["ingress"]
        admitted = [
            peer["podSelector"]["matchLabels"].items() <= labels.items()
            for rule in ingress
            for peer in rule.get("from", [])
            if "podSelector" in peer and {"port": port} in rule["ports"]
        ]
        assert any(admitted), name
    out = named(manifests, "NetworkPolicy", "vigie-test")["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in out] == [[53, 53], [8000, 11112]]


def test_a_key_of_the_api_comes_from_a_secret(render: Render):
    (container,) = named(render(profile("operators")), "Pod", "vigie-test")["spec"]["containers"]
    (key,) = container["env"]
    assert key == {"name": "VIGIE_API_KEY", "valueFrom": {"secretKeyRef": {"name": "vigie-probe", "key": "key"}}}


def test_the_image_has_the_sample():
    dockerfile = SAMPLE.parents[1] / "deploy" / "docker" / "Dockerfile"
    assert "COPY dicom_samples/phantom_negative /opt/sample" in dockerfile.read_text()
