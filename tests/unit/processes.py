"""Processes that train together through torch.distributed, without Ray."""

import os
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn


def in_processes(work: Callable[..., None], processes: int, *args: Any) -> None:
    """Call `work(rank, *args)` in new processes, on the CPU; the first error is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        started: Any = spawn(_start, (work, processes, folder, args), processes, join=False)
        try:
            while not started.join():
                pass
        finally:  # a test that ran out of time must not leave them waiting for each other
            for process in started.processes:
                process.kill()


def _start(rank: int, work: Callable[..., None], processes: int, folder: str, args: Any) -> None:
    os.environ.update(
        DS_ACCELERATOR="cpu", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes)
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=processes
    )
    work(rank, *args)
    torch.distributed.barrier()
