"""What an application needs of a cluster before its replicas start."""

from pathlib import Path
from typing import Any

import pytest
import ray

from agentark_ray.config import ConfigError
from agentark_ray.serving.parts import bundles, read_parts
from agentark_ray.session import need_resources
from tests.ray.serving import scripted_run, settings_for, trained_run

CPU = {"CPU": 1}
TWO = {"pools": {"student": {"min_replicas": 2, "max_replicas": 2}}}


def needs(run: Any, **values: Any) -> list[dict[str, int]]:
    settings = settings_for(run, 8000, **values)
    return bundles(settings, read_parts(settings))


def test_every_replica_that_is_always_there_counts(tmp_path: Path) -> None:
    run = scripted_run(tmp_path / "run", "gpus_per_engine=2")
    assert needs(run) == [CPU] * 6, "student, base, debate, hybrid, ingress, recorder"
    assert needs(run, models=["student"]) == [CPU] * 3
    assert needs(run, models=["student"], **TWO) == [CPU] * 4
    none = {"pools": {"student": {"min_replicas": 0}}}
    assert needs(run, models=["student"], **none) == [CPU] * 2


def test_engines_on_gpus_need_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained_run(tmp_path / "run", "model=owner/name", "gpus_per_engine=2")
    found = needs(run, models=["student", "base"], **TWO)
    assert found == [CPU] * 2 + [{"CPU": 1, "GPU": 1}] * 6

    node = {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0}, "Labels": {}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    need_resources("pools", needs(run, models=["student"], **TWO))
    with pytest.raises(ConfigError, match="pools: needs 6 GPUs, the cluster has 4"):
        need_resources("pools", found)
