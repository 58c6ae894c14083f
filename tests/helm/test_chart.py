"""The three profiles against the Kubernetes schemas and the 'restricted' Pod Security Standard."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.chart import CHART, readme, runbook, schema
from services.backends.peers_file import load_peers
from services.exposure import dicom_exposures
from services.gateway.role import Role
from services.parts import GATEWAY
from services.settings import Settings
from services.supervisor import STOP_PATIENCE_S
from tests.helm.conftest import KUBERNETES, OPERATORS, PROFILES, Manifest, Render, changed, profile
from tests.helm.engine import lint
from tests.helm.manifests import containers, named, of_kind, pod_labels, pods

# Labels and ports of the pods that operators make: CloudNativePG pkg/specs/pods.go; RabbitMQ's cluster operator
# internal/metadata/label.go and internal/resource/statefulset.go, with TLS.
OF_OPERATORS = (
    ({"cnpg.io/cluster": "vigie-database", "cnpg.io/podRole": "instance"}, {"postgresql", "metrics", "status"}),
    (
        {"app.kubernetes.io/name": "vigie-rabbitmq", "app.kubernetes.io/component": "rabbitmq"},
        {"epmd", "amqps", "management-tls", "prometheus-tls"},
    ),
)


@pytest.fixture(params=[*PROFILES, "operators"])
def manifests(request: pytest.FixtureRequest, render: Render) -> list[Manifest]:
    return render(profile(request.param))


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_manifest_is_what_kubernetes_expects(manifests: list[Manifest], version: str):
    assert manifests
    for one in manifests:
        if one["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("name", [*PROFILES, "operators"])
def test_helms_linter_finds_no_fault(name: str):
    found = lint(CHART, profile(name), strict=True, namespace="radiology", quiet=True)
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]
    assert found["errors"] == []


def test_no_two_manifests_are_one_object(manifests: list[Manifest]):
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(names) == len(set(names))


def test_pods_are_restricted(manifests: list[Manifest]):
    for name, pod in pods(manifests).items():
        assert not pod["automountServiceAccountToken"], name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert not any("hostPath" in volume for volume in pod.get("volumes", [])), name
        for one in containers(pod):
            context = one["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert context["readOnlyRootFilesystem"], name
            assert not context["allowPrivilegeEscalation"], name
            assert not context.get("privileged"), name


def test_images_are_pinned_and_containers_ask_for_what_they_need(manifests: list[Manifest]):
    for name, pod in pods(manifests).items():
        for one in containers(pod):
            assert re.search(r":[^:/]*\d[^:/]*$", one["image"]), one["image"]
            assert {"cpu", "memory"} <= one["resources"]["requests"].keys(), name
            assert "memory" in one["resources"]["limits"], name


def test_what_listens_is_probed_and_what_does_not_is_not(manifests: list[Manifest]):
    for name, pod in pods(manifests).items():
        for one in pod["containers"]:
            # who only tells Prometheus its figures works on without being scraped
            listens = any(port["name"] != "metrics" for port in one.get("ports", ()))
            assert ({"startupProbe", "readinessProbe", "livenessProbe"} <= one.keys()) is listens, name
            assert listens is not (name.split("-")[1] in {"worker", "deliver", "migrate", "export", "test"}), name


@pytest.mark.parametrize("role", [Role.DOOR, Role.DESK])
def test_what_listens_stops_after_all_know_that_it_goes_and_has_the_time_to(manifests: list[Manifest], role: Role):
    pod = pods(manifests)[f"vigie-{role}"]
    (container,) = pod["containers"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    stop_s = len(GATEWAY[role]) * STOP_PATIENCE_S
    assert int(seconds) >= 10
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + stop_s


def test_a_site_may_have_its_listeners_stop_at_once(render: Render):
    values = changed(changed(profile("hospital"), "door.drainSeconds", 0), "desk.drainSeconds", 0)
    for name, grace in {"vigie-door": 180, "vigie-desk": 60}.items():
        pod = pods(render(values))[name]
        assert "lifecycle" not in pod["containers"][0]
        assert pod["terminationGracePeriodSeconds"] == grace


def test_volumes_and_mounts_belong_together(manifests: list[Manifest]):
    for one in manifests:
        if "template" not in one.get("spec", {}):
            continue
        pod = one["spec"]["template"]["spec"]
        claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
        volumes = {volume["name"] for volume in pod.get("volumes", [])} | set(claims)
        mounted = {mount["name"] for each in containers(pod) for mount in each.get("volumeMounts", [])}
        assert mounted == volumes, one["metadata"]["name"]


def ports_of(pod: dict[str, Any]) -> set[str]:
    return {port["name"] for each in pod["containers"] for port in each.get("ports", [])}


def test_selectors_find_their_pods_and_services_their_ports(manifests: list[Manifest]):
    specs = pods(manifests)
    made = [(labels, ports_of(specs[name])) for name, labels in pod_labels(manifests).items()]
    for one in manifests:
        if one["kind"] not in {"Service", "PodDisruptionBudget", "PodMonitor"}:
            continue
        selector = one["spec"]["selector"]
        wanted = (selector.get("matchLabels") or selector).items()
        (offered,) = [ports for labels, ports in [*made, *OF_OPERATORS] if wanted <= labels.items()]
        asked = [port.get("targetPort", port["name"]) for port in one["spec"].get("ports", [])]
        asked += [end["port"] for end in one["spec"].get("podMetricsEndpoints", [])]
        assert set(asked) <= offered, one["metadata"]["name"]


def test_a_hook_needs_nothing_that_comes_after_it(render: Render):
    manifests = render(profile("hospital"))
    hooks = [
        one for one in manifests if "pre-install" in one["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    ]
    assert [one["metadata"]["name"] for one in hooks] == ["vigie-migrate"]
    later = {one["metadata"]["name"] for one in manifests} - {"vigie-migrate"}
    pod = hooks[0]["spec"]["template"]["spec"]
    assert "serviceAccountName" not in pod
    referred = set(re.findall(r'"(?:name|claimName|secretName)": "([^"]*)"', json.dumps(pod)))
    assert not referred & later
    assert "vigie-db-app" in referred


def test_with_its_own_database_the_migration_is_no_hook_and_waits(render: Render):
    (job,) = (one for one in render(profile("evaluation")) if one["kind"] == "Job")
    assert "annotations" not in job["metadata"]
    assert job["metadata"]["name"] == "vigie-migrate-1"
    assert job["spec"]["backoffLimit"] >= 10


def test_nothing_goes_in_or_out_but_what_is_named(manifests: list[Manifest]):
    policies = [one for one in manifests if one["kind"] == "NetworkPolicy"]
    everything = named(policies, "NetworkPolicy", "vigie-default-deny")
    assert everything["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & everything["spec"].keys()
    denied = everything["spec"]["podSelector"]["matchLabels"].items()
    for one in manifests:
        if "template" in one.get("spec", {}):
            assert denied <= one["spec"]["template"]["metadata"]["labels"].items()
    triton = named(policies, "NetworkPolicy", "vigie-triton")
    assert "Egress" in triton["spec"]["policyTypes"]
    assert "egress" not in triton["spec"]
    reached = [one["spec"]["podSelector"] for one in policies if "egress" in one["spec"]]
    assert not any("triton" in json.dumps(one) for one in reached)


def test_the_environment_is_settings_that_the_program_takes(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch):
    given = named(manifests, "ConfigMap", "vigie-settings")["data"]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert {name.removeprefix("VIGIE_").lower() for name in given} <= Settings.model_fields.keys()
    settings = Settings()
    assert settings.stop_grace_s == 600
    assert settings.dicom == "0.0.0.0:11112"


def test_destinations_and_settings_arrive_as_they_were_written(render: Render):
    table = {
        "address": "PACS@pacs:104",
        "objects": ["SEG", "SR"],
        "storage_commitment": True,
        "commitment_max_requests": 5,
    }
    values = {
        **profile("evaluation"),
        "destinations": {"pacs": table, "/srv/research": {"objects": ["SEG"]}},
        "settings": {"quiet_period_s": 2.5, "max_associations": 64, "recall_notes": True, "ae_priorities": "ER=stat"},
        "files": {"routing.toml": "[a]\nb = 1\n"},
    }
    manifests = render(values)
    files = named(manifests, "ConfigMap", "vigie-files")["data"]
    assert tomllib.loads(files["destinations.toml"]) == values["destinations"]
    assert files["routing.toml"] == values["files"]["routing.toml"]
    given = named(manifests, "ConfigMap", "vigie-settings")["data"]
    assert given["VIGIE_QUIET_PERIOD_S"] == "2.5"
    assert given["VIGIE_MAX_ASSOCIATIONS"] == "64"
    assert given["VIGIE_RECALL_NOTES"] == "true"
    assert given["VIGIE_AE_PRIORITIES"] == "ER=stat"


def test_dicom_over_tls_and_hl7_are_ports_beside_the_dicom_port(render: Render):
    door = {
        "tls": {
            "enabled": True,
            "clientCertificates": True,
            "issuer": {"name": "hospital"},
            "dnsNames": ["vigie.example"],
        },
        "hl7": {"enabled": True},
        "insecureWithoutTls": True,
    }
    manifests = render({**profile("hospital"), "door": door, "settings": {"pacs": "/etc/vigie/pacs.toml"}})
    service = named(manifests, "Service", "vigie-dicom")["spec"]["ports"]
    assert [(port["name"], port["port"]) for port in service] == [("dicom", 11112), ("dicom-tls", 2762), ("hl7", 2575)]
    pod = pods(manifests)["vigie-door"]
    assert {port["name"] for port in pod["containers"][0]["ports"]} == {"dicom", "http", "dicom-tls", "hl7"}
    settings = named(manifests, "ConfigMap", "vigie-settings")["data"]
    assert (settings["VIGIE_DICOM_TLS"], settings["VIGIE_HL7"]) == ("0.0.0.0:2762", "0.0.0.0:2575")
    (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "dicom-tls")
    for name in ("CERTIFICATE", "KEY", "CA"):
        assert settings[f"VIGIE_DICOM_TLS_{name}"].startswith(mount["mountPath"])
    (volume,) = (one for one in pod["volumes"] if one["name"] == "dicom-tls")
    certificate = named(manifests, "Certificate", "vigie-dicom-tls")["spec"]
    assert certificate["secretName"] == volume["secret"]["secretName"]
    door_policy = named(manifests, "NetworkPolicy", "vigie-door")["spec"]
    assert door_policy["egress"] == [{}]
    for one in manifests:
        if one["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)
    assert "egress" not in named(render(profile("hospital")), "NetworkPolicy", "vigie-door")["spec"]


def test_without_a_word_for_the_plain_port_there_is_tls_alone(render: Render):
    tls = {"enabled": True, "secret": "vigie-dicom", "clientCertificates": True}
    door = {"tls": tls, "route": {"enabled": True, "gateway": "front"}, "insecureWithoutTls": False}
    manifests = render({**profile("hospital"), "door": door})
    settings = named(manifests, "ConfigMap", "vigie-settings")["data"]
    assert settings["VIGIE_DICOM"] == "127.0.0.1:11112"
    assert not any("INSECURE" in name for name in settings)
    assert [one["name"] for one in named(manifests, "Service", "vigie-dicom")["spec"]["ports"]] == ["dicom-tls"]
    (container,) = pods(manifests)["vigie-door"]["containers"]
    assert container["readinessProbe"]["tcpSocket"] == {"port": "dicom-tls"}
    assert {one["name"] for one in container["ports"]} == {"http", "dicom-tls"}
    assert [one["metadata"]["name"] for one in of_kind(manifests, "TCPRoute")] == ["vigie-dicom-tls"]


@pytest.mark.parametrize("name", PROFILES)
def test_the_door_of_a_profile_starts_and_knows_its_callers(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    manifests = render(profile(name))
    for key, value in named(manifests, "ConfigMap", "vigie-settings")["data"].items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert not dicom_exposures(settings)
    assert (settings.peers is None) == (name == "evaluation")
    if settings.peers is not None:
        (tmp_path / "peers.toml").write_text(named(manifests, "ConfigMap", "vigie-files")["data"]["peers.toml"])
        peers = load_peers(settings.model_copy(update={"peers": tmp_path / "peers.toml", "destinations": None}))
        assert peers is not None
        assert set(peers.by_title) >= {"VIGIE"}


def test_a_door_that_nobody_said_may_be_open_does_not_start(render: Render, monkeypatch: pytest.MonkeyPatch):
    values = {**profile("hospital"), "peers": {}, "door": {}}
    for key, value in named(render(values), "ConfigMap", "vigie-settings")["data"].items():
        monkeypatch.setenv(key, value)
    found = [one.setting for one in dicom_exposures(Settings())]
    assert found == ["insecure_dicom_any_caller", "insecure_dicom_without_tls"]


def test_studies_stay_when_the_release_goes(render: Render):
    claim = named(render(profile("hospital")), "PersistentVolumeClaim", "vigie-data")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_changed_configuration_starts_pods_anew(render: Render):
    def checksum(settings: dict[str, Any]) -> str:
        door = named(render({**profile("hospital"), "settings": settings}), "Deployment", "vigie-door")
        return door["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum({}) == checksum({})
    assert checksum({}) != checksum({"quiet_period_s": 30})


def test_readme_schema_and_runbook_are_made_from_values_settings_and_docs():
    how = "run: python -m deploy.chart"
    assert (CHART / "README.md").read_text() == readme(), how
    assert json.loads((CHART / "values.schema.json").read_text()) == schema(), how
    assert (CHART / "files" / "runbook.yaml").read_text() == runbook(), how


def test_every_value_has_a_comment():
    lines = (CHART / "values.yaml").read_text().splitlines()
    # a comment may stand for the keys right below it, and for what is inside a list or map of its own
    for number, line in enumerate(lines):
        if re.match(r"^ {0,4}[a-zA-Z]+:( |$)", line) and not line.strip().startswith(("requests", "limits")):
            above = next((one for one in reversed(lines[:number]) if not re.match(r"^ *[a-zA-Z-]", one)), "")
            assert above.strip().startswith("#") or not above.strip(), line


def test_the_schema_has_every_default_value():
    yaml.safe_load((CHART / "values.yaml").read_text())
    known = json.loads((CHART / "values.schema.json").read_text())["properties"].keys() - {"global"}
    assert yaml.safe_load((CHART / "values.yaml").read_text()).keys() == known


def test_people_and_session_key_are_given_to_doors_and_desks_alone(render: Render):
    values = {"access": {"peopleSecret": "vigie-people", "sessionKeySecret": "vigie-session"}}
    for name, pod in pods(render({**profile("hospital"), **values})).items():
        given = {one["name"]: one for container in containers(pod) for one in container.get("env", [])}
        mounted = [one for one in pod.get("volumes", []) if one.get("secret", {}).get("secretName") == "vigie-people"]
        is_theirs = name in {"vigie-door", "vigie-desk"}
        assert ("VIGIE_PEOPLE" in given, "VIGIE_SESSION_KEY" in given, bool(mounted)) == (is_theirs,) * 3, name
        if is_theirs:
            assert given["VIGIE_PEOPLE"]["value"] == "/etc/vigie-people/people.toml"
            key = given["VIGIE_SESSION_KEY"]["valueFrom"]["secretKeyRef"]
            assert key == {"name": "vigie-session", "key": "session-key"}
