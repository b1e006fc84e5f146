"""KubeRay manifests without a cluster: schemas, hardening, and what they say of this project."""

import copy
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from agentark_ray.config import load_config
from agentark_ray.resources import VARIABLE
from agentark_ray.serving.config import parse_serve_config
from agentark_ray.serving.run import PROXY_S
from tests.unit.manifests import (
    KINDS,
    KUBERAY,
    OVERLAYS,
    ROOT,
    Object,
    lint,
    objects,
    pods,
    ray_spec,
    render,
    shown,
)

KUBERNETES = "1.34"
PINNED_RAY = "2.60.0"


# What this project asks of a cluster beyond what KubeRay does.
CLUSTERS = {
    "required": ["rayVersion", "authOptions", "autoscalerOptions", "enableInTreeAutoscaling"],
    "properties": {
        "authOptions": {"properties": {"mode": {"const": "token"}}, "required": ["mode"]},
        "autoscalerOptions": {"properties": {"version": {"const": "v2"}}, "required": ["version"]},
        "headGroupSpec": {"properties": {"serviceType": {"const": "ClusterIP"}}},
    },
}
# Names that KubeRay's program knows, and its definitions do not.
NAMED = {
    "properties": {
        "submissionMode": {"enum": ["HTTPMode", "K8sJobMode", "SidecarMode"]},
        "upgradeStrategy": {
            "properties": {"type": {"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade"]}}
        },
    }
}


def schema(kind: str) -> Object:
    (schemas,) = objects(Path(__file__).parent / "kuberay_crds.yaml")
    return strict({"definitions": schemas, **schemas[kind]})


def check(one: Object) -> None:
    """Raises if an object is not what its kind takes."""
    spec = ray_spec(one)
    if spec is None:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
        return
    for rules in (schema(one["kind"]), NAMED):
        jsonschema.validate(one["spec"], rules)
    jsonschema.validate(spec, CLUSTERS)
    for _, template in pods(spec):
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", OVERLAYS, ids=shown)
def test_every_object_has_the_form_of_its_kind(folder: Path) -> None:
    rendered = render(folder)
    assert {one["kind"] for one in rendered} & {"RayCluster", "RayJob", "RayService"}
    for one in rendered:
        check(one)


def strict(value: Any) -> Any:
    """A schema that refuses keys which it does not name."""
    if isinstance(value, list):
        return [strict(one) for one in value]
    if not isinstance(value, dict):
        return value
    closed = {key: strict(one) for key, one in value.items()}
    if value.get("type") == "object" and "properties" in value:
        closed.setdefault("additionalProperties", False)
    return closed


def test_all_may_be_in_one_namespace() -> None:
    """KubeRay names a head's Kubernetes service by the object: two of a name would share one."""
    names = [
        one["metadata"]["name"] for kind in KINDS for one in render(KUBERAY / kind) if ray_spec(one)
    ]
    assert len(set(names)) == len(names) == len(KINDS)


@pytest.mark.parametrize("folder", OVERLAYS, ids=shown)
def test_pods_are_hardened(folder: Path) -> None:
    found = [
        line
        for one in render(folder)
        if (spec := ray_spec(one))
        for name, pod in pods(spec)
        for line in lint(name, pod)
    ]
    assert found == []


def plant(*path: str | int, value: Any = None) -> Callable[[Object], None]:
    """Sets or, without a value, removes something in a pod."""

    def change(pod: Object) -> None:
        place: Any = pod["spec"]
        for part in path[:-1]:
            place = place[part]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


