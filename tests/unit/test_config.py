"""Config: overrides, errors that name the key, and what enters the hash."""

from pathlib import Path

import pytest

from agentark_ray.config import Config, ConfigError, load_config, parse_config, stable_hash
from agentark_ray.debate.protocols.rounds import DebateConfig

CONFIGS = sorted((Path(__file__).parents[2] / "jobs" / "configs").glob("*.yaml"))


def parse(*overrides: str) -> Config:
    return parse_config({}, overrides, "test.yaml")


def test_overrides_are_yaml_values_at_dotted_keys() -> None:
    config = parse("debate.agents=7", "tasks.path=null", "gates.p95_ms=null", "model=a/b")
    assert isinstance(config.debate, DebateConfig)
    assert (config.debate.agents, config.tasks.path, config.gates.p95_ms) == (7, None, None)
    assert config.model == "a/b"
    assert parse("engine.chat_template_kwargs={enable_thinking: false}").engine == (
        Config().engine.model_copy(update={"chat_template_kwargs": {"enable_thinking": False}})
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("debate.agentz=3", "unknown key 'debate.agentz', did you mean 'debate.agents'?"),
        ("modle=x", "unknown key 'modle', did you mean 'model'?"),
        ("debate.agents=0", "debate.agents=0: Input should be greater than or equal to 1"),
        ("debate.layout=circle", "debate.layout='circle'"),
        ("train.batch_size=3", "train: batch_size=3 must be a multiple"),
        ("evaluate.arms=[single]", "evaluate: arms must name single, debate and student"),
        ("agents", "expected section.key=value"),
        ("model.name=x", "model"),
        ("debate.agents=[", "is not a YAML value"),
        ("debate.protocol=quarrel", "no such protocol, expected one of debate, judged"),
        ("debate={protocol: judged, agents: 3}", "unknown key 'debate.agents'"),
        ("debate={protocol: verify, verifers: 3}", "did you mean 'debate.verifiers'?"),
        ("debate={topology: ring, layout: shared}", "topology=ring needs layout=paper"),
        ("debate={topology: random, agents: 5, degree: 3}", "got degree=3, agents=5"),
        ("distill.type=dpo", "no such type, expected one of rsft, da, rft"),
        ("distill.trajectories=3", "unknown key 'distill.trajectories'"),
        ("distill={type: da, trajectoris: 3}", "did you mean 'distill.trajectories'?"),
        ("distill={type: rft, curation: {min_word: 3}}", "mean 'distill.curation.min_words'?"),
        ("distill={type: da, curation: {min_words: 0}}", "distill.curation.min_words=0: Input"),
        ("debate.team=[{endpoint: 'http://x/v1'}]", "needs the model it serves"),
        ("debate.team=[{persona: a, temprature: 1}]", "'debate.team.0.temprature'"),
        (
            "engine.models={tyni: {gpus: 2}}",
            "test.yaml: engine.models: ['tyni'] are not among the models that this run loads:"
            " ['tiny']",
        ),
        (
            "engine.models={tiny: {gpu: 2}}",
            "unknown key 'engine.models.tiny.gpu', did you mean 'engine.models.tiny.gpus'?",
        ),
        ("engine.models={tiny: {gpus: -1}}", "engine.models.tiny.gpus=-1: Input should be"),
    ],
)
def test_a_bad_override_is_named(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(override)
    assert expected in str(error.value)


def test_an_override_below_a_plain_value_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'model' is a value, not a section"):
        parse_config({"model": "tiny"}, ["model.name=x"], "test.yaml")


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping of keys, got list"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "broken.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_parsing_does_not_change_what_it_was_given() -> None:
    values = {"debate": {"agents": 3}}
    parse_config(values, ["debate.agents=4"], "test.yaml")
    assert values == {"debate": {"agents": 3}}


def test_the_hash_ignores_operational_fields_only() -> None:
    same = parse(
        *("output=/elsewhere", "engine={actors: 4, max_actors: 8}", "gpus_per_engine=2", "name=x"),
        "prices={output: 1, prompt: 1, cached: 1, gpu_hour: 2.5}",
    )
    assert same.hash() == Config().hash()
    for override in ("seed=18", "debate.agents=3", "train.lr=0.1", "engine.max_model_len=99"):
        assert parse(override).hash() != Config().hash(), override


def test_tokens_have_all_prices_or_none() -> None:
    with pytest.raises(ConfigError, match="tokens need all three prices, missing: prompt, cached"):
        parse("prices.output=2.0")
    assert parse("prices.gpu_hour=2.0").prices.tokens is None
    found = parse("prices={output: 2, prompt: 1, cached: 0}").prices.tokens
    tokens = {"output_tokens": 500_000, "prompt_tokens": 3_000_000, "cached_tokens": 1_000_000}
    assert found is not None
    assert found.cost(tokens) == {"output": 1.0, "prompt": 2.0, "cached": 0.0}


def test_a_model_has_its_own_settings_where_it_says_so() -> None:
    team = "debate.team=[{}, {model: b/B}, {model: c/C, endpoint: 'http://x/v1'}]"
    config = parse("model=a/A", team, "engine.models={b/B: {gpus: 4, max_model_len: 99}}")
    assert config.own_models == ("a/A", "b/B")
    assert config.engine.of("a/A") == config.engine
    assert config.engine.of("b/B") == config.engine.model_copy(update={"max_model_len": 99})
    with pytest.raises(ConfigError, match=r"\['c/C'\] are not among .*\['a/A', 'b/B'\]"):
        parse("model=a/A", team, "engine.models={c/C: {gpus: 4}}")


FAR = "{model: b/B, endpoint: 'http://x/v1'}"


@pytest.mark.parametrize(
    ("place", "team", "far"),
    [
        ("debate", f"{{agents: 2, team: [{{}}, {FAR}]}}", [1]),
        ("debate", f"{{protocol: self_consistency, agents: 5, team: [{FAR}, {{}}]}}", [0, 2, 4]),
        ("evaluate.teams.w", f"{{agents: 3, team: [{{}}, {FAR}]}}", [1]),
    ],
)
def test_a_weighted_vote_needs_logprobs_of_endpoints(place: str, team: str, far: list[int]) -> None:
    override = f"{place}={team}"
    weighted = f"{place}.aggregate=weighted_vote"
    for engine in ("vllm", "scripted"):  # the endpoint is one with either
        with pytest.raises(ConfigError) as error:
            parse(override, weighted, f"engine.type={engine}")
        assert str(error.value) == (
            f"test.yaml: {place}.aggregate=weighted_vote weighs agents {far}, which are at"
            " endpoints, by log-probabilities: expected engine.endpoint_logprobs=true, got false"
        )
    parse(override, weighted, "engine.endpoint_logprobs=true")
    parse(override)


def test_a_weighted_vote_asks_no_logprobs_of_who_has_no_vote() -> None:
    for team in (
        "{aggregate: weighted_vote}",
        "{aggregate: weighted_vote, team: [{}, {model: b/B}]}",
        f"{{aggregate: weighted_vote, judge: {FAR}}}",
        f"{{aggregate: weighted_vote, agents: 1, team: [{{}}, {FAR}]}}",
        f"{{protocol: verify, team: [{FAR}]}}",
    ):
        parse(f"debate={team}", f"evaluate.teams={{other: {team}}}")


def test_settings_of_a_model_count_and_its_gpus_do_not() -> None:
    base, gpus, length = (
        parse(f"engine.models={value}")
        for value in ("{}", "{tiny: {gpus: 4}}", "{tiny: {max_model_len: 99}}")
    )
    assert base.identity() == gpus.identity()
    assert length.identity() == {**base.identity(), "engine.models.tiny.max_model_len": 99}


def test_identity_names_every_value_that_counts() -> None:
    identity = Config().identity()
    assert identity["debate.agents"] == 5
    assert "output" not in identity
    assert "engine.in_flight" not in identity


def test_stable_hash_does_not_depend_on_key_order() -> None:
    assert stable_hash({"a": 1, "b": 2}) == stable_hash({"b": 2, "a": 1})
    assert stable_hash([1, 2]) != stable_hash([2, 1])
