"""Looking things up in rendered manifests."""

from typing import Any

Manifest = dict[str, Any]


def pods(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    """Pod spec by the name of what makes the pod."""
    found = {}
    for one in manifests:
        if one["kind"] == "Pod":
            found[one["metadata"]["name"]] = one["spec"]
        elif "template" in one.get("spec", {}):
            found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
    return found


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == kind]


def pod_labels(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """Labels of the pods by the name of what makes them."""
    found = {}
    for one in manifests:
        template = one if one["kind"] == "Pod" else one.get("spec", {}).get("template")
        if isinstance(template, dict) and "metadata" in template:
            found[one["metadata"]["name"]] = template["metadata"]["labels"]
    return found
