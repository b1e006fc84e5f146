"""How Ray Data runs actors that ask engines: how many, where, and how often they are replaced."""

from collections.abc import Sequence
from typing import Any

from ray.data import ActorPoolStrategy, DataContext

from agentark_ray.config import Config
from agentark_ray.engine.settings import placement
from agentark_ray.session import need_resources
from agentark_ray.traces.storage import retry_outages
from agentark_ray.types import ModelRef

# A block whose actor died is tried again without limit: while a lost node is not yet known to be
# lost, Ray uses up a retry every second. Progress bounds deaths; this bounds only those of actors
# that die before they can begin a block.
ACTOR_RESTARTS = 1_000


def asking_pool(config: Config, refs: Sequence[ModelRef]) -> dict[str, Any]:
    """Arguments of `map_batches` for an AskingActor whose blocks have `engine.rows_per_block` rows.

    Raises:
        ConfigError: the cluster is too small; Ray Data would wait for ever.
    """
    engine = config.engine
    place = placement(config, refs)
    # The checkpoint filter and a task that reads or writes need a CPU each beside the actors.
    beside = [{"CPU": 1}] * 2
    need_resources(f"engine.actors={engine.actors}", [*place.bundles * engine.actors, *beside])
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # Grow a pool when all actors have as many blocks as they work on at once; Ray Data's default
    # asks for 1.75 times as many, which they never have.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    retry_outages(context)
    blocks_in_flight = -(-engine.in_flight // engine.rows_per_block) + 1
    return {
        "batch_size": engine.rows_per_block,  # a whole block: with GPUs Ray Data wants a number
        "batch_format": "pyarrow",
        "compute": ActorPoolStrategy(
            min_size=engine.actors,
            max_size=max(engine.actors, engine.max_actors or 1),
            max_tasks_in_flight_per_actor=blocks_in_flight + 1,
            max_concurrent_calls_per_actor=blocks_in_flight,
        ),
        "num_cpus": 1,
        "num_gpus": place.gpus,
        "max_restarts": ACTOR_RESTARTS,
        "max_task_retries": -1,
    }
