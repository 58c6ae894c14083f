"""The pods of Triton: GPU, memory, models, and how they are scaled and stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helm.conftest import Render, changed, profile
from tests.helm.manifests import Manifest, named, of_kind, pods
from tests.support.bundle import bright_spot_bundle


def server(manifests: list[Manifest]) -> dict[str, Any]:
    return pods(manifests)["vigie-triton"]["containers"][0]


def test_shared_memory_holds_a_volume_and_its_answers_for_each_instance_and_counts_as_memory(render: Render):
    values = {**profile("hospital"), "triton": {"instances": 2, "maxVolumeVoxels": 2048 * 512 * 512}}
    pod = pods(render(values))["vigie-triton"]
    (shared,) = (one["emptyDir"] for one in pod["volumes"] if one["name"] == "shm")
    assert shared == {"medium": "Memory", "sizeLimit": f"{64 + 2 * 6 * 512}Mi"}
    assert pod["containers"][0]["resources"]["limits"]["memory"] == f"{16 * 1024 + 64 + 2 * 6 * 512}Mi"
    settings = named(render(values), "ConfigMap", "vigie-settings")["data"]
    assert settings["VIGIE_MAX_VOLUME_VOXELS"] == str(2048 * 512 * 512)


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/mig-3g.40gb"])
def test_a_gpu_or_a_slice_of_one_is_asked_for_and_nothing_else_may_be_placed_there(render: Render, resource: str):
    values = changed(profile("operators"), "triton.gpu.resource", resource)
    pod = pods(render(values))["vigie-triton"]
    asked = pod["containers"][0]["resources"]
    # an extended resource is given whole: request and limit must be the same
    assert asked["requests"][resource] == asked["limits"][resource] == 1
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "A100-SXM4-80GB"}
    assert pod["runtimeClassName"] == "nvidia"
    assert "nvidia" not in json.dumps(pods(render(profile("evaluation")))["vigie-triton"])


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({}, True),
        ({"triton.replicas": 2}, False),
        ({"triton.autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"}}, False),
        ({"triton.gpu.resource": "nvidia.com/mig-3g.40gb"}, False),
        ({"triton.device": "cpu"}, False),
    ],
)
def test_workers_ask_one_whole_gpu_for_its_energy_and_can_reach_it(render: Render, change: dict[str, Any], asked: bool):
    """Of several servers they cannot tell which works for them, and a slice of a GPU has no counter."""
    values = profile("hospital")
    for path, value in change.items():
        values = changed(values, path, value)
    manifests = render(values)
    told = named(manifests, "ConfigMap", "vigie-settings")["data"].get("VIGIE_TRITON_METRICS")
    assert told == ("vigie-triton:8002" if asked else None)
    served = {port["port"] for port in named(manifests, "Service", "vigie-triton")["spec"]["ports"]}
    (out,) = named(manifests, "NetworkPolicy", "vigie-worker")["spec"]["egress"]
    (from_workers, _) = named(manifests, "NetworkPolicy", "vigie-triton")["spec"]["ingress"]
    for ports in (served, *({port["port"] for port in rule["ports"]} for rule in (out, from_workers))):
        assert ports == ({8001, 8002} if asked else {8001})


def test_energy_is_asked_where_the_site_says_or_nowhere(render: Render):
    def told(address: str) -> tuple[str, list[dict[str, Any]]]:
        manifests = render(changed(profile("hospital"), "settings.triton_metrics", address))
        egress = named(manifests, "NetworkPolicy", "vigie-worker")["spec"]["egress"]
        return named(manifests, "ConfigMap", "vigie-settings")["data"]["VIGIE_TRITON_METRICS"], egress[1:]

    assert told("triton.example:9002") == ("triton.example:9002", [{"ports": [{"port": 9002}]}])
    assert told("") == ("", [])


def test_the_server_hears_of_the_inference_mode_for_it_runs_the_networks(render: Render):
    def told(values: dict[str, Any]) -> list[str]:
        return [one["value"] for one in server(render(values))["env"] if one["name"] == "VIGIE_INFERENCE"]

    assert told(profile("hospital")) == []
    assert told(changed(profile("hospital"), "settings.inference", "fast")) == ["fast"]


def test_converted_networks_outlive_a_container_where_it_may_write(render: Render):
    manifests = render(changed(profile("hospital"), "settings.inference", "fast"))
    (folder,) = (one["value"] for one in server(manifests)["env"] if one["name"] == "VIGIE_CONVERTED")
    pod = pods(manifests)["vigie-triton"]
    (mount,) = (one["name"] for one in server(manifests)["volumeMounts"] if folder.startswith(f"{one['mountPath']}/"))
    assert {"name": mount, "emptyDir": {}} in pod["volumes"]
    assert server(manifests)["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_server_that_is_stopped_finishes_what_it_has(render: Render):
    manifests = render(profile("hospital"))
    grace = pods(manifests)["vigie-triton"]["terminationGracePeriodSeconds"]
    (timeout,) = (int(one.split("=")[1]) for one in server(manifests)["args"] if "--exit-timeout-secs" in one)
    assert 60 <= timeout < grace


def exported_to(command: list[str], folder: Path) -> list[str]:
    """The command of a container, with /repository elsewhere."""
    return [word.replace("/repository", str(folder)) for word in command]


def test_a_job_exports_the_models_once_and_servers_wait_for_it(render: Render, tmp_path: Path):
    """Both commands run, as the pods run them."""
    manifests = render(changed(profile("operators"), "triton.device", "cpu"))
    job = named(manifests, "Job", "vigie-export-1")["spec"]["template"]["spec"]
    pod = pods(manifests)["vigie-triton"]
    models, repository = tmp_path / "models", tmp_path / "repository"
    bright_spot_bundle(models)
    repository.mkdir()
    export = exported_to(job["containers"][0]["command"], repository)
    wait = exported_to(pod["initContainers"][0]["command"], repository)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    given = {**os.environ, "VIGIE_MODELS": str(models), "PATH": programs}
    with subprocess.Popen(wait, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout
        assert "waiting for the Job" in waiting.stdout.readline()
        assert waiting.poll() is None
        done = subprocess.run(export, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert waiting.wait(timeout=20) == 0
    (served,) = (one.split("=")[1] for one in server(manifests)["args"] if one.startswith("--model-repository"))
    assert list(Path(*exported_to([served], repository)).glob("*/config.pbtxt"))
    again = subprocess.run(export, env=given, capture_output=True, text=True, check=True)
    assert again.stdout == ""


def test_claim_and_mounts_of_job_and_servers_are_one(render: Render):
    manifests = render(profile("operators"))
    for pod, read_only in ((pods(manifests)["vigie-export-1"], None), (pods(manifests)["vigie-triton"], True)):
        (volume,) = (one["persistentVolumeClaim"] for one in pod["volumes"] if one["name"] == "repository")
        assert volume["claimName"] == named(manifests, "PersistentVolumeClaim", "vigie-models")["metadata"]["name"]
        assert volume.get("readOnly") is read_only
    mine = render(changed(profile("operators"), "triton.repository.existingClaim", "mine"))
    assert [one["metadata"]["name"] for one in of_kind(mine, "PersistentVolumeClaim")] == ["vigie-data"]
    assert not any("export" in name for name in pods(render(profile("hospital"))))


@pytest.mark.parametrize(("path", "value"), [("image.tag", "9.9.9"), ("triton.instances", 2)])
def test_servers_of_two_releases_have_a_folder_each(render: Render, path: str, value: object):
    def folder(values: dict[str, Any]) -> str:
        return next(one for one in server(render(values))["args"] if one.startswith("--model-repository"))

    assert folder(profile("operators")) == folder(profile("operators"))
    assert folder(profile("operators")) != folder(changed(profile("operators"), path, value))
