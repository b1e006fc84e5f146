"""The files of cluster/, without a cloud: schemas, hardening, and what they say of this project."""

import copy
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from agentark_ray.config import load_config
from agentark_ray.resources import VARIABLE
from agentark_ray.serving.config import parse_serve_config
from tests.unit.manifests import CLUSTER, KUBERAY, Object, lint, objects, pods, ray_spec, render

ROOT = CLUSTER.parent
LAUNCHER = ("aws", "gcp", "onprem")
KINDS = ("cluster", "generate", "distill", "serve")
SIZES = ("small", "large")
OVERLAYS = [KUBERAY / kind for kind in KINDS] + [
    KUBERAY / "overlays" / size / kind for size in SIZES for kind in KINDS
]
KUBERNETES = "1.34"
PINNED_RAY = "2.60.0"


def shown(path: Path) -> str:
    return str(path.relative_to(CLUSTER))


def launcher(name: str) -> Object:
    (config,) = objects(CLUSTER / f"{name}.yaml")
    return config


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_cluster_launcher_takes_the_file(name: str) -> None:
    validate_config(prepare_config(launcher(name)))


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_token_is_on_and_the_dashboard_is_the_heads_own(name: str) -> None:
    config = launcher(name)
    head, worker = (config[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker"))
    assert "RAY_AUTH_MODE=token ray start --head" in head
    assert "RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert config["cluster_synced_files"] == ["~/.ray/auth_token"]
    made = next(line for line in config["head_setup_commands"] if "auth_token" in line)
    assert made.startswith("umask 077;") and "ray get-auth-token --generate" in made


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_a_head_without_work_and_workers_that_come_and_go(name: str) -> None:
    config = launcher(name)
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    workers = {key: value for key, value in types.items() if key != config["head_node_type"]}
    assert {value["labels"]["ray.io/market-type"] for value in workers.values()} == {
        "spot",
        "on-demand",
    }
    for worker in workers.values():
        assert worker["min_workers"] == 0 < worker["max_workers"]
        assert worker["resources"]["GPU"] > 0
    assert sum(worker["max_workers"] for worker in workers.values()) <= config["max_workers"]
    assert config["idle_timeout_minutes"] > 0


@pytest.mark.parametrize("name", LAUNCHER)
def test_no_secret_travels_with_the_project(name: str) -> None:
    excluded = launcher(name)["rsync_exclude"]
    assert {".env", "*.pem", "*.key", "runs/**"} <= set(excluded)


def test_a_wrong_key_in_a_launcher_file_is_found() -> None:
    config = launcher("aws")
    config["idle_timeout"] = 5
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepare_config(config))


def schema(kind: str) -> Object:
    (schemas,) = objects(Path(__file__).parent / "kuberay_schema.yaml")
    return {"definitions": schemas["definitions"], **schemas[kind]}


def check(one: Object) -> None:
    """Raises if an object is not what its kind takes."""
    spec = ray_spec(one)
    if spec is None:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
        return
    jsonschema.validate(one["spec"], schema(one["kind"]))
    for _, template in pods(spec):
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", OVERLAYS, ids=shown)
def test_every_object_has_the_form_of_its_kind(folder: Path) -> None:
    rendered = render(folder)
    assert {one["kind"] for one in rendered} & {"RayCluster", "RayJob", "RayService"}
    for one in rendered:
        check(one)


def test_the_custom_resources_own_schemas() -> None:
    """With AGENTARK_KUBERAY_CRDS=FOLDER: `helm pull kuberay/kuberay-operator --untar`, crds/."""
    crds = os.environ.get("AGENTARK_KUBERAY_CRDS")
    if not crds:
        pytest.skip("AGENTARK_KUBERAY_CRDS names no folder with KubeRay's CRDs")
    schemas = {}
    for path in Path(crds).glob("*.yaml"):
        (crd,) = objects(path)
        (version,) = (v for v in crd["spec"]["versions"] if v["name"] == "v1")
        schemas[crd["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]["properties"]
    for folder in OVERLAYS:
        for one in render(folder):
            if ray_spec(one) is not None:
                jsonschema.validate(one["spec"], strict(schemas[one["kind"]]["spec"]))


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
    ("path", "value"),
    [
        (("authOptions", "mode"), "disabled"),
        (("autoscalerOptions", "version"), "v1"),
        (("headGroupSpec", "serviceType"), "LoadBalancer"),
        (("headGroupSpec", "replica"), 1),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("headGroupSpec", "template", "spec", "container"), []),
    ],
)
def test_a_planted_mistake_in_a_manifest_is_found(path: tuple[str, ...], value: object) -> None:
    (cluster,) = (one for one in render(KUBERAY / "cluster") if one["kind"] == "RayCluster")
    place = cluster["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(cluster)


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


def test_the_large_size_has_64_gpus_and_the_small_one_three() -> None:
    def gpus(folder: Path) -> int:
        (cluster,) = (one for one in render(folder) if one["kind"] == "RayCluster")
        groups = cluster["spec"]["workerGroupSpecs"]
        return sum(
            group["maxReplicas"]
            * group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
            for group in groups
        )

    assert gpus(KUBERAY / "overlays/small/cluster") == 3
    assert gpus(KUBERAY / "overlays/large/cluster") == 64 + 32


def test_traffic_is_denied_unless_allowed() -> None:
    policies = {
        one["metadata"]["name"]: one["spec"]
        for one in render(KUBERAY / "serve")
        if one["kind"] == "NetworkPolicy"
    }
    assert policies["agentark-nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for spec in policies.values():
        assert all(rule.get("from") for rule in spec.get("ingress", []))
        assert all(rule.get("to") for rule in spec.get("egress", []))
    wide = [
        peer["ipBlock"]
        for rule in policies["agentark-nodes"]["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert [block["except"] for block in wide] == [["169.254.0.0/16"]]


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
    settings = parse_serve_config(application.args, "args")
    container = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"][
        "containers"
    ][0]
    assert settings.keys.required and settings.keys.env in {v["name"] for v in container["env"]}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_images_have_pinned_packages_and_no_root(kind: str) -> None:
    lines = (CLUSTER / "docker" / f"{kind}.Dockerfile").read_text().splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base) for base in bases)
    assert f"requirements/{kind}.txt" in "\n".join(lines)
    assert all("--no-deps" in line for line in lines if "pip install" in line)
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 1000:1000"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _ = line.split()[1:]
            for source in sources:
                assert (ROOT / source).exists(), line
                assert f"!{source.split('/')[0]}" in ignored, line


def test_the_manifests_images_are_those_that_the_dockerfiles_build() -> None:
    built = {
        match[1]
        for path in (CLUSTER / "docker").glob("*.Dockerfile")
        for match in re.finditer(r"-t (\S+)", path.read_text())
    }
    used = {
        container["image"]
        for kind in KINDS
        for one in render(KUBERAY / kind)
        if (spec := ray_spec(one))
        for _, pod in pods(spec)
        for container in pod["spec"]["containers"]
    }
    assert used <= built


def test_the_nodes_roles_may_reach_their_bucket_and_nothing_else() -> None:
    (template,) = objects(CLUSTER / "aws-iam.yaml")
    resources = template["Resources"]
    (policy,) = (r for r in resources.values() if r["Type"] == "AWS::IAM::ManagedPolicy")
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        assert all(action.startswith("s3:") for action in statement["Action"])
        assert "Runs" in str(statement["Resource"])
    worker = resources["WorkerRole"]["Properties"]
    assert worker["ManagedPolicyArns"] == [{"Ref": "RunsPolicy"}] and "Policies" not in worker
    profiles = {
        r["Properties"]["InstanceProfileName"]
        for r in resources.values()
        if r["Type"] == "AWS::IAM::InstanceProfile"
    }
    used = {
        node["node_config"]["IamInstanceProfile"]["Name"]
        for node in launcher("aws")["available_node_types"].values()
    }
    assert used == profiles
    (tag,) = {
        statement["Condition"]["StringEquals"]["ec2:ResourceTag/ray-cluster-name"]
        for statement in resources["HeadRole"]["Properties"]["Policies"][0]["PolicyDocument"][
            "Statement"
        ]
        if "Condition" in statement
    }
    assert tag == launcher("aws")["cluster_name"]


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_jobs_are_told_how_far_the_launchers_cluster_grows(name: str) -> None:
    config = launcher(name)
    (said,) = re.findall(f"{VARIABLE}='([^']*)'", config["head_start_ray_commands"][-1])
    types = config["available_node_types"].values()
    workers = [one for one in types if one["resources"].get("GPU")]
    expected = [{"nodes": one["max_workers"], **one["resources"]} for one in workers]
    assert json.loads(said) == expected


@pytest.mark.parametrize("folder", [f for f in OVERLAYS if f.name != "serve"], ids=shown)
def test_jobs_are_told_how_far_the_pods_grow(folder: Path) -> None:
    (spec,) = (spec for one in render(folder) if (spec := ray_spec(one)))
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    (said,) = (v["value"] for v in head["env"] if v["name"] == VARIABLE)
    expected = []
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        gpus = limits["nvidia.com/gpu"]
        expected.append(
            {"nodes": group["maxReplicas"], "CPU": int(limits["cpu"]), "GPU": int(gpus)}
        )
    assert json.loads(said) == expected
