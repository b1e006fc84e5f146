"""Shared by all tests: question files, and Ray started once for a test module."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no error; pytest-timeout ends what hangs.
settings.register_profile("agentark", deadline=None)
settings.load_profile("agentark")

# What a shell starts in the background ignores SIGINT; commands that tests interrupt must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def gsm8k_file(tmp_path: Path) -> Callable[[int], Path]:
    """Writes a GSM8K file of n questions whose answer is 42, which the scripted engine knows."""

    def write(n: int) -> Path:
        path = tmp_path / "questions.jsonl"
        lines = [
            json.dumps(
                {"question": f"Tom has {i} of {i + 42} apples. Missing?", "answer": "#### 42"}
            )
            for i in range(n)
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def tell_lost(
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> Callable[[float, float], None]:
    """Prints and records what a failure cost: a job's seconds with it less those without."""

    def tell(seconds: float, undisturbed: float) -> None:
        lost = round(seconds - undisturbed, 1)
        record_property("lost_s", lost)
        with capsys.disabled():
            print(f"\n{request.node.name}: time lost: {lost} s (undisturbed {undisturbed:.1f} s)")

    return tell


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A real local Ray instance."""
    from agentark_ray.session import ray_session

    os.environ.pop("RAY_ADDRESS", None)
    with ray_session():
        yield
