"""What a command prints when it fails: the cause in one line, nothing of what wrapped it."""

import pytest
import typer

from agentark_ray.cli_base import clear_errors
from agentark_ray.config import ConfigError
from agentark_ray.traces.asking import TooManyFailures

# As Ray Data 2.60 appends it (ray.data._internal.util).
ADVICE = (
    "Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s).\nTo change retry"
    " attempts, backoff, or which errors are retried, configure `ray.data.DataContext`"
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(28, "No space left on device", ADVICE),
            "error: OSError: [Errno 28] No space left on device",
        ),
        (
            TooManyFailures(f"3 of 9 debates failed\n{ADVICE}"),
            "error: TooManyFailures: 3 of 9 debates failed",
        ),
        (OSError("Failed to open a.parquet"), "error: OSError: Failed to open a.parquet"),
    ],
)
def test_advice_on_retries_is_left_out(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as stopped, clear_errors():
        raise error
    assert stopped.value.exit_code == 1
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first == line
    assert second.startswith("Nothing that was written is lost")


def test_a_config_error_below_a_worker_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, clear_errors():
        raise ConfigError(f"tasks.path=x: no such file\n{ADVICE}")
    assert stopped.value.exit_code == 2
    assert capsys.readouterr().err == "error: tasks.path=x: no such file\n"


def test_an_error_of_our_own_code_keeps_its_trace() -> None:
    with pytest.raises(KeyError), clear_errors():
        raise KeyError("arm")
