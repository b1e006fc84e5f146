"""Where figures go: every step once, also after a restart, in files and by what is optional."""

import importlib.util
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agentark_ray.config import ConfigError
from agentark_ray.run_folder import RunFolder
from agentark_ray.train import tracking
from agentark_ray.train.objective import TrainJob
from agentark_ray.train.tracking import Tracker, check_trackers, start_trackers
from tests.unit.trainings import job_of

Logged = dict[int, float]  # step -> loss


def figures(step: int, attempt: int) -> dict[str, float]:
    return {"step": step, "loss": step + attempt / 10, "lr": 0.5}


def log(trackers: list[Tracker], history: list[Any], steps: range, attempt: int) -> None:
    for step in steps:
        history.append(figures(step, attempt))
        for tracker in trackers:
            tracker.log(history[-1])


def killed_and_restarted(
    job: TrainJob, between: Callable[[], object] = list
) -> list[dict[str, float]]:
    """Seven steps, killed; four of them are in the checkpoint; six more. The history."""
    history: list[dict[str, float]] = []
    trackers = start_trackers(job, history)
    log(trackers, history, range(1, 8), 1)
    for tracker in trackers:
        tracker.flush()  # never closed
    between()
    del history[4:]
    trackers = start_trackers(job, history)
    log(trackers, history, range(5, 11), 2)
    for tracker in trackers:
        tracker.close()
    return history


EXPECTED = {step: step + (0.1 if step <= 4 else 0.2) for step in range(1, 11)}
KEPT = {step: step + (0.1 if step <= 7 else 0.2) for step in range(1, 11)}  # what came first stays


def tensorboard(root: Path, name: str = "test") -> dict[str, Logged]:
    events = EventAccumulator(str(root / "run" / "checkpoints" / name / "tensorboard"))
    events.Reload()
    found = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    for tag, scalars in found.items():
        assert len({scalar.step for scalar in scalars}) == len(scalars), tag
    return {tag: {scalar.step: scalar.value for scalar in found[tag]} for tag in found}


def lines(root: Path) -> list[Any]:
    text = (root / "run" / "checkpoints" / "test" / "steps.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("remote", [False, True])
def test_no_step_is_there_twice_after_a_restart(tmp_path: Path, remote: bool) -> None:
    job = job_of(tmp_path, {})
    if remote:  # as an object store: written elsewhere first, and copied
        job = replace(job, folder=RunFolder(f"file://{tmp_path}/run"))
        assert not job.folder.is_local
    history = killed_and_restarted(job)
    assert lines(tmp_path) == history
    assert {row["step"]: row["loss"] for row in history} == EXPECTED
    found = tensorboard(tmp_path)
    assert found.keys() == {"train/loss", "train/lr"}  # the step is their place, not a figure
    assert found["train/loss"] == pytest.approx(EXPECTED)
    assert found["train/lr"] == dict.fromkeys(range(1, 11), 0.5)


def test_a_training_from_the_start_forgets_one_that_left_no_checkpoint(tmp_path: Path) -> None:
    for attempt, last in ((1, 5), (2, 3)):
        history: list[dict[str, float]] = []
        trackers = start_trackers(job_of(tmp_path, {}), history)
        log(trackers, history, range(1, last + 1), attempt)
        for tracker in trackers:
            tracker.flush()
    assert lines(tmp_path) == [figures(step, 2) for step in (1, 2, 3)]
    assert tensorboard(tmp_path)["train/loss"] == pytest.approx({1: 1.2, 2: 2.2, 3: 3.2})


def test_the_file_of_steps_is_behind_by_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(tracking, "time", SimpleNamespace(monotonic=lambda: now))
    history: list[dict[str, float]] = []
    (file,) = start_trackers(job_of(tmp_path, {"trackers": "[]"}), history)
    for step, now in ((1, 101.0), (2, 110.0), (3, 110.1), (4, 111.0)):  # noqa: B007 - read by time
        history.append(figures(step, 1))
        file.log(history[-1])
    assert lines(tmp_path) == [figures(step, 1) for step in (1, 2, 3)]
    file.close()
    assert len(lines(tmp_path)) == 4


def test_a_tracker_that_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"mlflow", "wandb"}
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in missing else find(name, *a)
    )
    check_trackers(job_of(tmp_path, {}).config)
    job = job_of(tmp_path, {"trackers": "[tensorboard, mlflow]"})
    with pytest.raises(ConfigError, match=r"train\.trackers: mlflow is not installed: pip install"):
        check_trackers(job.config)
    with pytest.raises(ConfigError, match="mlflow is not installed"):
        start_trackers(job, [])  # what the driver has, a worker may lack
    with pytest.raises(ConfigError, match="'tensorboard', 'wandb' or 'mlflow'"):
        job_of(tmp_path, {"trackers": "[comet]"})


