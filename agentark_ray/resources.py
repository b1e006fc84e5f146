"""Whether a cluster can hold what a stage needs, as it is or as far as its autoscaler may grow it.

Ray does not tell a job how far its cluster may grow. Whoever sets up an autoscaler says so in the
environment of the head: AGENTARK_AUTOSCALES_TO is a JSON list with the nodes of each type at most,
e.g. `[{"nodes": 12, "CPU": 48, "GPU": 4}]`, and is seen by every job that runs there.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from agentark_ray.section import ConfigError

VARIABLE = "AGENTARK_AUTOSCALES_TO"
Node = Mapping[str, float]  # Ray resource -> how much of it


def coming_nodes(environment: Mapping[str, str]) -> list[Node]:
    """The workers that an autoscaler may start, as it says; none if nothing is said.

    Raises:
        ConfigError: the variable is not as described above.
    """
    text = environment.get(VARIABLE, "")
    if not text:
        return []
    try:
        types = [dict(one) for one in json.loads(text)]
        counts = [int(one.pop("nodes")) for one in types]
        return [
            {name: float(amount) for name, amount in one.items()}
            for one, count in zip(types, counts, strict=True)
            for _ in range(count)
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f'{VARIABLE}={text}: expected JSON as [{{"nodes": 2, "CPU": 8, "GPU": 1}}]: {error!r}'
        ) from None


def lacking(
    needs: Mapping[str, float],
    gpu_groups: Sequence[int],
    nodes: Sequence[Node],
    coming: Sequence[Node] = (),
) -> str | None:
    """What a cluster lacks, in words; None if it can hold everything, perhaps when it has grown.

    Args:
        needs: Ray resource -> how much of it, over all nodes.
        gpu_groups: GPUs that must be on one node, for each group of them.
        nodes: those that run.
        coming: all that its autoscaler may start.
    """
    now = _lacks(needs, gpu_groups, nodes)
    if now is None or not coming:
        return now and f"{now[0]}, the cluster has {now[1]}"
    most = _lacks(needs, gpu_groups, coming)
    return most and f"{most[0]}, the cluster has {most[1]} when it is as large as it may be"


def _lacks(
    needs: Mapping[str, float], gpu_groups: Sequence[int], nodes: Sequence[Node]
) -> tuple[str, str] | None:
    """What is needed and what is there, of the first thing that is not enough."""
    for name, needed in needs.items():
        there = sum(node.get(name, 0) for node in nodes)
        if there < needed:
            return f"needs {needed:g} {name}s", f"{there:g}"
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    if groups_fit(gpu_groups, gpus):
        return None
    return (
        f"needs {sum(gpu_groups)} GPUs ({_counted(gpu_groups)}, each group on one node)",
        f"{sum(gpus)} ({_counted(gpus)})",
    )


def _counted(sizes: Sequence[int]) -> str:
    """E.g. `2 x 4 + 1 x 2`."""
    counts = sorted(Counter(size for size in sizes if size).items(), reverse=True)
    return " + ".join(f"{count} x {size}" for size, count in counts) or "none"


def groups_fit(groups: Sequence[int], nodes: Sequence[int]) -> bool:
    """Whether groups of GPUs fit on nodes, a group on one node.

    Exact where of two sizes the larger is a multiple of the smaller, as usual; with others it may
    say yes where the answer is no.
    """
    return all(
        sum(group // size for group in groups) <= sum(node // size for node in nodes)
        for size in {1, *groups} - {0}
    )
