"""Students of a run folder: names, settings, records, model cards; no Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.config import ConfigError, parse_config
from agentark_ray.model_card import model_card, write_model_card
from agentark_ray.pipeline import MAY_DIFFER as EVALUATION_MAY
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import (
    MAY_DIFFER,
    arm_of,
    check_name,
    check_overrides,
    config_with,
    open_record,
    records,
    run_config,
    trained,
)
from tests.unit.run_folders import make, run_of

NAMED = parse_config(
    {"evaluate": {"endpoints": {"gpt": {"endpoint": "http://x/v1", "model": "m"}}}}, (), "test"
)


def cli(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), catch_exceptions=False)


def test_another_strategy_keeps_what_all_have_in_common(tmp_path: Path) -> None:
    folder = run_of(tmp_path, "distill.curation.min_words=3", "debate.agents=7")
    config = run_config(folder, ["distill.trajectories=5", "train.lr=1e-3"], "da")
    assert config.distill.model_dump() | {"type": "da", "trajectories": 5} == (
        config.distill.model_dump()
    )
    assert (config.distill.seq_len, config.distill.curation.min_words) == (256, 3)
    assert (config.train.lr, config.debate.completions, config.output) == (1e-3, 14, folder.uri)
    check_overrides(folder, config, MAY_DIFFER)
    assert run_config(folder, (), "rsft").identity() == run_config(folder).identity()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("debate.agents=3", "debate.agents: 5 -> 3: only distill.* and train.* and where"),
        ("seed=3", "seed: 17 -> 3"),
        ("output=elsewhere", "output=elsewhere: is said by RUN"),
        ("distill.type=da", "is said by --strategy"),
        ("train.lr=7", "train.lr=7"),
        ("distill.trajectories=5", "unknown key 'distill.trajectories'"),
    ],
)
def test_what_a_student_may_not_change(tmp_path: Path, override: str, words: str) -> None:
    folder = run_of(tmp_path)
    with pytest.raises(ConfigError) as error:
        check_overrides(folder, run_config(folder, [override]), MAY_DIFFER)
    assert words in str(error.value)


def test_where_and_how_fast_may_differ_in_an_evaluation_but_nothing_else(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    check_overrides(folder, run_config(folder, ["engine.actors=2", "train.workers=1"]))
    with pytest.raises(ConfigError, match=r"train.lr: 1e-05 -> 0.01: only where and how fast"):
        check_overrides(folder, run_config(folder, ["train.lr=0.01"]))


def test_gates_may_differ_in_an_evaluation(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    config = config_with(folder, ["gates.p95_ms=500", "gates.token_ratio=null"], EVALUATION_MAY)
    assert (config.gates.p95_ms, config.gates.token_ratio) == (500, None)


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "da_check", "debate", "student", "x.json", "gpt", "x_greedy"]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        check_name(name, NAMED)


def test_a_name_belongs_to_one_config(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    da = run_config(folder, (), "da")
    made = make(folder, "da", da)
    assert open_record(folder, da, "da", None) == made
    assert open_record(folder, run_config(folder, ["train.workers=2"], "da"), "da", None) == made
    other = run_config(folder, ["train.lr=0.5", "distill.corrections=0"], "da")
    with pytest.raises(ConfigError) as error:
        open_record(folder, other, "da", None)
    told = "distill.corrections: 2 -> 0; train.lr: 1e-05 -> 0.5); choose another name with --name"
    assert told in str(error.value)
    assert open_record(folder, other, "da-2", None)["config_hash"] != made["config_hash"]


def test_the_name_of_the_runs_own_student_is_kept_for_it(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    with pytest.raises(ConfigError, match=r"train\.lr: 1e-05 -> 0\.5"):
        open_record(folder, run_config(folder, ["train.lr=0.5"]), "rsft", None)
    assert open_record(folder, run_config(folder), "rsft", None)["stages"] == {}
    assert (arm_of(folder, "rsft"), arm_of(folder, "da")) == ("student", "da")


def test_a_parent_must_be_a_trained_student(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    da = run_config(folder, (), "da")
    with pytest.raises(ConfigError, match=r"--from 'rsft': no trained student .*\(there: none\)"):
        open_record(folder, da, "rsft-da", "rsft")
    make(folder, "rsft", run_config(folder))
    child = open_record(folder, da, "rsft-da", "rsft")
    assert child["parent"] == "rsft"
    assert child["config_hash"] != open_record(folder, da, "da", None)["config_hash"]


def test_records_begin_with_the_runs_own(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    assert records(folder) == []
    make(folder, "a-da", run_config(folder, (), "da"))
    make(folder, "rsft", run_config(folder))
    found = records(folder)
    assert [one["name"] for one in found] == ["rsft", "a-da"]
    assert all(map(trained, found))
    assert not trained({"stages": {"dataset": {}, "train": {"steps": 0}}})


def card_of(folder: RunFolder, name: str) -> tuple[dict[str, Any], str]:
    _, front, body = model_card(folder, name).split("---\n", 2)
    return yaml.safe_load(front), body


def test_a_model_card_has_the_lineage(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    make(folder, "rsft", run_config(folder))
    record = make(folder, "rsft-da", run_config(folder, (), "da"), "rsft")
    write_model_card(folder, "rsft-da")
    front, body = card_of(folder, "rsft-da")
    assert (tmp_path / "run/students/rsft-da/README.md").read_text().endswith(body)
    assert front["library_name"] == "transformers"
    assert front["tags"][-1] == "da" and "base_model" not in front  # a folder is no Hub model
    for said in (
        "| started from | rsft |",
        f"| config hash of the student | {record['config_hash']} |",
        f"| config hash of the run | {run_config(folder).hash()} |",
        f"| fingerprint of the traces | {'f' * 16} |",
        "| debates | 7, protocol debate |",
        "| last_loss | 0.25 |",
        "| distill.corrections | 2 |",
        "| seed | 17 |",
        f"| ray | {record['versions']['ray']} |",
    ):
        assert said in body
    assert "## Evaluation" not in body


def test_a_model_card_has_the_evaluation_once_there_is_one(tmp_path: Path) -> None:
    team = "debate.team=[{}, {model: Qwen/Qwen3-32B}, {persona: Be brief.}]"
    folder = run_of(tmp_path, "model=Qwen/Qwen3-0.6B", team)
    manifest = folder.read_json("manifest.json") | {"model": "Qwen/Qwen3-0.6B"}
    folder.write_json(manifest, "manifest.json")
    make(folder, "rsft", run_config(folder))
    make(folder, "da", run_config(folder, (), "da"))
    figures = {"ci_low": 0.5, "ci_high": 0.9, "output_tokens_per_query": 50.0}
    arms = {"debate": {**figures, "accuracy": 0.72}, "student": {**figures, "accuracy": 0.87}}
    summary = {"arms": arms, "student": "student", "decision": "adopt", "reasons": ["All pass."]}
    folder.write_json({**summary, "questions": 500}, "eval", "summary.json")
    front, body = card_of(folder, "rsft")
    assert front["base_model"] == "Qwen/Qwen3-0.6B"
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"] == [
        {"type": "accuracy", "value": 0.87, "name": "accuracy on held-out questions"}
    ]
    assert "| **this model** | 87.0% | 50.0% to 90.0% | 50.0 |" in body
    assert "| debate | 72.0% |" in body
    assert "| models that debated | Qwen/Qwen3-0.6B, Qwen/Qwen3-32B |" in body
    assert "Decision of the run: **adopt**. All pass." in body
    front, body = card_of(folder, "da")  # came after the evaluation
    assert "model-index" not in front and "## Evaluation" not in body


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("distill", "RUN", "--strategy", "dpo"), "--strategy dpo: expected one of rsft, da, rft"),
        (("distill", "RUN", "--strategy", "da", "seed=3"), "seed: 17 -> 3"),
        (("distill", "RUN", "--strategy", "da", "--name", "debate"), "is the name of an arm"),
        (("distill", "RUN", "--strategy", "da", "--from", "x"), "--from 'x': no trained student"),
        (("distill", "RUN/none"), "no run folder (manifest.json is missing)"),
        (("evaluate", "RUN", "--student", "x"), "--student 'x': no trained student"),
        (("evaluate", "RUN", "train.lr=0.1"), "0.1: only evaluate.* and gates.* and where and"),
        (("evaluate", "RUN", "gates.no_regression=[far]"), "['far'] are not among the suites"),
        (("evaluate", "RUN", "evaluate.ood={x: {task: arithmetic}}"), "stores its questions"),
    ],
)
def test_errors_before_anything_starts(tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    folder = run_of(tmp_path)
    done = cli(*(arg.replace("RUN", folder.uri) for arg in args))
    assert done.exit_code == 2
    assert words in done.stderr


def test_an_arm_may_not_have_the_name_of_a_student(tmp_path: Path) -> None:
    folder = run_of(tmp_path, "model=tiny")
    make(folder, "da", run_config(folder, (), "da"))
    done = cli("evaluate", folder.uri, "evaluate.teams={da: {}}")
    assert (done.exit_code, "['da'] are names of students" in done.stderr) == (2, True)


def test_a_run_without_traces_is_an_error(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    manifest = folder.read_json("manifest.json") | {"stages": {}}
    folder.write_json(manifest, "manifest.json")
    for command in ("distill", "evaluate"):
        done = cli(command, folder.uri)
        assert done.exit_code == 2
        assert "its traces are not finished" in done.stderr


def test_a_finished_student_is_shown_and_nothing_starts(tmp_path: Path) -> None:
    folder = run_of(tmp_path, "model=tiny")
    record = make(folder, "da", run_config(folder, (), "da"))
    done = cli("distill", folder.uri, "--strategy", "da", "--json")
    assert (done.exit_code, "done before" in done.stderr) == (0, True)
    assert json.loads(done.stdout) == {"path": folder.path("students", "da"), **record}
    assert "last_loss" in cli("distill", folder.uri, "--strategy", "da").stdout
