"""Whether a cluster can hold a stage is known before the stage starts."""

import json
import re

import pytest

from agentark_ray.resources import VARIABLE, coming_nodes, lacking
from agentark_ray.section import ConfigError

SIX = [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 3.0}]
GROWS = [{"nodes": 2, "CPU": 8, "GPU": 4}, {"nodes": 1, "CPU": 16}]


def grown(types: object) -> list[dict[str, float]]:
    return [dict(node) for node in coming_nodes({VARIABLE: json.dumps(types)})]


def test_what_is_missing_is_said_in_groups() -> None:
    words = lacking({"CPU": 2}, [4, 4], SIX)
    assert words == ("needs 8 GPUs (2 x 4, each group on one node), the cluster has 6 (2 x 3)")
    assert lacking({"CPU": 17}, [3], SIX) == "needs 17 CPUs, the cluster has 16"
    assert lacking({"CPU": 16}, [3, 3], SIX) is None


def test_six_gpus_are_no_two_groups_of_four_also_when_they_are_enough() -> None:
    assert lacking({}, [4], SIX) is not None
    assert lacking({}, [3, 2, 1], SIX) is None


def test_a_cluster_may_grow_into_it() -> None:
    coming = grown(GROWS)
    assert coming == [{"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 4}, {"CPU": 16}]
    head = [{"memory": 1e9}]
    assert lacking({"CPU": 20}, [4, 4], head, coming) is None
    assert lacking({"CPU": 20}, [4, 4, 1], head, coming) == (
        "needs 9 GPUs (2 x 4 + 1 x 1, each group on one node), the cluster has 8 (2 x 4) when it is"
        " as large as it may be"
    )
    assert lacking({"CPU": 33}, [], head, coming) == (
        "needs 33 CPUs, the cluster has 32 when it is as large as it may be"
    )


def test_what_fits_now_needs_no_growth() -> None:
    assert lacking({"CPU": 16}, [3], SIX, grown([{"nodes": 1, "CPU": 1}])) is None


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_nothing_is_said_of_growth(environment: dict[str, str]) -> None:
    assert coming_nodes(environment) == []


@pytest.mark.parametrize("text", ["8", "[8]", "nodes", '[{"GPU": 8}]', '[{"nodes": "x"}]'])
def test_a_wrong_variable_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{VARIABLE}={text}: expected JSON")):
        coming_nodes({VARIABLE: text})
