"""What a user is told of an error that came through Ray."""

import pytest
from ray.data.exceptions import omit_traceback_stdout
from ray.exceptions import ActorDiedError, RayTaskError

from agentark_ray.lost_nodes import root_cause


def test_what_a_task_raised() -> None:
    told = OSError("disk full")
    error = RayTaskError("write", "Traceback", told)
    assert root_cause(error) is told
    outer = RuntimeError("wrapped")
    outer.__cause__ = error
    assert root_cause(outer) is told


def test_what_workers_of_a_training_raised() -> None:
    error = RuntimeError("training failed")
    error.worker_failures = {3: ValueError("batch")}  # pyright: ignore
    assert str(root_cause(error)) == "batch"


def test_ray_datas_marker_hides_nothing() -> None:
    @omit_traceback_stdout
    def fails() -> None:
        raise ActorDiedError()

    with pytest.raises(ActorDiedError) as error:
        fails()
    assert root_cause(error.value) is error.value
