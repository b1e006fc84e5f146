"""Whom pods may reach, which machines they may have, and when they may be taken."""

from pathlib import Path

import pytest

from tests.unit.manifests import KINDS, KUBERAY, OVERLAYS, Object, pods, ray_spec, render, shown


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


def may_talk(one: Object, other: Object, policies: list[Object]) -> bool:
    """Whether a policy lets pods with the labels `one` ask those with `other`."""

    def selects(selector: Object, labels: Object) -> bool:
        return selector.get("matchLabels", {}).items() <= labels.items()

    def allowed(direction: str, peers: str, here: Object, there: Object) -> bool:
        return any(
            selects(spec["podSelector"], here) and selects(peer["podSelector"], there)
            for spec in policies
            for rule in spec.get(direction, [])
            for peer in rule[peers]
            if "podSelector" in peer and "namespaceSelector" not in peer
        )

    return allowed("egress", "to", one, other) and allowed("ingress", "from", other, one)


def test_a_job_cannot_reach_the_service_nor_the_service_a_job() -> None:
    labels: dict[str, Object] = {}
    policies: list[Object] = []
    for kind in KINDS:
        rendered = render(KUBERAY / kind)
        policies += [one["spec"] for one in rendered if one["kind"] == "NetworkPolicy"]
        (spec,) = (spec for one in rendered if (spec := ray_spec(one)))
        for _, pod in pods(spec):
            mine = {**pod["metadata"]["labels"], "ray.io/is-ray-node": "yes"}  # KubeRay's own
            assert labels.setdefault(kind, mine) == mine
    reached = {(a, b) for a in KINDS for b in KINDS if may_talk(labels[a], labels[b], policies)}
    assert reached == {(kind, kind) for kind in KINDS}


@pytest.mark.parametrize("folder", [one for one in OVERLAYS if one.name == "serve"], ids=shown)
def test_maintenance_may_take_a_node_of_the_service(folder: Path) -> None:
    """A number of pods that stay: all else needs a scale, which a RayCluster lacks."""
    rendered = render(folder)
    (budget,) = (one["spec"] for one in rendered if one["kind"] == "PodDisruptionBudget")
    (spec,) = (spec for one in rendered if (spec := ray_spec(one)))
    (group,) = spec["workerGroupSpecs"]
    assert set(budget) == {"minAvailable", "selector"}
    assert isinstance(budget["minAvailable"], int)
    assert budget["minAvailable"] == group["minReplicas"] - 1
    labels = {**group["template"]["metadata"]["labels"], "ray.io/group": group["groupName"]}
    assert budget["selector"]["matchLabels"].items() <= labels.items()


SPOT = {  # labels of a spot machine
    "GKE": {"cloud.google.com/gke-spot": "true"},
    "EKS": {"eks.amazonaws.com/capacityType": "SPOT"},
    "Karpenter": {"karpenter.sh/capacity-type": "spot"},
}


def fits(affinity: Object, labels: dict[str, str]) -> bool:
    """Whether a node's labels are what a pod requires."""
    terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return any(
        all(
            (labels.get(rule["key"]) in rule["values"]) == (rule["operator"] == "In")
            for rule in term["matchExpressions"]
        )
        for term in terms["nodeSelectorTerms"]
    )


@pytest.mark.parametrize("folder", OVERLAYS, ids=shown)
def test_a_groups_label_says_what_machines_it_has(folder: Path) -> None:
    for one in render(folder):
        for group in (ray_spec(one) or {"workerGroupSpecs": []})["workerGroupSpecs"]:
            affinity = group["template"]["spec"]["affinity"]
            wanted = group["labels"]["ray.io/market-type"] == "spot"
            for labels in SPOT.values():
                assert fits(affinity, labels) == wanted
            assert fits(affinity, {"eks.amazonaws.com/capacityType": "ON_DEMAND"}) != wanted
