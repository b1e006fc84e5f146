"""The arms of an evaluation: names, what each is asked, how it answers, and the token budget."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from agentark_ray.config import Config, ConfigError, parse_config
from agentark_ray.debate.protocol import arm_protocol, generation_hash
from agentark_ray.debate.protocols.rounds import Rounds
from agentark_ray.debate.protocols.verify import Verify
from agentark_ray.evaluation import plans_for
from agentark_ray.models import resolve_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import replace_file, stored_ids
from agentark_ray.traces.requests import Plan, known_as, write_requests
from agentark_ray.traces.samples import Budget, measure_budget
from agentark_ray.traces.schema import QUESTION_SCHEMA, TRACE_SCHEMA
from agentark_ray.types import DebateStatus, ModelRef, Split
from tests.unit.debates import debate, said

GPT = {"endpoint": "http://x/v1", "model": "gpt", "api_key_env": "KEY"}


def config_of(debate: dict[str, Any] | None = None, **evaluate: Any) -> Config:
    return parse_config({"debate": debate or {}, "evaluate": evaluate}, (), "test")


def test_greedy_arms_are_the_single_ones_without_chance() -> None:
    config = config_of({"temperature": 0.9, "top_p": 0.5, "max_tokens": 7})
    for arm in ("single_greedy", "student_greedy", "da_greedy"):
        (speaker,) = arm_protocol(config, arm).speakers
        assert (speaker.sampling.temperature, speaker.sampling.top_p) == (0.0, 1.0)
        assert (speaker.sampling.max_tokens, speaker.model) == (7, None)
    (sampled,) = arm_protocol(config, "single").speakers
    assert (sampled.sampling.temperature, sampled.sampling.top_p) == (0.9, 0.5)


def test_a_team_of_the_evaluation_debates_by_its_own_section() -> None:
    config = config_of(
        {"agents": 4},
        teams={
            "trio": {"agents": 3, "temperature": 0.1},
            "checked": {"protocol": "verify", "verifiers": 2},
            "terse": {"protocol": "single", "team": [{"persona": "Be brief."}]},
        },
    )
    trio, checked, terse = (arm_protocol(config, name) for name in config.evaluate.teams)
    assert isinstance(trio, Rounds) and (trio.agents, trio.rounds) == (3, 2)
    assert {speaker.sampling.temperature for speaker in trio.speakers} == {0.1}
    assert isinstance(checked, Verify) and len(checked.speakers) == 3
    assert [speaker.persona for speaker in terse.speakers] == ["Be brief."]
    assert len(arm_protocol(config, "debate").speakers) == 4
    assert len({generation_hash(config, "m", arm) for arm in ("debate", "trio", "checked")}) == 3


@pytest.mark.parametrize(("arm", "rounds"), [("gpt", 1), ("gpt_check", 2)])
def test_an_endpoint_answers_alone_with_its_own_sampling(arm: str, rounds: int) -> None:
    config = config_of({"team": [{"persona": "P"}]}, endpoints={"gpt": {**GPT, "temperature": 0.2}})
    protocol = arm_protocol(config, arm)
    assert isinstance(protocol, Rounds) and protocol.rounds == rounds
    (speaker,) = protocol.speakers
    assert speaker.model == ModelRef(name="gpt", endpoint="http://x/v1", api_key_env="KEY")
    assert (speaker.persona, speaker.sampling.temperature) == ("", 0.2)
    assert arm_protocol(config, "gpt_peer").speakers == protocol.speakers


def test_only_arms_that_are_asked_otherwise_are_asked_again() -> None:
    before = config_of()
    after = config_of(
        samples=3,
        self_consistency_samples=9,
        endpoints={"gpt": GPT},
        teams={"judges": {"protocol": "judged"}},
    )
    for arm in ("single", "single_check", "single_greedy", "debate", "student", "da_peer"):
        assert generation_hash(before, "m", arm) == generation_hash(after, "m", arm), arm
    hashes = [generation_hash(one, "m", "self_consistency") for one in (before, after)]
    assert hashes[0] != hashes[1]
    assert len(arm_protocol(after, "self_consistency").speakers) == 9


def test_models_of_teams_are_models_of_the_run() -> None:
    config = config_of(teams={"two": {"team": [{}, {"model": "a/b"}]}}, endpoints={"gpt": GPT})
    assert config.own_models == ("tiny", "a/b")


def test_a_moved_run_keeps_its_answers(tmp_path: Path) -> None:
    folders = [RunFolder(str(tmp_path / name)) for name in ("here", "there")]
    students = {known_as(one, one.path("students", "da")) for one in folders}
    assert students == {"students/da"}
    assert known_as(folders[0], resolve_model("tiny")) == "tiny"
    for other in ("Qwen/Qwen3-0.6B", "/models/x", f"{folders[0].uri}-2/students/da"):
        assert known_as(folders[0], other) == other
    config = config_of()
    question = {name: name for name in QUESTION_SCHEMA.names}
    ids = set()
    for folder in folders:
        folder.filesystem.create_dir(folder.inner("questions"))
        table = pa.Table.from_pylist([question | {"aliases": []}], schema=QUESTION_SCHEMA)
        replace_file(folder, folder.inner("questions", "eval.parquet"), table)
        model, plans = folder.path("students", "da"), [Plan(arm="da", samples=2)]
        assert write_requests(folder, config, model, Split.EVAL, plans, "da") == 2
        ids.add(tuple(sorted(stored_ids(folder, "requests/da.parquet"))))
    assert len(ids) == 1 and len(set(*ids)) == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"teams": {"debate": {}}}, "teams: 'debate': is the name of an arm"),
        ({"teams": {"x_greedy": {}}}, "teams: 'x_greedy': expected up to 64 letters"),
        ({"endpoints": {"a/b": GPT}}, "endpoints: 'a/b': expected up to 64 letters"),
        ({"endpoints": {"x": GPT}, "teams": {"x": {}}}, "['x'] are both in teams and in endpoints"),
        ({"endpoints": {"x": {"model": "m"}}}, "endpoints.x: needs an endpoint"),
        ({"endpoints": {"x": {"endpoint": "http://h/v1"}}}, "needs the model it serves"),
        (
            {"endpoints": {"x": {**GPT, "api_key": "k"}}},
            "unknown key 'evaluate.endpoints.x.api_key', did you mean"
            " 'evaluate.endpoints.x.api_key_env'?",
        ),
        (
            {"teams": {"t": {"protocol": "verify", "verifier": 2}}},
            "unknown key 'evaluate.teams.t.verifier', did you mean 'evaluate.teams.t.verifiers'?",
        ),
        ({"teams": {"t": {"protocol": "quarrel"}}}, "no such protocol"),
        ({"samples": 0}, "evaluate.samples=0"),
        ({"robustness": {"arms": ["gpt"]}}, "['gpt'] are not among arms="),
    ],
)
def test_bad_arms_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_of(**values)
    assert words in str(error.value)


def test_what_each_arm_is_asked() -> None:
    config = config_of(
        teams={"judges": {"protocol": "judged"}},
        endpoints={"gpt": GPT},
        samples=3,
        latency_queries=5,
        other_latency_queries=3,
        peer_questions=4,
        robustness={
            "questions": 2,
            "arms": ["student_greedy", "gpt"],
            "kinds": {"repeat": [1]},
        },
    ).evaluate
    assert config.base_arms == ("single", "single_greedy", "self_consistency", "debate", "judges")
    changed = {"kind": "changed:repeat:1", "limit": 2}
    late = {"kind": "latency", "limit": 3}
    assert plans_for(config.base_arms, config, []) == [
        Plan(arm="single", samples=3),
        Plan(arm="single_greedy"),
        Plan(arm="self_consistency", samples=3),
        Plan(arm="debate", samples=3),
        Plan(arm="judges", samples=3),
        Plan(arm="single_check"),
        Plan(arm="single_peer", limit=4),
        *(Plan(arm=arm, **late) for arm in ("single", "self_consistency", "debate", "judges")),
    ]
    assert config.student_arms("da") == ("da", "da_greedy")
    assert plans_for(config.student_arms("da"), config, ["ood-x"]) == [
        Plan(arm="da", samples=3),
        Plan(arm="da_greedy"),
        Plan(arm="da_check"),
        Plan(arm="da_peer", limit=4),
        Plan(arm="da_greedy", **changed),
        Plan(arm="da", kind="ood:x", questions="ood-x"),
        Plan(arm="da_greedy", kind="ood:x", questions="ood-x"),
        Plan(arm="da", kind="latency", limit=5),
    ]
    assert [config.timed(arm) for arm in ("student", "gpt", "da_greedy")] == [5, 3, 0]
    assert config.model_copy(update={"latency_queries": 2}).timed("debate") == 2
    assert Plan(arm="gpt", **changed) in plans_for(["gpt"], config, [])
    only = config.model_copy(update={"arms": ("single", "debate", "student")})
    assert only.student_arms("da") == ("da",)


def test_the_budget_is_what_debates_and_first_answers_cost(tmp_path: Path) -> None:
    first = [said("a b c"), said("a b c d e")]  # 4 tokens an answer
    rows = [
        debate(first, [said("a b"), said("a")]),  # 11 tokens
        debate(first),  # 8
        {**debate([said("a " * 99)]), "status": DebateStatus.FAILED},
    ]
    folder = RunFolder(str(tmp_path))
    with pytest.raises(ConfigError, match="say evaluate"):
        measure_budget(folder)
    folder.filesystem.create_dir(folder.inner("traces"))
    table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
    replace_file(folder, folder.inner("traces", "0.parquet"), table)
    found = measure_budget(folder)
    assert (found.debate_tokens, found.answer_tokens, found.samples) == (9.5, 4.0, 2)
    assert Budget(debate_tokens=10.1, answer_tokens=4.0).samples == 3
    assert Budget(debate_tokens=1.0, answer_tokens=4.0).samples == 1
