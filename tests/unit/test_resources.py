"""Whether a cluster can hold a stage is known before the stage starts."""

import json
import re
from pathlib import Path

import pytest
import ray

from agentark_ray.config import parse_config
from agentark_ray.resources import VARIABLE, LacksRoom, coming_nodes, lacking
from agentark_ray.section import ConfigError
from agentark_ray.session import need_resources
from agentark_ray.train.grpo_training import need_places
from agentark_ray.train.rollouts import where

SIX = [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 3.0}]
FOUR = [{"CPU": 4.0, "GPU": 1.0}] * 4
GROWS = [{"nodes": 2, "CPU": 8, "GPU": 4}, {"nodes": 1, "CPU": 16}]
CPU = {"CPU": 1}
BIG = {"CPU": 99.0, "GPU": 99.0}


def gpus(*sizes: int) -> list[dict[str, float]]:
    return [{"GPU": size} for size in sizes]


def grown(types: object) -> list[dict[str, float]]:
    return [dict(node) for node, _ in coming_nodes({VARIABLE: json.dumps(types)})]


def test_what_is_missing_is_said_in_groups() -> None:
    words = lacking([CPU, CPU, *gpus(4, 4)], SIX)
    assert words == ("needs 8 GPUs (2 x 4, each group on one node), the cluster has 6 (2 x 3)")
    assert lacking([CPU] * 17 + gpus(3), SIX) == "needs 17 CPUs, the cluster has 16"
    assert lacking([CPU] * 16 + gpus(3, 3), SIX) is None


def test_six_gpus_are_no_two_groups_of_four_also_when_they_are_enough() -> None:
    assert lacking(gpus(4), SIX) is not None
    assert lacking(gpus(3, 2, 1), SIX) is None


def test_cpus_of_one_worker_are_on_one_node() -> None:
    assert lacking([{"CPU": 8, "GPU": 1}] * 2, FOUR) == (
        "needs 16 CPUs (2 x 8, each group on one node), the cluster has 16 (4 x 4)"
    )
    assert lacking([{"CPU": 4, "GPU": 1}] * 4, FOUR) is None


def test_cpus_are_needed_where_the_gpus_are() -> None:
    apart = [{"CPU": 16.0}, {"CPU": 2.0, "GPU": 8.0}]
    assert lacking([{"CPU": 8, "GPU": 1}] * 2, apart) == (
        "needs 2 x (8 CPU + 1 GPU), each on one node, the cluster has 0"
    )
    assert lacking([*gpus(4, 4), {"CPU": 8}, {"CPU": 8}], apart) is None


def test_a_large_bundle_takes_the_room_of_small_ones() -> None:
    """One of 8 CPUs and 2 GPUs holds two of 4 CPUs and 1 GPU."""
    nodes = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0}]
    large, small = {"CPU": 8, "GPU": 2}, {"CPU": 4, "GPU": 1}
    assert lacking([large, {"CPU": 8}], nodes) is None
    assert lacking([large, small], nodes) == (
        "needs 3 x (4 CPU + 1 GPU), each on one node, the cluster has 2"
    )


