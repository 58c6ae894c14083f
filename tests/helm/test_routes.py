"""How people reach the desk, and senders the door, through a Gateway; and the certificates."""

from typing import Any

import kubernetes_validate
import pytest

from tests.helm.conftest import Render, changed, profile
from tests.helm.manifests import Manifest, named, of_kind


@pytest.fixture(scope="module")
def manifests(render: Render) -> list[Manifest]:
    return render(profile("operators"))


def port_of(manifests: list[Manifest], backend: dict[str, Any]) -> str:
    """Where a route's backend leads: the name of the container's port."""
    ports = named(manifests, "Service", backend["name"])["spec"]["ports"]
    (found,) = (port["targetPort"] for port in ports if port["port"] == backend["port"])
    return str(found)


def test_the_desk_is_reached_by_a_listener_with_tls_and_requests_have_time(manifests: list[Manifest]):
    route = named(manifests, "HTTPRoute", "vigie-desk")["spec"]
    (parent,) = route["parentRefs"]
    assert (parent["name"], parent["namespace"], parent["sectionName"]) == ("front", "gateways", "https")
    assert route["hostnames"] == ["vigie.hospital.example"]
    (rule,) = route["rules"]
    assert rule["timeouts"] == {"request": "300s", "backendRequest": "300s"}
    assert port_of(manifests, rule["backendRefs"][0]) == "http"


def test_the_listener_without_tls_only_sends_people_on(render: Render, manifests: list[Manifest]):
    route = named(manifests, "HTTPRoute", "vigie-desk-redirect")["spec"]
    assert route["parentRefs"][0]["sectionName"] == "http"
    (rule,) = route["rules"]
    assert rule == {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}]}
    without = render(changed(profile("operators"), "desk.route.redirectListener", ""))
    assert [one["metadata"]["name"] for one in of_kind(without, "HTTPRoute")] == ["vigie-desk"]


def test_there_is_an_ingress_or_a_route_never_both(render: Render, manifests: list[Manifest]):
    """Both at once the schema refuses (test_values)."""
    assert not of_kind(manifests, "Ingress")
    assert not of_kind(render(profile("hospital")), "HTTPRoute")
    assert of_kind(render(profile("hospital")), "Ingress")


def test_dicom_goes_through_the_gateway_untouched(render: Render, manifests: list[Manifest]):
    ways = {
        one["metadata"]["name"]: (
            one["spec"]["parentRefs"][0]["sectionName"],
            port_of(manifests, one["spec"]["rules"][0]["backendRefs"][0]),
        )
        for one in of_kind(manifests, "TCPRoute")
    }
    assert ways == {"vigie-dicom": ("dicom", "dicom"), "vigie-dicom-tls": ("dicom-tls", "dicom-tls")}
    plain = render(changed(profile("operators"), "door.tls.enabled", False))
    assert [one["metadata"]["name"] for one in of_kind(plain, "TCPRoute")] == ["vigie-dicom"]


def test_where_the_door_lets_in_only_some_it_lets_in_the_gateway(render: Render, manifests: list[Manifest]):
    def allowed(rendered: list[Manifest]) -> list[dict[str, Any]]:
        return named(rendered, "NetworkPolicy", "vigie-door")["spec"]["ingress"][0]["from"]

    gateway = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "envoy-gateway-system"}}}
    assert allowed(manifests) == [{"ipBlock": {"cidr": "192.0.2.0/24"}}, gateway]
    assert gateway not in allowed(render(changed(profile("operators"), "door.route.enabled", False)))


def test_cert_manager_renews_every_certificate_with_a_new_key(manifests: list[Manifest]):
    certificates = of_kind(manifests, "Certificate")
    assert [one["metadata"]["name"] for one in certificates] == ["vigie-rabbitmq-tls", "vigie-dicom-tls"]
    for one in certificates:
        assert one["spec"]["privateKey"] == {"rotationPolicy": "Always"}
        assert "server auth" in one["spec"]["usages"]
        assert one["spec"]["dnsNames"]


@pytest.mark.parametrize(("secret", "expected"), [("", "vigie-desk-tls"), ("mine", "mine")])
def test_the_desk_has_a_certificate_of_the_issuer(render: Render, secret: str, expected: str):
    values = changed(profile("hospital"), "desk.ingress.issuer", {"name": "hospital-ca"})
    manifests = render(changed(values, "desk.ingress.tlsSecret", secret))
    certificate = named(manifests, "Certificate", "vigie-desk-tls")["spec"]
    ingress = named(manifests, "Ingress", "vigie-desk")
    kubernetes_validate.validate(ingress, "1.34", strict=True)
    assert ingress["spec"]["tls"] == [{"hosts": certificate["dnsNames"], "secretName": expected}]
    assert certificate["secretName"] == expected
    assert certificate["issuerRef"]["kind"] == "ClusterIssuer"
