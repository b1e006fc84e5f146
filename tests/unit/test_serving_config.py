"""The configuration of an application: what is refused before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from agentark_ray.section import ConfigError
from agentark_ray.serving.config import (
    LimitsConfig,
    PoolConfig,
    is_loopback,
    load_serve_config,
    parse_serve_config,
    user_config,
)
from agentark_ray.serving.engines import serve_options
from agentark_ray.serving.parts import read_parts
from agentark_ray.serving.run import deploy_schema
from tests.ray.serving import scripted_run, settings_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "file", sorted((ROOT / "serve/config").glob("*.yaml")), ids=lambda f: f.name
)
def test_the_configs_that_come_with_it_are_valid(file: Path) -> None:
    assert load_serve_config(str(file)).run


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "run: Field required"),
        ({"run": "r", "prot": 1}, "prot='?1'?: Extra inputs are not permitted"),
        ({"run": "r", "models": ["gpt"]}, "models.0='gpt'"),
        ({"run": "r", "models": ["student", "student"]}, "names one twice"),
        ({"run": "r", "models": ["base"]}, "need one of"),
        ({"run": "r", "models": ["student"], "rollout": {"weights": {"debate": 1}}}, "debate"),
        ({"run": "r", "rollout": {"weights": {"debate": 0.5}}}, "add up to 0.5"),
        ({"run": "r", "pools": {"base": {"min_replicas": 2}}}, "min_replicas=2 is above"),
        ({"run": "r", "pools": {"base": {"target_ongoing": 300}}}, "target_ongoing=300 is above"),
        ({"run": "r", "port": 70000}, "port=70000"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_serve_config(values, "test")


def test_without_a_rollout_the_debate_answers_or_the_first_model() -> None:
    every = parse_serve_config({"run": "r"}, "test")
    assert user_config(every)["rollout"]["weights"] == {"debate": 1.0}
    one = parse_serve_config({"run": "r", "models": ["base", "student"]}, "test")
    assert one.divided.weights == {"student": 1.0}


def test_only_the_engines_that_are_needed_are_started() -> None:
    found = {
        models: parse_serve_config({"run": "r", "models": models}, "test").engines
        for models in (("student",), ("debate",), ("hybrid",), ("student", "debate"))
    }
    assert found == {
        ("student",): ("student",),
        ("debate",): ("base",),
        ("hybrid",): ("student", "base"),
        ("student", "debate"): ("student", "base"),
    }


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.7", "example.org")))


def test_only_this_machine_is_listened_to_unless_it_is_said() -> None:
    assert is_loopback(parse_serve_config({"run": "r"}, "test").host)


def test_a_server_that_others_reach_needs_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AGENTARK_API_KEYS", raising=False)
    run = scripted_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"host=0\.0\.0\.0: others can reach it"):
        deploy_schema(settings_for(run, 8000, host="0.0.0.0"))
    deploy_schema(settings_for(run, 8000, host="0.0.0.0", keys={"required": False}))
    monkeypatch.setenv("AGENTARK_API_KEYS", f"a:{'x' * 30}")
    schema = deploy_schema(settings_for(run, 8000, host="0.0.0.0"))
    assert "x" * 30 not in str(schema)


def test_a_rollout_is_no_argument_of_the_application(tmp_path: Path) -> None:
    run = scripted_run(tmp_path / "run")
    first, second = (
        deploy_schema(settings_for(run, 8000, rollout={"weights": {arm: 1.0}}))["applications"][0]
        for arm in ("student", "debate")
    )
    assert first["args"] == second["args"]
    assert first["deployments"] != second["deployments"]


def test_what_the_run_lacks_is_named(tmp_path: Path) -> None:
    run = scripted_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"student='x'.*there: rsft"):
        read_parts(settings_for(run, 8000, student="x"))
    with pytest.raises(ConfigError, match="no answers in"):
        read_parts(settings_for(run, 8000, hybrid={}))
    with pytest.raises(ConfigError, match="no run folder"):
        read_parts(parse_serve_config({"run": str(tmp_path / "none")}, "test"))
    parts = read_parts(settings_for(run, 8000))
    assert (parts.student, parts.threshold, list(parts.base.values())) == ("rsft", -0.5, ["base"])


def test_agents_with_models_of_their_own_have_engines_of_their_own(tmp_path: Path) -> None:
    team = "debate.team=[{}, {model: tiny}, {model: m, endpoint: 'http://h/v1'}]"
    run = scripted_run(tmp_path / "run", "model=owner/big", team)
    parts = read_parts(settings_for(run, 8000, models=["debate"]))
    assert {ref.name: name for ref, name in parts.base.items()} == {
        "owner/big": "base",
        "tiny": "base-1",
    }


def test_a_replica_that_is_stopped_can_finish_every_answer() -> None:
    limits = LimitsConfig(timeout_s=900)
    assert serve_options(PoolConfig(), limits)["graceful_shutdown_timeout_s"] > 900
