"""The cluster launcher's files and the images, without a cloud."""

import json
import os
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
from ray.autoscaler._private.util import (
    generate_ssh_key_paths,
    hash_runtime_conf,
    prepare_config,
    validate_config,
)
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest  # pyright: ignore
from ray.core.generated.common_pb2 import LabelSelectorOperator  # pyright: ignore

from agentark_ray.cluster.submission import EXCLUDES
from agentark_ray.resources import VARIABLE
from tests.unit.manifests import (
    CLUSTER,
    KINDS,
    KUBERAY,
    ROOT,
    Object,
    objects,
    pods,
    ray_spec,
    render,
)

LAUNCHER = ("aws", "gcp", "onprem")


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
    secrets = {".env", "*.pem", "*.key", "*.token", "keys.json*"}
    assert secrets <= set(launcher(name)["rsync_exclude"])
    assert secrets <= set(EXCLUDES)
    assert secrets <= set((ROOT / ".gitignore").read_text().splitlines())
    assert {f"**/{one}" for one in secrets} <= set(
        (ROOT / ".dockerignore").read_text().splitlines()
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("aws", "ray-autoscaler_us-west-2.pem"),  # as Ray's provider names them
        ("aws", "ray-autoscaler_1_us-west-2.pem"),
        ("gcp", generate_ssh_key_paths("ray-autoscaler_gcp_us-central1_project_ubuntu_0")[1]),
        ("onprem", launcher("onprem")["auth"]["ssh_private_key"]),
    ],
)
def test_the_key_to_the_workers_comes_to_the_head(name: str, key: str) -> None:
    """Ray copies it as it copies the project; without it no worker ever starts."""
    file = Path(key).name
    for pattern in launcher(name)["rsync_exclude"]:
        kept, _, words = pattern.rpartition("+ ")
        if fnmatch(file, words):
            assert kept == "" and pattern.startswith("+ ")
            return


@pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync")
def test_rsync_reads_the_patterns_so(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    sources = [tmp_path / name for name in ("ray-autoscaler_us-west-2.pem", "own.pem", "code.py")]
    excludes = [f"--exclude={pattern}" for pattern in launcher("aws")["rsync_exclude"]]
    for source in sources:
        source.write_text("")
        subprocess.run(["rsync", "-a", *excludes, source, there], check=True)
    assert sorted(path.name for path in there.iterdir()) == [
        "code.py",
        "ray-autoscaler_us-west-2.pem",
    ]


def test_all_own_machines_are_started() -> None:
    """By the autoscaler v1: v2 counts the head as one of `min_workers` of its node type."""
    assert (
        "; RAY_enable_autoscaler_v2=0 RAY_AUTH_MODE=token ray start --head"
        in (launcher("onprem")["head_start_ray_commands"][-1])
    )


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_launcher_copies_the_code_and_reads_nothing_else(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray reads every file of what is mounted, excluded or not, and stops at a dangling link."""
    mounts = launcher(name)["file_mounts"]
    package = {"agentark_ray", "pyproject.toml", "README.md", "LICENSE"}
    assert set(mounts.values()) == package | {"jobs", "serve", "cluster", "requirements"}
    assert all(there == f"~/agentark/{here}" for there, here in mounts.items())
    monkeypatch.chdir(ROOT)
    assert all(hash_runtime_conf(mounts, [], name))


@pytest.mark.parametrize("name", LAUNCHER)
def test_nodes_have_pip_for_what_a_job_brings(name: str) -> None:
    """Ray copies the environment and calls its pip; `uv venv` alone makes none."""
    (made,) = (line for line in launcher(name)["setup_commands"] if "uv venv" in line)
    assert " --seed " in made


def test_a_wrong_key_in_a_launcher_file_is_found() -> None:
    config = launcher("aws")
    config["idle_timeout"] = 5
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepare_config(config))


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
        container["image"].removeprefix("YOUR-REGISTRY/")
        for kind in KINDS
        for one in render(KUBERAY / kind)
        if (spec := ray_spec(one))
        for _, pod in pods(spec)
        for container in pod["spec"]["containers"]
    }
    assert used <= built and len(used) == 1


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
    own = ("ec2:ResourceTag/ray-cluster-name", launcher("aws")["cluster_name"])
    expected = {
        "ec2:Describe*": {None},
        "ec2:RunInstances": {None},
        "ssm:GetParameters": {None},
        "ec2:CreateTags": {own, ("ec2:CreateAction", "RunInstances")},
        "ec2:DeleteTags": {own},
        "ec2:StartInstances": {own},
        "ec2:StopInstances": {own},
        "ec2:TerminateInstances": {own},
        "iam:CreateServiceLinkedRole": {("iam:AWSServiceName", "spot.amazonaws.com")},
        "iam:PassRole": {None},
    }
    assert conditions_of(resources["HeadRole"]["Properties"]["Policies"][0]) == expected


def conditions_of(policy: Object) -> dict[str, set[tuple[str, str] | None]]:
    """Every action that a policy allows, and under which conditions; None is without one."""
    found: dict[str, set[tuple[str, str] | None]] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        equal = statement.get("Condition", {}).get("StringEquals")
        assert equal is None or len(equal) == 1  # several would all have to hold
        for action in [actions] if isinstance(actions, str) else actions:
            found.setdefault(action, set()).update(equal.items() if equal else [None])
    return found


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_jobs_are_told_how_far_the_launchers_cluster_grows(name: str, tmp_path: Path) -> None:
    types = launcher(name)["available_node_types"].values()
    workers = [one for one in types if one["resources"].get("GPU")]
    expected = [
        {"nodes": one["max_workers"], **one["resources"], "labels": one["labels"]}
        for one in workers
    ]
    assert told(name, tmp_path) == expected


def test_jobs_wait_for_own_machines_that_are_still_being_started(tmp_path: Path) -> None:
    config = launcher("onprem")
    (said,) = told("onprem", tmp_path)
    assert said["nodes"] == config["max_workers"] == len(config["provider"]["worker_ips"])
    assert said.keys() == {"nodes", "CPU", "GPU", "labels"}
    ((key, value),) = said["labels"].items()
    assert f" --labels={key}={value} " in config["worker_start_ray_commands"][-1]


def told(name: str, home: Path) -> list[Object]:
    """What Ray's start and then a shell of the head are told, where setup has run twice."""
    config, tell = launcher(name), f'echo "${VARIABLE}"'
    bashrc = home / ".bashrc"
    bashrc.touch()
    for line in 2 * [line for line in config["head_setup_commands"] if "-limits" in line]:
        launched(line, home, tell)
    assert len(bashrc.read_text().splitlines()) == 1
    started = launched(config["head_start_ray_commands"][-1], home, tell)
    assert started == launched(f"source ~/.bashrc; {tell}", home, tell)
    return json.loads(started)


def launched(command: str, home: Path, ray: str) -> str:
    """What a command prints, run as Ray's launcher does it, with another program as `ray`."""
    program = home / "ray"
    program.write_text(f"#!/bin/sh\n{ray}\n")
    program.chmod(0o755)
    path = f"{home}:{os.environ['PATH']}"
    env = {"HOME": str(home), "PATH": path, "RAY_HEAD_IP": "10.0.0.1"}
    wrapped = f"export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore && ({command})"
    done = subprocess.run(
        ["bash", "-c", wrapped], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("kind", ["head", "worker"])
@pytest.mark.parametrize("name", LAUNCHER)
def test_nodes_do_not_inherit_the_launchers_one_thread(
    name: str, kind: str, tmp_path: Path
) -> None:
    command = launcher(name)[f"{kind}_start_ray_commands"][-1]
    seen = launched(command, tmp_path, 'echo "$1 ${OMP_NUM_THREADS-unset} $RAY_AUTH_MODE"')
    assert seen == "start unset token\n"


def test_disks_of_google_cloud_are_of_a_type_that_the_machines_take() -> None:
    """G2 machines take no pd-standard, which is the API's own choice."""
    config = launcher("gcp")
    zone = config["provider"]["availability_zone"]
    for node in config["available_node_types"].values():
        for disk in node["node_config"]["disks"]:
            assert disk["initializeParams"]["diskType"] == f"zones/{zone}/diskTypes/pd-balanced"


@pytest.mark.parametrize(
    ("operator", "kind", "machine"),
    [
        ("IN", "spot", "gpu_spot"),
        ("IN", "on-demand", "gpu_on_demand"),
        ("NOT_IN", "on-demand", "gpu_spot"),  # as GRPO's engines ask
    ],
)
@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_ray_starts_the_machines_that_a_training_asks_for_by_label(
    name: str, operator: str, kind: str, machine: str
) -> None:
    """By the autoscaler's own scheduler, for two workers that are placed together."""
    config = AutoscalingConfig(prepare_config(launcher(name)), skip_content_hash=True)
    label = (
        "ray.io/market-type",
        LabelSelectorOperator.Value(f"LABEL_OPERATOR_{operator}"),
        [kind],
    )
    worker = ResourceRequestUtil.make({"CPU": 1, "GPU": 1}, label_selectors=[[label]])
    asked = SchedulingRequest(
        node_type_configs=config.get_node_type_configs(),
        gang_resource_requests=[GangResourceRequest(requests=[worker, worker])],
        resource_requests=[],
        cluster_resource_constraints=[],
        current_instances=[],
        disable_launch_config_check=True,
        max_num_nodes=config.get_max_num_nodes(),
    )
    started = ResourceDemandScheduler(event_logger=None).schedule(asked).to_launch
    assert [(one.instance_type, one.count) for one in started] == [(machine, 1)]
