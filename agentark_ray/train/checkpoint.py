"""Checkpoints of a training run: DeepSpeed's shards plus the step and the loss curve so far.

They can be read by another number of workers, through DeepSpeed's universal form, but not at
another ZeRO stage. Adapters are stored without the model that they adapt.

DeepSpeed reads its shards with unrestricted pickle. `only_data` restricts it to tensors and the few
record types of DeepSpeed that they hold, so that nobody who can write to the storage of a run can
run code in its workers.
"""

import argparse
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import torch.distributed
from pyarrow import fs

from agentark_ray.config import ConfigError
from agentark_ray.run_folder import RunFolder
from agentark_ray.train_config import TrainConfig

TAG = "state"
UNIVERSAL = "universal"
HISTORY = "history.json"
LAYOUT = "layout.json"

History = list[dict[str, float]]  # one dict a step: step, loss, lr, grad_norm, tokens_per_s
Layout = Mapping[str, Any]  # what a checkpoint was written by


def save(engine: Any, train: TrainConfig, history: History) -> None:
    """Every rank writes its shard; Ray Train merges and commits them. Blocks until all wrote."""
    with tempfile.TemporaryDirectory() as folder:
        write(engine, train, history, folder)
        ray.train.report(
            {"step": len(history), "loss": history[-1]["loss"]},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
        )


def write(engine: Any, train: TrainConfig, history: History, folder: str) -> None:
    """Every rank writes its part into a local folder; returns when all have."""
    engine.save_checkpoint(
        folder,
        tag=TAG,
        client_state={"step": len(history)},
        exclude_frozen_parameters=train.lora is not None,
    )
    if engine.global_rank == 0:
        layout = layout_of(train, torch.distributed.get_world_size())
        Path(folder, LAYOUT).write_text(json.dumps(layout))
        Path(folder, HISTORY).write_text(json.dumps(history))
    torch.distributed.barrier()


def layout_of(train: TrainConfig, workers: int) -> dict[str, Any]:
    """What decides how a checkpoint can be read."""
    return {"workers": workers, "zero_stage": train.zero_stage, "dtype": train.dtype}


def resized() -> bool:
    """Whether the last committed checkpoint was written by another number of workers.

    The engine must be started for its universal form then.
    """
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return False
    layout = _read_json(checkpoint.filesystem, f"{checkpoint.path}/{LAYOUT}")
    return layout["workers"] != torch.distributed.get_world_size() and layout["zero_stage"] > 0


def resume(engine: Any) -> History:
    """Load the last committed checkpoint, if there is one; the history so far, else an empty one.

    Raises:
        RuntimeError: DeepSpeed could not load it.
    """
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return []
    with checkpoint.as_directory() as folder:
        return read(engine, folder)


def read(engine: Any, folder: str) -> History:
    """Load a checkpoint from a local folder, in its universal form if the engine wants that.

    Every rank must call this.
    """
    with only_data():
        if engine.load_universal_checkpoint():
            with _universal_form(folder) as converted:
                loaded, _ = engine.load_checkpoint(converted, tag=UNIVERSAL)
        else:
            loaded, _ = engine.load_checkpoint(folder, tag=TAG, load_module_strict=False)
    if loaded is None:
        raise RuntimeError(f"checkpoint {folder} could not be loaded by DeepSpeed")
    return json.loads(Path(folder, HISTORY).read_text())


def check_resumable(folder: RunFolder, name: str, train: TrainConfig) -> Layout | None:
    """The layout of a training's last checkpoint, before anything starts; None if there is none.

    Raises:
        ConfigError: it cannot be read with these settings.
    """
    base = folder.inner("checkpoints", name)
    files = folder.filesystem.get_file_info(fs.FileSelector(base, allow_not_found=True))
    paths = sorted(file.path for file in files if "checkpoint_" in file.base_name)
    written = [path for path in paths if _exists(folder.filesystem, f"{path}/{LAYOUT}")]
    if not written:
        return None
    before = _read_json(folder.filesystem, f"{written[-1]}/{LAYOUT}")
    now = layout_of(train, train.workers)
    changed = [
        f"train.{key}: {before[key]} -> {now[key]}" for key in before if before[key] != now[key]
    ]
    if changed and any(not line.startswith("train.workers") for line in changed):
        raise ConfigError(
            f"checkpoint {written[-1]} cannot be read with other settings ({'; '.join(changed)});"
            " restore them (train.workers may change), or remove the folder to train anew"
        )
    return before


@contextmanager
def only_data() -> Iterator[None]:
    """While open, torch.load reads tensors, plain values and DeepSpeed's own records only."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    records = [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with torch.serialization.safe_globals(records):
            yield
    finally:
        del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        if before is not None:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


@contextmanager
def _universal_form(folder: str) -> Iterator[str]:
    """A folder with the checkpoint in universal form; one worker of each node makes it."""
    first = int(os.environ["LOCAL_RANK"]) == 0
    mine = (socket.gethostname(), tempfile.mkdtemp() if first else None)
    all_made: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(all_made, mine)
    target = next(path for host, path in all_made if host == mine[0] and path)
    try:
        if first:
            _convert(f"{folder}/{TAG}", f"{target}/{UNIVERSAL}")
        torch.distributed.barrier()
        yield target
        torch.distributed.barrier()
    finally:
        if first:
            shutil.rmtree(target)


def _convert(source: str, target: str) -> None:
    from deepspeed.checkpoint import ds_to_universal

    ds_to_universal.main(
        argparse.Namespace(
            input_folder=source,
            output_folder=target,
            num_extract_workers=1,  # in this process, where `only_data` holds
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
    )


def _read_json(filesystem: fs.FileSystem, path: str) -> Any:
    with filesystem.open_input_stream(path) as stream:
        return json.loads(stream.read())


def _exists(filesystem: fs.FileSystem, path: str) -> bool:
    return filesystem.get_file_info(path).type != fs.FileType.NotFound
