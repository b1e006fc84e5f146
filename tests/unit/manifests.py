"""Reads cluster/: Kubernetes objects, kustomizations, and their overlays as kustomize renders them.

Of kustomize only what this project uses: resources, components, namespace, images and JSON patches
whose operation is `replace`.
"""

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
KUBERAY = CLUSTER / "kuberay"
KINDS = ("cluster", "generate", "distill", "serve")
SIZES = ("small", "large")
OVERLAYS = [KUBERAY / kind for kind in KINDS] + [
    KUBERAY / "overlays" / size / kind for size in SIZES for kind in KINDS
]
Object = dict[str, Any]


def shown(path: Path) -> str:
    """A file or folder as an id of a test."""
    return str(path.relative_to(CLUSTER))


def objects(path: Path) -> list[Object]:
    """All documents of a YAML file."""
    return copy.deepcopy(_read(path))


@functools.cache
def _read(path: Path) -> list[Object]:
    return list(yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader))


def render(folder: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder.

    Raises:
        AssertionError: it uses what is not known here, or a path of a patch is not there.
    """
    (spec,) = objects(folder / "kustomization.yaml")
    known = {"apiVersion", "kind", "namespace", "resources", "components", "images", "patches"}
    assert spec.keys() <= known, f"{folder}: {spec.keys() - known}"
    found: list[Object] = []
    for name in spec.get("resources", []):
        place = folder / name
        found += render(place) if place.is_dir() else objects(place)
    for name in spec.get("components", []):
        (component,) = objects(folder / name / "kustomization.yaml")
        assert component["kind"] == "Component", folder / name
        for patch in component["patches"]:
            _patch(found, patch)
    for patch in spec.get("patches", []):
        _patch(found, patch)
    for image in spec.get("images", []):
        _rename(found, image)
    if "namespace" in spec:
        for one in found:
            if one["kind"] != "Namespace":
                one["metadata"]["namespace"] = spec["namespace"]
    return found


def _rename(value: Any, image: Object) -> None:
    """Gives an image of containers, at any depth, its new name and version."""
    if isinstance(value, list):
        for one in value:
            _rename(one, image)
    elif isinstance(value, dict):
        for container in value.get("containers", []):
            if container["image"].rpartition(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
        for one in value.values():
            _rename(one, image)


def _patch(found: list[Object], patch: Object) -> None:
    target = patch["target"]
    assert target.keys() <= {"kind", "name"}
    for one in found:
        named = target.get("name", one["metadata"]["name"]) == one["metadata"]["name"]
        if one["kind"] == target["kind"] and named:
            for step in yaml.safe_load(patch["patch"]):
                _replace(one, step)


def _replace(value: Any, step: Object) -> None:
    assert step["op"] == "replace", step
    *path, last = step["path"].strip("/").split("/")
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    key = int(last) if isinstance(value, list) else last
    assert isinstance(value, list) or key in value, f"{step['path']}: not there to be replaced"
    value[key] = copy.deepcopy(step["value"])


def ray_spec(one: Object) -> Object | None:
    """The spec of the Ray cluster in a RayCluster, RayJob or RayService."""
    places = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
    if one["kind"] not in places:
        return None
    spec = one["spec"]
    for part in places[one["kind"]]:
        spec = spec[part]
    return spec


def pods(spec: Object) -> Iterator[tuple[str, Object]]:
    """Name and template of every kind of pod of a Ray cluster, the head first."""
    yield "head", spec["headGroupSpec"]["template"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


def lint(name: str, pod: Object) -> list[str]:
    """What a pod lacks of what the restricted Pod Security Standard and good manners ask."""
    spec, found = pod["spec"], []
    own = spec.get("securityContext", {})
    if not own.get("runAsNonRoot") or not own.get("runAsUser"):
        found.append("runs as root")
    if own.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("has no seccomp profile")
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("shares the host's namespaces")
    if any("hostPath" in volume for volume in spec.get("volumes", [])):
        found.append("mounts the host's files")
    if not spec.get("serviceAccountName"):
        found.append("has the default service account")
    for container in spec["containers"]:
        found += _lint_container(container)
    return [f"{name}: {words}" for words in found]


def _lint_container(container: Object) -> Iterator[str]:
    name, own = container["name"], container.get("securityContext", {})
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield f"{name} may become privileged"
    if own.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{name} keeps capabilities"
    if not own.get("readOnlyRootFilesystem"):
        yield f"{name} may write its image"
    for kind in ("requests", "limits"):
        has = container.get("resources", {}).get(kind, {}).keys()
        if lacks := {"cpu", "memory", "ephemeral-storage"} - has:
            yield f"{name} has no {kind} of {', '.join(sorted(lacks))}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe not in container:
            yield f"{name} has no {probe}"
    tag = container["image"].rpartition(":")[2]
    if tag in ("", "latest", container["image"]):
        yield f"{name} has an image without a version"
    for variable in container.get("env", []):
        if "value" in variable and _secret(variable["name"]):
            yield f"{name} has {variable['name']} in clear"


def _secret(name: str) -> bool:
    return any(word in name.upper() for word in ("TOKEN", "KEY", "SECRET", "PASSWORD"))
