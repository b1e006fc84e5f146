"""The debate's vLLM engine as reinforcement learning needs it: samples with their probabilities,
and weights that change.

Every sample belongs to one version of the weights: new weights wait until the samples that are
under way have ended, and new samples wait for new weights.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from agentark_ray.engine.vllm import VllmEngine, finish_reason
from agentark_ray.types import Rollout, Sampling


class RolloutEngine(VllmEngine):
    """A VllmEngine whose weights follow a trainer's.

    Log-probabilities are those of the distribution that was sampled from, temperature included.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._args["logprobs_mode"] = "processed_logprobs"
        self._args["use_tqdm_on_load"] = False
        if settings["tensor_parallel"]:
            self._args["weight_transfer_config"] = {"backend": "nccl"}
        self._version: int | None = None
        self._calls = 0  # under way
        self._paused = False
        self._change = asyncio.Condition()

    @property
    def version(self) -> int | None:
        """Of the weights; None: those of the model's folder."""
        return self._version

    async def sample(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, group: int
    ) -> list[list[Rollout]]:
        """`group` samples of each prompt (token ids), all with the same weights.

        Raises:
            RuntimeError: the engine has no weights of a trainer yet.
            EngineDead: the engine is gone. TimeoutError at the deadline.
        """
        async with self._change:
            await self._change.wait_for(lambda: not self._paused)
            self._calls += 1
        try:
            asked = (self._group(prompt, sampling, group) for prompt in prompts)
            return await asyncio.gather(*asked)
        finally:
            async with self._change:
                self._calls -= 1
                self._change.notify_all()

    async def _group(self, prompt: Sequence[int], sampling: Sampling, n: int) -> list[Rollout]:
        if self._version is None:
            raise RuntimeError("the engine was asked for samples before it had a trainer's weights")
        async with asyncio.timeout(self._timeout_s):
            output = await self.final(prompt, sampling, n=n)
        version = self._version
        return [_rollout(one, self.text_of(one), version) for one in output.outputs]

    async def load(self, folder: str, version: int) -> None:
        """Take the weights in a folder of safetensors."""
        await self.pause()
        await self.llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        await self.go_on(version)

    async def pause(self) -> None:
        """Wait for the samples under way; new ones wait until `go_on`."""
        async with self._change:
            self._paused = True
            await self._change.wait_for(lambda: not self._calls)

    async def go_on(self, version: int) -> None:
        """The weights are those of `version` now."""
        await self.llm.reset_prefix_cache()  # keys and values of the old weights
        async with self._change:
            self._version, self._paused = version, False
            self._change.notify_all()

    async def join_transfer(self, info: dict[str, Any]) -> None:
        """Join the group over which a trainer sends weights (NCCL)."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        await self.llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info=info))

    async def begin_update(self) -> None:
        """Pause, and expect weights; `go_on` ends the pause."""
        await self.pause()
        await self.llm.start_weight_update()

    async def receive(self, info: Any) -> None:
        """Receive the parameters that `info` describes, while the trainer sends them."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        await self.llm.update_weights(WeightTransferUpdateRequest(update_info=info))

    async def end_update(self) -> None:
        """All parameters have come."""
        await self.llm.finish_weight_update()


def _rollout(sampled: Any, text: str, version: int) -> Rollout:
    chosen = zip(sampled.token_ids, sampled.logprobs, strict=True)
    return Rollout(
        text=text,
        token_ids=list(sampled.token_ids),
        logprobs=[at[token].logprob for token, at in chosen],
        finish_reason=finish_reason(sampled),
        version=version,
    )
