"""The trainer's side of vLLM's weight transfer between GPUs (NCCL)."""

from typing import Any


def open_sender(
    *, rank: int, address: str, port: int, world_size: int, client: Any, source: Any
) -> Any:
    """Join the transfer group; only rank 0 sends, the others help it to gather parameters.

    Args:
        rank: of the training worker.
        address: of rank 0, with a free port, for the rendezvous.
        world_size: rank 0 and every GPU of every engine.
        client: a VLLMWeightSyncClient, which asks the engines to join, to receive and to finish.
        source: a WeightSource, whose iteration yields (name, whole tensor).

    Returns:
        A TrainerWeightTransferEngine; `send_weights()` transfers all weights.
    """
    from vllm.distributed.weight_transfer.nccl_engine import (
        NCCLTrainerInitInfo,
        NCCLTrainerWeightTransferEngine,
    )

    info = NCCLTrainerInitInfo(
        master_address=address, master_port=port, world_size=world_size, rank=rank
    )
    return NCCLTrainerWeightTransferEngine.trainer_init(info, client=client, source=source)
