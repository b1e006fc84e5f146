"""Which deployments have replicas that run: what Serve's controller says, looked up now and then.

Serve's routers do not say it: a request to a deployment without replicas waits for one to start.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from ray import serve
from ray.serve.schema import DeploymentStatusOverview

from agentark_ray.serving.config import PoolConfig, PoolsConfig
from agentark_ray.serving.requests import Refused

LOOK_S = 5.0  # a look costs the controller some 50 ms of CPU
CHECK_S = 0.5  # between checks of what the last look has shown
RETRY_S = 5
LOGGER = logging.getLogger("ray.serve")
POOLS: Mapping[str, tuple[str, ...]] = {  # that a model needs
    "student": ("student",),
    "base": ("base",),
    "debate": ("debate", "base"),
    "hybrid": ("hybrid", "debate", "base"),  # without a student the debate answers
}
Deployments = Mapping[str, DeploymentStatusOverview]
T = TypeVar("T")


def lacks(
    model: str, found: Deployments, pools: PoolsConfig, states: Sequence[str] = ("RUNNING",)
) -> bool:
    """Whether a deployment that a model needs has no replica in one of some states.

    One that is scaled to zero lacks nothing: a request starts it. Nothing is known of deployments
    that are not in `found`.
    """
    needed = [name for name in found if _pool(name) in POOLS[model]]
    return any(
        not _count(found[name], states) and _is_wanted(found[name], getattr(pools, _pool(name)))
        for name in needed
    )


def _pool(deployment: str) -> str:
    """`base` of EngineServer:base-1."""
    return deployment.removeprefix("EngineServer:").partition("-")[0]


def _is_wanted(status: DeploymentStatusOverview, pool: PoolConfig) -> bool:
    return pool.min_replicas > 0 or status.status in ("UNHEALTHY", "DEPLOY_FAILED")


def _count(status: DeploymentStatusOverview, states: Sequence[str]) -> int:
    return sum(count for state, count in status.replica_states.items() if state in states)


class Watch:
    """What the last look has shown of one application. One for a process."""

    def __init__(self) -> None:
        self._found: Deployments = {}
        self._pools = PoolsConfig()
        self._looking: asyncio.Task[None] | None = None

    def start(self, pools: PoolsConfig) -> None:
        """Look now and every LOOK_S at the application of this replica; does nothing if it does."""
        if self._looking is None:
            self._pools = pools
            self._looking = asyncio.create_task(self._look_sometimes())

    def is_down(self, model: str) -> bool:
        """Whether it needs a deployment of which no replica runs."""
        return lacks(model, self._found, self._pools)

    def ingresses(self) -> int:
        """Running replicas of the ingress; as many as there may be while that is not known."""
        status = self._found.get("ingress")
        return max(1, _count(status, ["RUNNING"])) if status else self._pools.ingress.max_replicas

    async def unless_gone(self, model: str, work: Awaitable[T]) -> T:
        """The result of work that needs a model.

        Raises:
            Refused: 503, as soon as no replica can do it; the work is cancelled.
        """
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                if lacks(model, self._found, self._pools, ("RUNNING", "STOPPING")):
                    raise Refused(503, f"{model} has no running replica", retry_after_s=RETRY_S)
                await asyncio.wait({task}, timeout=CHECK_S)
            return task.result()
        finally:
            task.cancel()

    async def _look_sometimes(self) -> None:
        while True:
            try:
                status = await asyncio.to_thread(serve.status)
                application = status.applications[serve.get_replica_context().app_name]
                self._found = application.deployments
            except Exception:  # the controller starts again; what was known still holds
                LOGGER.warning("the state of the replicas is not known", exc_info=True)
            await asyncio.sleep(LOOK_S)


WATCH = Watch()


def running_ingresses() -> int:
    """Running replicas of the ingress, this one among them."""
    return WATCH.ingresses()