class FakeWandb(ModuleType):
    """Records what is asked of wandb; a run ignores steps that are not behind its last one."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.util.spec_from_loader("wandb", None)
        self.started: list[dict[str, Any]] = []
        self.logged: dict[str, Logged] = defaultdict(dict)
        self.finished = 0

    def init(self, **how: Any) -> Any:
        self.started.append(how)
        logged = self.logged[how["id"]]

        def log(values: Mapping[str, float], step: int) -> None:
            if step > max(logged, default=0):
                logged[step] = values["loss"]

        return SimpleNamespace(log=log, finish=self._finish)

    def _finish(self) -> None:
        self.finished += 1


def test_wandb_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    job = job_of(tmp_path, {"trackers": "[wandb]"})
    assert lines_of(job, tmp_path) == EXPECTED
    first, second = fake.started
    assert first.pop("dir") != second.pop("dir")  # of a worker's own, not the run folder
    assert first == second
    assert (first["resume"], first["name"]) == ("allow", f"{job.config.name}-test")
    assert first["config"] == job.config.snapshot()
    assert fake.logged[first["id"]] == KEPT
    assert fake.finished == 1
    for other in (replace(job, name="other"), replace(job, folder=RunFolder(str(tmp_path / "r")))):
        start_trackers(other, [])
    assert len({how["id"] for how in fake.started}) == 3


class FakeMlflow(ModuleType):
    """Records what is asked of mlflow."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = importlib.util.spec_from_loader("mlflow", None)
        self.runs: dict[str, Any] = {}
        self._active = ""

    def start_run(self, run_id: str | None, run_name: str) -> Any:
        self._active = run_id or f"run-{len(self.runs)}"
        if run_id is None:
            self.runs[self._active] = {"name": run_name, "params": {}, "steps": [], "ended": 0}
        return SimpleNamespace(info=SimpleNamespace(run_id=self._active))

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.runs[self._active]["params"] |= params

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        assert "step" not in metrics
        self.runs[self._active]["steps"].append((step, metrics["loss"]))

    def end_run(self) -> None:
        self.runs[self._active]["ended"] += 1

    def MlflowClient(self) -> Any:
        return SimpleNamespace(get_metric_history=self._history)

    def _history(self, run_id: str, key: str) -> list[Any]:
        assert key == "loss"
        return [SimpleNamespace(step=step, value=v) for step, v in self.runs[run_id]["steps"]]


def test_mlflow_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    job = job_of(tmp_path, {"trackers": "[mlflow]"})
    assert lines_of(job, tmp_path) == EXPECTED
    assert job.folder.read_json("checkpoints", "test", "mlflow.json") == {"run_id": "run-0"}
    (run,) = fake.runs.values()
    assert run["steps"] == list(KEPT.items())
    assert (run["name"], run["ended"]) == (f"{job.config.name}-test", 1)
    assert run["params"] == job.config.identity()


def lines_of(job: TrainJob, root: Path, between: Callable[[], object] = list) -> Logged:
    """Killed and restarted; what steps.jsonl says."""
    assert killed_and_restarted(job, between) == lines(root)
    return {row["step"]: row["loss"] for row in lines(root)}


def test_the_real_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is optional and not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    job = job_of(tmp_path, {"trackers": "[mlflow]"})
    killed = partial(mlflow.end_run, "KILLED")  # the package allows one run a process
    assert lines_of(job, tmp_path, killed) == EXPECTED
    run = job.folder.read_json("checkpoints", "test", "mlflow.json")["run_id"]
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run, "loss")
    assert [metric.step for metric in history] == list(KEPT)
    assert [metric.value for metric in history] == pytest.approx(list(KEPT.values()))
    found = client.get_run(run)
    assert (found.info.status, found.data.params["train.lr"]) == ("FINISHED", "1e-05")


def test_the_real_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is optional and not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    job = job_of(tmp_path, {"trackers": "[wandb]"})
    assert lines_of(job, tmp_path) == EXPECTED
