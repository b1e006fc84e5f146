"""A stage that failed because a node was lost is done again.

Ray and its libraries do most of what a lost node held again, but not all: a read of Parquet files
ends with the actor that reads their footers, a shuffle with the actors that hold its partitions,
and a task uses up its retries before Ray knows that the node is gone. Every stage can be done
again: what it has written is kept or begun anew, as when the user runs the same command again.
Until there are nodes for it again, it waits.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from agentark_ray.resources import LacksRoom

LOSSES = 10  # after which a stage gives up
# Ray asks a node every 3 s; five answers that do not come within 10 s, and it is lost.
KNOWN_S = 90.0
POLL_S = 0.5
# Between attempts of a stage for which a lost node left too little room, for 30 minutes.
ROOM_POLL_S, ROOM_WAITS = 10.0, 180

T = TypeVar("T")


class NodesKeepDying(RuntimeError):
    """A stage lost more nodes than LOSSES, each in a place where it has to be done again."""


class ActorGone(RuntimeError):
    """An actor died and is not started again; its cause stays in the process that raised this."""


def outlive_nodes(work: Callable[[], T], say: Callable[[str], object]) -> T:
    """`work()`, again after each failure that came of a lost node. Ray must be up.

    Args:
        work: can be done again after it failed.
        say: is told of every loss, and that the cluster lacks room after one.

    Raises:
        NodesKeepDying: it happened too often.
        LacksRoom: the cluster is too small, and was not larger before a loss or is so no more.
    """
    losses = waits = 0
    while True:
        before = dead_nodes()
        try:
            return work()
        except LacksRoom as error:
            waits += 1
            if not losses or waits > ROOM_WAITS:
                raise
            if waits == 1:
                say(f"  {error}; waiting for other nodes")
            time.sleep(ROOM_POLL_S)
            continue
        except Exception as error:
            loss = _loss(error)
            if loss is None or not _another_died(before):
                raise
            losses += 1
            if losses > LOSSES:
                raise NodesKeepDying(
                    f"a stage lost {losses} nodes; last: {loss}: {root_cause(error)}"
                ) from None
        say(f"  a node was lost ({loss}); the stage goes on from what is written")
        waits = 0


def dead_nodes() -> set[str]:
    """Ids of nodes that the cluster has lost or given back."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}


def root_cause(error: BaseException) -> BaseException:
    """The exception a worker raised, below what Ray Data, Ray Train and Ray wrapped it into.

    What is not the fault of a user's function Ray Data raises "from" an empty SystemException.
    """
    failures = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values())) if failures else None
    inner = inner or getattr(error, "health_check_failure", None)
    inner = inner or getattr(error, "cause", None) or error.__cause__
    if not isinstance(inner, BaseException) or type(inner).__name__ == "SystemException":
        return error
    return root_cause(inner)


def _loss(error: BaseException) -> str | None:
    """The exception by which Ray says that a process or an object is gone, if it is one.

    Workers of a training that lost another one have errors of their own.
    """
    from ray import exceptions

    if failures := getattr(error, "worker_failures", None):
        return next(filter(None, map(_loss, failures.values())), None)
    cause = root_cause(error)
    gone = (
        ActorGone,
        exceptions.ActorDiedError,
        exceptions.ActorUnavailableError,
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
    )
    if isinstance(cause, gone):
        return type(cause).__name__
    if isinstance(cause, exceptions.UnserializableException):  # as one that a task met becomes
        return next((one.__name__ for one in gone if one.__name__ in str(cause)), None)
    return None


def _another_died(before: set[str]) -> bool:
    """Whether a node is dead that is not among these. Ray may not know it yet."""
    deadline = time.monotonic() + KNOWN_S
    while dead_nodes() <= before:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
