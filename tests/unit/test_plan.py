"""Planning: arithmetic that can be done by hand, and no figure out of thin air."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.config import Config, ConfigError, parse_config
from agentark_ray.plan import Measured, Stated, estimate, measured

STATED = Stated(
    questions=36_000,
    tokens_per_s=1_000.0,
    output_tokens_per_debate=500.0,
    bytes_per_debate=2_000.0,
    gpus=8,
    gpu_hour_price=3.0,
)


def config(*overrides: str) -> Config:
    return parse_config({}, ["gpus_per_engine=2", *overrides], "test")


def took(*seconds: float, actors: int = 1) -> dict[str, Any]:
    """What a manifest says about the time of attempts."""
    total = sum(seconds)
    return {"attempts": len(seconds), "seconds": total, "actor_seconds": total * actors}


def run_of(*overrides: str) -> Measured:
    """2 engines made 1,000 debates of 400 tokens in 100 s: 2,000 tokens a second each."""
    figures = {"rows": 1_000, "output_tokens": 400_000, **took(40.0, 60.0, actors=2)}
    snapshot = config("engine.actors=2", *overrides).snapshot()
    return measured("run", {"config": snapshot, "stages": {"generate": figures}}, 3_000_000)


def test_by_hand_from_what_is_stated() -> None:
    found = estimate(config(), STATED, None)
    # 18,000,000 tokens at 4 x 1,000 a second are 4,500 s = 1.25 h; 8 GPUs: 10 GPU-hours
    assert (found.engines, found.gpus) == (4, 8)
    assert (found.output_tokens, found.tokens_per_s) == (18_000_000, 4_000)
    assert (found.hours, found.days) == (1.25, 1.25 / 24)
    assert (found.gpu_hours, found.usd, found.storage_bytes) == (10.0, 30.0, 72_000_000)
    assert found.warnings == ()


def test_by_hand_from_what_was_measured() -> None:
    run = run_of()
    assert (run.tokens_per_s, run.output_tokens_per_debate) == (2_000, 400)
    found = estimate(config("engine.actors=5"), Stated(questions=90_000), run)
    # 36,000,000 tokens at 5 x 2,000 a second are 3,600 s
    assert (found.hours, found.engines, found.gpus, found.gpu_hours) == (1.0, 5, 10, 10.0)
    assert (found.storage_bytes, found.usd) == (270_000_000, None)


def test_what_is_stated_goes_before_what_was_measured() -> None:
    found = estimate(config(), Stated(questions=10, tokens_per_s=4.0), run_of())
    assert (found.tokens_per_s, found.output_tokens) == (4.0, 4_000)


def test_questions_of_the_config_are_the_default() -> None:
    stated = Stated(tokens_per_s=1.0, output_tokens_per_debate=1.0)
    assert estimate(config("tasks.train_questions=7"), stated, None).debates == 7


def test_every_assumption_has_its_source() -> None:
    text = "\n".join(
        estimate(config(), Stated(questions=10, tokens_per_s=4.0), run_of()).assumptions
    )
    for words in (
        "10 questions, one debate each, from --questions",
        "1 engine(s) of 2 GPU(s), from the config's engine.actors",
        "4 output tokens a second of one engine, from --tokens-per-s",
        "400 output tokens a debate, measured in run: 400,000 / 1,000 debates",
        "3,000 bytes of Parquet a debate, measured in run: 3,000,000 / 1,000 debates",
        "speed grows in proportion",
        "money is not estimated: give --gpu-hour-price",
    ):
        assert words in text
    text = "\n".join(
        estimate(config("tasks.train_questions=7"), Stated(gpus=2), run_of()).assumptions
    )
    assert "tasks.train_questions of the config" in text
    assert "400,000 tokens / 100 s / 2 engine(s); its seconds are of 2 attempt(s)" in text
    assert "from --gpus 2" in text


def test_a_measurement_of_something_else_is_pointed_out() -> None:
    run = run_of("model=other", "debate.rounds=3", "train.lr=0.1", "tasks.train_questions=5")
    assert estimate(config(), Stated(questions=10), run).warnings == (
        "run was measured with debate.rounds=3, this plan has 2",
        "run was measured with model='other', this plan has 'tiny'",
    )


def test_a_pool_that_grew_is_pointed_out() -> None:
    (warning,) = estimate(config(), Stated(questions=10), run_of("engine.max_actors=3")).warnings
    assert "engine.max_actors=3: actors beyond engine.actors=2 are not counted" in warning
    run = run_of("engine.max_actors=2")
    assert estimate(config(), Stated(questions=10), run).warnings == ()


@pytest.mark.parametrize(
    ("overrides", "change", "expected"),
    [
        ((), {"questions": None}, "give --questions N or tasks.train_questions=N"),
        ((), {"tokens_per_s": None}, "a second of one engine.*give --tokens-per-s X or --from"),
        ((), {"output_tokens_per_debate": None}, "give --output-tokens-per-debate X or --from"),
        ((), {"gpus": 3}, "--gpus 3: not a multiple of gpus_per_engine=2"),
        ((), {"gpus": 1}, "--gpus 1: not a multiple"),
        (("gpus_per_engine=0",), {}, "--gpus: the config's engines have no GPU"),
        (("gpus_per_engine=0",), {"gpus": None}, "--gpu-hour-price: .* no GPU"),
    ],
)
def test_a_missing_figure_names_its_option(
    overrides: tuple[str, ...], change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        estimate(config(*overrides), replace(STATED, **change), None)


def test_a_team_needs_the_gpus_of_all_its_engines() -> None:
    team = "debate.team=[{model: a/A}, {model: b/B}, {model: c/C, endpoint: 'http://x/v1'}]"
    of_team = config("model=a/A", team, "engine.models={b/B: {gpus: 4}}")
    found = estimate(of_team, replace(STATED, gpus=18), None)
    assert (found.engines, found.gpus) == (3, 18)
    assert "3 team(s) of 2 engines with 6 GPU(s), from --gpus 18" in found.assumptions
    assert estimate(of_team, replace(STATED, gpus=None), None).gpus == 6
    with pytest.raises(ConfigError, match="--gpus 8: not a multiple of the 6 GPUs of a team"):
        estimate(of_team, replace(STATED, gpus=8), None)


def test_the_configs_price_is_the_default() -> None:
    priced = config("prices.gpu_hour=2.0")
    assert estimate(priced, replace(STATED, gpu_hour_price=None), None).usd == 20.0
    assert estimate(priced, STATED, None).usd == 30.0
    with pytest.raises(ConfigError, match=r"prices.gpu_hour: the config's engines have no GPU"):
        stated = replace(STATED, gpu_hour_price=None, gpus=None)
        estimate(config("gpus_per_engine=0", "prices.gpu_hour=2.0"), stated, None)


def test_without_gpus_there_are_no_gpu_hours() -> None:
    stated = Stated(questions=3_600, tokens_per_s=10.0, output_tokens_per_debate=10.0)
    found = estimate(config("gpus_per_engine=0"), stated, None)
    assert (found.hours, found.gpus, found.gpu_hours, found.usd) == (1.0, 0, None, None)
    assert found.storage_bytes is None
    assert "storage is not estimated: give --bytes-per-debate or --from RUN" in found.assumptions


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ({}, "generate of this run is not finished"),
        ({"generate": {"rows": 0, "output_tokens": 0, **took(1.0)}}, "nothing was generated"),
        ({"generate": {"rows": 1, "output_tokens": 1, "seconds": 1.0}}, "how long every attempt"),
    ],
)
def test_a_run_that_measured_nothing_is_named(stages: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=f"--from runs/x: .*{expected}"):
        measured("runs/x", {"config": config().snapshot(), "stages": stages}, 0)


def agentark(tmp_path: Path, *args: object) -> Result:
    path = tmp_path / "config.yaml"
    path.write_text("gpus_per_engine: 2\n")
    return CliRunner().invoke(app, ["plan", str(path), *map(str, args)])


def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "traces" / "part").mkdir(parents=True)
    (folder / "traces" / "a.parquet").write_bytes(b"x" * 700)
    (folder / "traces" / "part" / "b.parquet").write_bytes(b"x" * 300)
    figures = {"rows": 10, "output_tokens": 1_000, **took(10.0)}
    manifest = {"config": config().snapshot(), "stages": {"generate": figures}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_command_measures_a_run_folder(tmp_path: Path) -> None:
    done = agentark(tmp_path, "--from", run_folder(tmp_path), "--questions", 3_600, "--json")
    found = json.loads(done.stdout)
    # 3,600 debates of 100 tokens at 100 a second, and of 100 bytes
    assert (found["hours"], found["gpu_hours"], found["storage_bytes"]) == (1.0, 2.0, 360_000)


def test_the_command_prints_figures_and_assumptions(tmp_path: Path) -> None:
    options = {"--tokens-per-s": 100, "--output-tokens-per-debate": 100, "--gpu-hour-price": 2.5}
    args = [text for pair in options.items() for text in pair]
    done = agentark(tmp_path, "engine.actors=2", "--questions", 3_600, *args)
    assert done.exit_code == 0, done.output
    for words in ("0.5 hours", "5.00 USD", "2.5 USD a GPU-hour", "storage  ", "not known"):
        assert words in done.stdout
    assert "- 2 engine(s) of 2 GPU(s), from the config's engine.actors" in done.stdout


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--questions", 5), "error: output tokens a second of one engine: neither measured nor"),
        (("--from", "nowhere"), "error: --from nowhere: no run folder"),
        (("debate.agentz=2",), "unknown key 'debate.agentz'"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, args: tuple[Any, ...], expected: str) -> None:
    done = agentark(tmp_path, *args)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
