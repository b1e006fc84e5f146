"""A stopped training goes on with another number of workers, on real Ray Train and DeepSpeed."""

from pathlib import Path

import pytest

from agentark_ray.config import ConfigError
from agentark_ray.train.checkpoint import check_resumable
from tests.ray.test_train import prepared, train

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_two_workers_begin_and_one_ends(tmp_path: Path, stage: int) -> None:
    folder, config = prepared(
        tmp_path, f"train.zero_stage={stage}", "train.workers=2", "train.epochs=1"
    )
    begun = train(folder, config)
    _, longer = prepared(
        tmp_path / "rows", f"train.zero_stage={stage}", "train.workers=1", "train.epochs=2"
    )
    ended = train(folder, longer)
    assert ended[: len(begun)] == begun
    assert len(ended) == 2 * len(begun)
    first, last = (sum(row["loss"] for row in part) for part in (begun, ended[len(begun) :]))
    assert last < first


def test_a_checkpoint_of_other_settings_is_refused_before_workers_start(tmp_path: Path) -> None:
    folder, config = prepared(tmp_path, "train.epochs=1")
    assert check_resumable(folder, "rsft", config.train) is None
    train(folder, config)
    found = check_resumable(folder, "rsft", config.train)
    assert found == {"workers": 1, "zero_stage": 2, "dtype": "bf16"}
    _, two = prepared(tmp_path / "rows", "train.workers=2")
    assert check_resumable(folder, "rsft", two.train) == found  # may change
    _, other = prepared(tmp_path / "other", "train.zero_stage=3", "train.workers=2")
    with pytest.raises(ConfigError, match=r"checkpoint_.* cannot be read .*zero_stage: 2 -> 3"):
        train(folder, other)
