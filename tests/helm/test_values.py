"""Wrong values are refused before anything is installed, with a message that names the value."""

from typing import Any

import pytest
from helm_python import HelmValuesError

from tests.helm.conftest import Render, changed, profile

# (dotted path, harmful value, a part of the message)
HARMFUL = [
    ("doors", {}, "doors"),
    ("door.replica", 3, "replica"),
    ("door.replicas", 0, "/door/replicas"),
    ("door.replicas", "3", "/door/replicas"),
    ("door.privileged", True, "privileged"),
    ("door.hostNetwork", True, "hostNetwork"),
    ("door.securityContext", {"runAsUser": 0}, "securityContext"),
    ("door.service.type", "Loadbalancer", "/door/service/type"),
    ("door.service.port", 70000, "/door/service/port"),
    ("door.allowedCidrs", ["10.0.0.0"], "/door/allowedCidrs"),
    ("door.resources.limits.memory", "4GB", "/door/resources/limits/memory"),
    ("door.resources.limits.memory", 4, "/door/resources/limits/memory"),
    ("door.resources.limits", None, "limits"),
    ("door.tls.enabled", True, "/door/tls/secret"),
    ("door.insecureWithoutTls", "yes", "/door/insecureWithoutTls"),
    ("door.insecureAnyCaler", True, "insecureAnyCaler"),
    ("peers", {"CT1": "192.0.2.30"}, "/peers/CT1"),
    ("settings", {"peers": "/etc/vigie/mine.toml"}, "peers"),
    ("settings", {"insecure_dicom_any_caller": True}, "insecure_dicom_any_caller"),
    ("files", {"peers.toml": ""}, "peers.toml"),
    ("door.tls", {"enabled": True, "issuer": {"name": "hospital"}}, "/door/tls/dnsNames"),
    ("image.tag", "latest", "/image/tag"),
    ("image.digests", {"gateway": "sha256:1234"}, "/image/digests/gateway"),
    ("image.digests", {"gatway": "sha256:" + "0" * 64}, "gatway"),
    ("image.pullPolicy", "always", "/image/pullPolicy"),
    ("database.existingSecret", "", "/database/existingSecret"),
    ("database.mode", "postgres", "/database/mode"),
    ("database.url", "postgresql://vigie:secret@db/vigie", "url"),
    ("database.builtin.image", "postgres:latest", "/database/builtin/image"),
    ("database.builtin.image", "postgres", "/database/builtin/image"),
    ("broker.existingSecret", "", "/broker/existingSecret"),
    ("data.size", "2TB", "/data/size"),
    ("data.accessModes", ["ReadWriteOnce"], "/data/accessModes"),
    ("desk.ingress.tlsSecret", "", "/desk/ingress/tlsSecret"),
    ("desk.ingress.host", "", "/desk/ingress/host"),
    ("settings", {"quiet_period": 15}, "quiet_period"),
    ("settings", {"quiet_period_s": "15 s"}, "/settings/quiet_period_s"),
    ("settings", {"database_url": "postgresql://vigie:secret@db/vigie"}, "database_url"),
    ("settings", {"dicom": "0.0.0.0:104"}, "dicom"),
    ("settings", {"hl7": "0.0.0.0:2575"}, "hl7"),
    ("files", {"../destinations.toml": ""}, "../destinations.toml"),
    ("files", {"destinations.toml": ""}, "destinations.toml"),
    ("worker.autoscaling.minReplicas", 0, "/worker/autoscaling/minReplicas"),
    ("worker.stopGraceSeconds", -1, "/worker/stopGraceSeconds"),
    ("triton.device", "cuda", "/triton/device"),
    ("triton.resources.limits.memory", "1Ti", "/triton/resources/limits/memory"),
    ("triton.enabled", False, "/triton/address"),
    ("triton.autoscaling.enabled", True, "/triton/autoscaling/prometheus"),
    ("triton.instances", 0, "/triton/instances"),
    ("deliver.allowedDestinations", [{"cidr": "192.0.2.0/24"}], "ports"),
    ("networkPolicy.enable", False, "enable"),
    ("database.mode", "cloudnativepg", "/database/mode"),
    ("database.operator.instances", 0, "/database/operator/instances"),
    ("database.operator.image", "ghcr.io/cloudnative-pg/postgresql:latest", "/database/operator/image"),
    ("database.operator.durability", "off", "/database/operator/durability"),
    ("database.operator.parameters", {"shared_buffers": 512}, "/database/operator/parameters/shared_buffers"),
    ("database.operator.parameters", {"Shared Buffers": "1GB"}, "Shared Buffers"),
    ("database.operator.backup.schedule", "0 2 * * *", "/database/operator/backup/schedule"),
    ("database.operator.backups", {"objectStore": "s3"}, "backups"),
    ("database.operator.size", "50GB", "/database/operator/size"),
    ("broker.operator.replicas", 2, "/broker/operator/replicas"),
    ("broker.operator.image", "docker.io/library/rabbitmq:3.13.7", "/broker/operator/image"),
    ("broker.operator.tls.issuer.kind", "clusterissuer", "/broker/operator/tls/issuer/kind"),
    ("broker.operator.tls.enabled", True, "enabled"),
    ("desk.route", {"enabled": True, "gateway": "front", "host": "vigie.example"}, "/desk/route/enabled"),
    ("desk", {"route": {"enabled": True, "host": "vigie.example"}}, "/desk/route/gateway"),
    ("desk", {"route": {"enabled": True, "gateway": "front"}}, "/desk/route/host"),
    ("desk.route.host", "https://vigie.example", "/desk/route/host"),
    ("desk.route.listener", "", "/desk/route/listener"),
    ("desk.route.timeout", "5 minutes", "/desk/route/timeout"),
    ("desk.route.timeout", 300, "/desk/route/timeout"),
    ("desk.ingress.issuer", {"name": "Hospital CA"}, "/desk/ingress/issuer/name"),
    ("door.route.enabled", True, "/door/route/gateway"),
    ("door.route.kind", "TLSRoute", "kind"),
    ("triton.repository.mode", "pvc", "/triton/repository/mode"),
    ("triton.repository.size", "20GB", "/triton/repository/size"),
    (
        "triton",
        {"replicas": 2, "repository": {"mode": "claim", "accessModes": ["ReadWriteOnce"]}},
        "/triton/repository/accessModes",
    ),
    ("door.drainSeconds", -1, "/door/drainSeconds"),
    ("desk.drainSeconds", "15s", "/desk/drainSeconds"),
    ("triton.terminationGracePeriodSeconds", 5, "/triton/terminationGracePeriodSeconds"),
    ("triton.gpu.resource", "mig-3g.40gb", "/triton/gpu/resource"),
    ("worker.priorityClassName", "Low Priority", "/worker/priorityClassName"),
    ("networkPolicy.kedaNamespaceLabels", "keda", "/networkPolicy/kedaNamespaceLabels"),
    ("helmTest.study", "no", "/helmTest/study"),
    ("helmTest.callingAeTitle", "A TITLE OF AN AE TOO LONG", "/helmTest/callingAeTitle"),
    ("helmTest.timeoutSeconds", "5m", "/helmTest/timeoutSeconds"),
    ("helmTest.key", "secret", "key"),
    ("helmTest.tls", {"ca": "/etc/ca.pem"}, "ca"),
    ("helmTest.tls.serverName", "https://vigie.example", "/helmTest/tls/serverName"),
    ("access.oidcClientSecret", "secret", "oidcClientSecret"),
    ("access.oidcCidrs", ["sso.example"], "/access/oidcCidrs"),
    ("insecure", {"httpWithoutSignin": True}, "httpWithoutSignin"),
    ("insecure", {"httpWithoutSignIn": "true"}, "/insecure/httpWithoutSignIn"),
    ("door.stow.tlsSecret", "STOW TLS", "/door/stow/tlsSecret"),
    ("files", {"oidc.toml": ""}, "oidc.toml"),
    ("settings", {"oidc": "/etc/vigie/other.toml"}, "oidc"),
    ("settings", {"insecure_http_without_tls": True}, "insecure_http_without_tls"),
    ("monitoring.runbookUrl", "runbook", "/monitoring/runbookUrl"),
]


@pytest.mark.parametrize(("path", "value", "told"), HARMFUL, ids=[f"{one[0]}-{n}" for n, one in enumerate(HARMFUL)])
def test_a_harmful_value_is_refused_by_name(render: Render, path: str, value: Any, told: str):
    with pytest.raises(HelmValuesError) as refusal:
        render(changed(profile("hospital"), path, value))
    assert told in str(refusal.value)


def test_the_defaults_alone_ask_for_database_and_broker(render: Render):
    with pytest.raises(HelmValuesError, match="/database/existingSecret"):
        render({})
