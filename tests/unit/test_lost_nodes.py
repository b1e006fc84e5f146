"""Which failures are losses, and how long a stage waits for room after one."""

import pickle
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from agentark_ray import lost_nodes
from agentark_ray.lost_nodes import ROOM_POLL_S, outlive_nodes
from agentark_ray.resources import LacksRoom
from agentark_ray.train.rollouts import SamplerGone

SMALL = LacksRoom("engine.actors=2: needs 2 GPUs, the cluster has 0")
LOSS = ActorDiedError()


class Stage:
    """Raises one error after the other, the last one always; with each loss a node has died."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.calls = self.lost = 0

    def __call__(self) -> int:
        self.calls += 1
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is None:
            return 42
        self.lost += not isinstance(error, LacksRoom)
        raise error

    def dead(self) -> set[str]:
        return {str(number) for number in range(self.lost)}


Run = Callable[[Stage], tuple[list[str], float]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a stage that ends; what was said and the seconds it waited, of which none pass."""

    def run(stage: Stage) -> tuple[list[str], float]:
        told: list[str] = []
        slept: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
        monkeypatch.setattr(lost_nodes, "time", clock)
        monkeypatch.setattr(lost_nodes, "dead_nodes", stage.dead)
        assert outlive_nodes(stage, told.append) == 42
        return told, sum(slept)

    return run


def test_after_a_loss_a_stage_waits_for_room(run: Run) -> None:
    told, waited = run(Stage(LOSS, SMALL, SMALL, SMALL, None))
    assert told[1:] == [f"  {SMALL}; waiting for other nodes"]
    assert waited == 3 * ROOM_POLL_S


def test_each_loss_has_a_wait_of_its_own(run: Run) -> None:
    told, waited = run(Stage(LOSS, *[SMALL] * 100, LOSS, *[SMALL] * 100, None))
    assert len(told) == 4 and waited == 200 * ROOM_POLL_S


def test_it_waits_for_half_an_hour(run: Run) -> None:
    stage = Stage(LOSS, SMALL)
    with pytest.raises(LacksRoom):
        run(stage)
    assert stage.calls == 1 + 1800 / ROOM_POLL_S + 1


def test_without_a_loss_it_does_not_wait(run: Run) -> None:
    with pytest.raises(LacksRoom):
        run(Stage(SMALL, None))


def training(*errors: Exception) -> Exception:
    """A training whose workers had these errors, as it comes from Ray Train's process."""
    error = WorkerGroupError("failed", dict(enumerate(errors)))
    return pickle.loads(pickle.dumps(error))


def gone() -> Exception:
    error = SamplerGone("an actor that samples is gone for good")
    error.__cause__ = ActorDiedError()
    return error


@pytest.mark.parametrize(
    "errors",
    [[RuntimeError("gloo"), gone()], [WorkerHealthCheckFailedError("no answer", LOSS)]],
    ids=["engine", "worker"],
)
def test_a_training_that_lost_what_it_needs_is_done_again(
    run: Run, errors: Sequence[Exception]
) -> None:
    told, _ = run(Stage(training(*errors), None))
    assert len(told) == 1


def test_engines_that_die_by_themselves_are_not_started_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stage, "dead", lambda stage: set())
    with pytest.raises(WorkerGroupError):
        run(Stage(training(gone()), None))