def test_a_cluster_may_grow_into_it() -> None:
    coming = grown(GROWS)
    assert coming == [{"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 4}, {"CPU": 16}]
    head = [{"memory": 1e9}]
    assert lacking([CPU] * 20 + gpus(4, 4), head, coming) is None
    assert lacking([CPU] * 20 + gpus(4, 4, 1), head, coming) == (
        "needs 9 GPUs (2 x 4 + 1 x 1, each group on one node), the cluster has 8 (2 x 4) when it is"
        " as large as it may be"
    )
    assert lacking([CPU] * 33, head, coming) == (
        "needs 33 CPUs, the cluster has 32 when it is as large as it may be"
    )


def test_what_fits_now_needs_no_growth() -> None:
    assert lacking([CPU] * 16 + gpus(3), SIX, grown([{"nodes": 1, "CPU": 1}])) is None


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_nothing_is_said_of_growth(environment: dict[str, str]) -> None:
    assert coming_nodes(environment) == []


@pytest.mark.parametrize(
    "text",
    ["8", "[8]", "nodes", '[{"GPU": 8}]', '[{"nodes": "x"}]', '[{"nodes": 1, "labels": "spot"}]'],
)
def test_a_wrong_variable_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{VARIABLE}={text}: expected JSON")):
        coming_nodes({VARIABLE: text})


def test_grpo_wants_room_for_workers_and_engines_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def need(*overrides: str) -> None:
        values = [f"output={tmp_path}", "distill.type=pad", "train.workers=2", *overrides]
        need_places(parse_config({}, values, "test"))

    def cluster(*nodes: dict[str, float]) -> None:
        found = [{"Alive": True, "Resources": node, "Labels": {}} for node in nodes]
        lost = {"Alive": False, "Resources": BIG, "Labels": {}}
        monkeypatch.setattr(ray, "nodes", lambda: [*found, lost])

    cluster({"CPU": 8.0, "GPU": 4.0})
    on_gpus = ("gpus_per_engine=2", "train.cpus_per_worker=4")
    need(*on_gpus, "distill.grpo.actors=1")
    words = r"train\.workers=2, distill\.grpo\.actors=2: needs 6 GPUs \(2 x 2 \+ 2 x 1, .* has 4"
    with pytest.raises(ConfigError, match=words):
        need(*on_gpus, "distill.grpo.actors=2")
    need("train.cpus_per_worker=3", "distill.grpo.actors=2")
    with pytest.raises(ConfigError, match=r"needs 9 CPUs \(2 x 3 \+ 3 x 1, .* has 8 \(1 x 8\)"):
        need("train.cpus_per_worker=3", "distill.grpo.actors=3")
    cluster({"CPU": 8.0}, {"CPU": 2.0, "GPU": 4.0})
    with pytest.raises(ConfigError, match=r"needs 2 x \(4 CPU \+ 1 GPU\), each .* has 0"):
        need(*on_gpus, "distill.grpo.actors=1")


def test_only_nodes_with_the_labels_count(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"spot": {"CPU": 8.0}, "on-demand": {"CPU": 2.0}}
    found = [
        {"Alive": True, "Resources": node, "Labels": {"zone": "a", "market-type": kind}}
        for kind, node in kinds.items()
    ]
    monkeypatch.setattr(ray, "nodes", lambda: found)
    need_resources("train", [CPU] * 10)
    stays = {"market-type": "on-demand"}
    need_resources("train", [CPU] * 2, stays)
    with pytest.raises(LacksRoom, match=r"train on nodes with .*: needs 3 CPUs, the cluster has 2"):
        need_resources("train", [CPU] * 3, stays)
    with pytest.raises(LacksRoom, match=r"train on nodes with .*: needs 1 CPUs, .* has 0$"):
        need_resources("train", [CPU], {**stays, "zone": "b"})


def test_only_nodes_to_come_that_have_the_labels_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", list)
    types = [
        {"nodes": 2, "CPU": 8},
        {"nodes": 2, "CPU": 8, "labels": {"market-type": "spot"}},
        {"nodes": 1, "CPU": 8, "labels": {"market-type": "on-demand", "zone": "a"}},
    ]
    monkeypatch.setenv(VARIABLE, json.dumps(types))
    stays = {"market-type": "on-demand"}
    need_resources("train", [CPU] * 40)
    need_resources("train", [CPU] * 8, stays)
    with pytest.raises(LacksRoom, match=r"needs 9 CPUs, the cluster has 8 when it is as large"):
        need_resources("train", [CPU] * 9, stays)
    words = rf"has 0; {VARIABLE} has no nodes with these labels"
    with pytest.raises(LacksRoom, match=words):
        need_resources("train", [CPU], {"market-type": "reserved"})


ON_DEMAND = "train.label_selector={market-type: on-demand}"


@pytest.mark.parametrize(
    ("on_demand", "others", "workers", "elsewhere"),
    [
        (4, 4, 4, 2),  # the engines have a node of their own
        (5, 1, 4, 1),  # one of them
        (6, 0, 4, 0),
        (4, 4, 6, None),  # workers have 4 GPUs and cannot have the other four
        (5, 1, 5, None),  # one engine is left on the workers' node
    ],
)
@pytest.mark.parametrize("coming", [False, True])
def test_engines_of_grpo_leave_the_workers_their_nodes(
    on_demand: int,
    others: int,
    workers: int,
    elsewhere: int | None,
    coming: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = {"on-demand": on_demand, "spot": others}
    types = [
        {"nodes": 1, "CPU": 8, "GPU": gpus, "labels": {"market-type": kind}}
        for kind, gpus in kinds.items()
    ]
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": gpus}, "Labels": {"market-type": kind}}
        for kind, gpus in kinds.items()
    ]
    monkeypatch.setattr(ray, "nodes", list if coming else lambda: nodes)
    if coming:
        monkeypatch.setenv(VARIABLE, json.dumps(types))
    sizes = (f"train.workers={workers}", "distill.grpo.actors=2", "gpus_per_engine=1")
    batch = f"train.batch_size={workers * 4}"
    config = parse_config(
        {}, [f"output={tmp_path}", "distill.type=pad", *sizes, batch, ON_DEMAND], "test"
    )
    if elsewhere is not None:
        assert need_places(config) == elsewhere
        return
    with pytest.raises(LacksRoom, match=r"elsewhere\) on nodes with .*on-demand.*: needs \d GPUs"):
        need_places(config)


def test_where_an_actor_may_be() -> None:
    assert where({}, apart=False) == {"label_selector": None}
    labels = {"market-type": "on-demand", "zone": "a"}
    assert where(labels, apart=False) == {"label_selector": labels}
    assert where(labels, apart=True) == {  # it is enough that one is not so
        "label_selector": {"market-type": "!on-demand"},
        "fallback_strategy": [{"label_selector": {"zone": "!a"}}],
    }


def test_a_training_goes_on_with_other_labels() -> None:
    labels = "train.label_selector={ray.io/market-type: on-demand}"
    labelled = parse_config({}, [labels], "test")
    assert labelled.train.label_selector == {"ray.io/market-type": "on-demand"}
    assert labelled.hash() == parse_config({}, [], "test").hash()
    with pytest.raises(ConfigError, match=r"train\.label_selector\.zone='in\(a, b\)'"):
        parse_config({}, ["train.label_selector={zone: 'in(a, b)'}"], "test")
