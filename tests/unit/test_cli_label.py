"""`agentark traces label`: bad input is one clear line, before anything starts."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from tests.unit.labelled import write_traces


def label(*args: str) -> Result:
    return CliRunner().invoke(app, ["traces", "label", *args])


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--grader", "magic"], "--grader magic: no such grader, there is numeric"),
        (["--name", "a/b"], "labels 'a/b': expected a name of up to 64 letters"),
        (["--votes", "3"], "options of a judge need --judge MODEL"),
        (["--judge", "./missing"], "model=missing: no such folder"),
        (["--judge", "m", "--endpoint", "host:8000"], "--endpoint host:8000: expected a URL"),
        (["debate.agents=7"], "debate.agents=7: labels depend on engine.*, gpus_per_engine"),
        (["engine.in_flght=7"], "unknown key 'engine.in_flght', did you mean 'engine.in_flight'?"),
    ],
)
def test_bad_input_is_named_before_ray_starts(
    tmp_path: Path, args: list[str], expected: str
) -> None:
    write_traces(tmp_path, 1)
    done = label(str(tmp_path), "--aggregate", "vote", *args)
    assert done.exit_code == 2, done.output
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "labels").exists()


def test_traces_alone_do_not_say_how_they_were_aggregated(tmp_path: Path) -> None:
    write_traces(tmp_path, 1)
    done = label(str(tmp_path))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "say --aggregate vote|vote_all_rounds|weighted_vote" in done.stderr


def test_help_shows_examples() -> None:
    done = label("--help")
    assert done.exit_code == 0
    assert "agentark traces label runs/demo --grader math --name math-1" in done.stdout
