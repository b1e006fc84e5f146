"""The model that training started from, which the divergence is measured to.

With adapters it is the model itself with the adapters switched off. Otherwise every worker has a
frozen copy; with ZeRO 3 the copy is split over the workers, as the model is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed

from agentark_ray.train.lora import adapted_layers
from agentark_ray.train.objective import Batch, TrainJob
from agentark_ray.train.policy import target_logprobs
from agentark_ray.train.sft import load_model, target_logits
from agentark_ray.train.zero import split_from_the_start, zero_config


class Reference:
    """Log-probabilities in the model as it was."""

    def __init__(self, job: TrainJob, engine: Any) -> None:
        self._layers = [layer for _, layer in adapted_layers(engine.module)]
        self._model = engine if self._layers else _frozen(job, engine.device)

    def logprobs(self, batch: Batch, temperature: float) -> torch.Tensor:
        """Of the targets of a batch, [N], without gradient."""
        with self._adapters_off(), evaluating(self._model):
            return no_grad_logprobs(self._model, batch, temperature)

    @contextmanager
    def _adapters_off(self) -> Iterator[None]:
        for layer in self._layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers:
                layer.enable_adapters(True)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without dropout, and back."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


@torch.no_grad()
def no_grad_logprobs(model: Any, batch: Batch, temperature: float) -> torch.Tensor:
    """Log-probabilities of the targets of a batch, [N], without gradient."""
    targets_N = batch["input_ids"][0, batch["targets"]]
    return target_logprobs(target_logits(model, batch), targets_N, temperature)[0]


def _frozen(job: TrainJob, device: torch.device) -> Any:
    train, workers = job.config.train, torch.distributed.get_world_size()
    with split_from_the_start(train, workers, job.on_gpu):
        model = load_model(job).requires_grad_(False)
    if train.zero_stage != 3:
        return model.to(device).eval()
    import deepspeed

    engine, *_ = deepspeed.initialize(
        model=model, config=zero_config(train, workers, job.on_gpu), dist_init_required=False
    )
    return engine.eval()