CONTAINER = ("containers", 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (plant("securityContext", "runAsNonRoot"), "runs as root"),
        (plant("securityContext", "seccompProfile"), "has no seccomp profile"),
        (plant("hostNetwork", value=True), "shares the host's namespaces"),
        (plant("volumes", 0, value={"name": "h", "hostPath": {"path": "/"}}), "the host's files"),
        (plant("serviceAccountName"), "has the default service account"),
        (plant(*CONTAINER, "securityContext", "allowPrivilegeEscalation"), "become privileged"),
        (plant(*CONTAINER, "securityContext", "capabilities"), "keeps capabilities"),
        (plant(*CONTAINER, "securityContext", "readOnlyRootFilesystem"), "may write its image"),
        (plant(*CONTAINER, "resources", "limits", "memory"), "has no limits of memory"),
        (plant(*CONTAINER, "livenessProbe"), "has no livenessProbe"),
        (plant(*CONTAINER, "image", value="agentark-ray"), "an image without a version"),
        (plant(*CONTAINER, "image", value="a/b:latest"), "an image without a version"),
        (plant(*CONTAINER, "env", 0, value={"name": "HF_TOKEN", "value": "x"}), "in clear"),
    ],
)
def test_a_planted_weakness_is_found(change: Callable[[Object], None], words: str) -> None:
    (cluster,) = (one for one in render(KUBERAY / "cluster") if one["kind"] == "RayCluster")
    pod = copy.deepcopy(next(pods(cluster["spec"]))[1])
    assert lint("head", pod) == []
    change(pod)
    (found,) = lint("head", pod)
    assert words in found


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("cluster", ("authOptions", "mode"), "disabled"),
        ("cluster", ("autoscalerOptions", "version"), "v1"),
        ("cluster", ("headGroupSpec", "serviceType"), "LoadBalancer"),
        ("cluster", ("headGroupSpec", "replica"), 1),
        ("cluster", ("headGroupSpec", "rayStartParams", "num-cpus"), 0),
        ("cluster", ("headGroupSpec", "template", "spec", "container"), []),
        ("generate", ("submissionMode",), "HttpMode"),
        ("generate", ("backoffLimit",), "2"),
        ("serve", ("rayClusterConfig", "authOptions", "mode"), "disabled"),
        ("serve", ("rayClusterConfig", "workerGroupSpecs", 0, "maxReplica"), 2),
        ("serve", ("upgradeStrategy", "type"), "Rolling"),
    ],
)
def test_a_planted_mistake_in_a_manifest_is_found(
    kind: str, path: tuple[str | int, ...], value: object
) -> None:
    (one,) = (one for one in render(KUBERAY / kind) if ray_spec(one))
    place: Any = one["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(one)


@pytest.mark.parametrize("folder", OVERLAYS, ids=shown)
def test_groups_scale_and_the_head_takes_no_work(folder: Path) -> None:
    for one in render(folder):
        if (spec := ray_spec(one)) is None:
            continue
        assert (spec["rayVersion"], spec["enableInTreeAutoscaling"]) == (PINNED_RAY, True)
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        for group in spec["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
            assert limits["nvidia.com/gpu"] > 0
            assert group["template"]["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("folder", OVERLAYS, ids=shown)
def test_objects_of_ray_fit_into_shared_memory(folder: Path) -> None:
    """Else Ray says nothing and keeps them on disk, in /tmp."""
    for one in render(folder):
        if (spec := ray_spec(one)) is None:
            continue
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            limit = pod["containers"][0]["resources"]["limits"]["memory"]
            mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
            (shm,) = (v["emptyDir"] for v in pod["volumes"] if v["name"] == mounts["/dev/shm"])
            assert shm["medium"] == "Memory"
            store = int(group["rayStartParams"]["object-store-memory"])
            assert store < gibibytes(shm["sizeLimit"]) <= gibibytes(limit) / 3


def gibibytes(text: str) -> int:
    """In bytes."""
    assert text.endswith("Gi"), text
    return int(text.removesuffix("Gi")) * 2**30


def gpus_at_most(spec: Object) -> int:
    """Of all groups of workers."""
    return sum(
        group["maxReplicas"]
        * group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        for group in spec["workerGroupSpecs"]
    )


@pytest.mark.parametrize("folder", [one for one in OVERLAYS if one.name == "serve"], ids=shown)
def test_the_service_comes_up_on_the_gpus_it_may_have(folder: Path) -> None:
    """With engines of one GPU; else it waits for ever, and nothing says why."""
    (service,) = (one for one in render(folder) if one["kind"] == "RayService")
    (described,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    pools = parse_serve_config(described["args"], "args").pools
    engines = pools.base.min_replicas + pools.student.min_replicas
    assert engines <= gpus_at_most(ray_spec(service) or {})


def test_the_large_size_has_64_gpus_and_the_small_one_three() -> None:
    def gpus(folder: Path) -> int:
        (cluster,) = (one for one in render(folder) if one["kind"] == "RayCluster")
        return gpus_at_most(cluster["spec"])

    assert gpus(KUBERAY / "overlays/small/cluster") == 3
    assert gpus(KUBERAY / "overlays/large/cluster") == 64 + 32


def entrypoint(kind: str) -> list[str]:
    (job,) = (one for one in render(KUBERAY / kind) if one["kind"] == "RayJob")
    (settings,) = (one for one in render(KUBERAY / kind) if one["kind"] == "ConfigMap")
    text = re.sub(r"\$(\w+)", lambda match: settings["data"][match[1]], job["spec"]["entrypoint"])
    return [part.replace("/app/", "") for part in shlex.split(text)]


def test_the_jobs_are_commands_of_this_project() -> None:
    python, script, config, *values = entrypoint("generate")
    assert (python, (ROOT / script).is_file()) == ("python", True)
    loaded = load_config(ROOT / config, values)
    assert loaded.output.startswith("s3://") and loaded.gpus_per_engine == 1
    _, script, run, flag, strategy, *values = entrypoint("distill")
    assert (ROOT / script).is_file() and run.startswith("s3://") and flag == "--strategy"
    assert load_config(ROOT / config, [f"distill.type={strategy}", *values]).train.workers == 1


def test_the_service_is_this_projects_application() -> None:
    (service,) = (one for one in render(KUBERAY / "serve") if one["kind"] == "RayService")
    values = yaml.safe_load(service["spec"]["serveConfigV2"])
    (application,) = ServeDeploySchema(**values).applications
    module, _, name = application.import_path.partition(":")
    assert name in (ROOT / f"{module.replace('.', '/')}.py").read_text()
    (ingress,) = application.deployments
    assert ingress.name == "ingress" and "rollout" not in application.args
    changing: Any = ingress.user_config
    settings = parse_serve_config({**application.args, **changing}, "args")
    assert values["http_options"]["request_timeout_s"] == settings.limits.timeout_s + PROXY_S
    container = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"][
        "containers"
    ][0]
    assert settings.keys.required and settings.keys.env in {v["name"] for v in container["env"]}


@pytest.mark.parametrize("down", ["none", "node", "proxy"])
def test_a_worker_of_the_service_is_ready_if_node_and_proxy_answer(
    down: str, tmp_path: Path
) -> None:
    """KubeRay asks the proxy itself only where a pod has no readinessProbe of its own."""
    (service,) = (one for one in render(KUBERAY / "serve") if one["kind"] == "RayService")
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    probe = group["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["failureThreshold"] == 1
    wget = tmp_path / "wget"
    refused = {"none": "no", "node": ":52365/api/local_raylet_healthz", "proxy": ":8000/-/healthz"}
    wget.write_text(f'#!/bin/sh\ncase "$*" in *{refused[down]}) exit 4;; *) echo success;; esac\n')
    wget.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(probe["exec"]["command"], env=env, capture_output=True, check=False)
    assert (done.returncode == 0) == (down == "none")
    for name in ("cpu", "gpu"):
        assert " wget" in (ROOT / f"cluster/docker/{name}.Dockerfile").read_text()


@pytest.mark.parametrize("folder", [f for f in OVERLAYS if f.name != "serve"], ids=shown)
def test_jobs_are_told_how_far_the_pods_grow(folder: Path) -> None:
    (spec,) = (spec for one in render(folder) if (spec := ray_spec(one)))
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    (said,) = (v["value"] for v in head["env"] if v["name"] == VARIABLE)
    expected = []
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        cpus, gpus = int(limits["cpu"]), int(limits["nvidia.com/gpu"])
        expected.append(
            {"nodes": group["maxReplicas"], "CPU": cpus, "GPU": gpus, "labels": group["labels"]}
        )
    assert json.loads(said) == expected
