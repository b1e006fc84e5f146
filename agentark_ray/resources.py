"""Whether a cluster can hold what a stage needs, as it is or as far as its autoscaler may grow it.

Ray does not tell a job how far its cluster may grow. Whoever sets up an autoscaler says so in the
environment of the head: AGENTARK_AUTOSCALES_TO is a JSON list with the nodes of each type at most,
e.g. `[{"nodes": 12, "CPU": 48, "GPU": 4, "labels": {"ray.io/market-type": "spot"}}]`, and is seen
by every job that runs there. Nodes of a type without "labels" have none.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from agentark_ray.section import ConfigError

VARIABLE = "AGENTARK_AUTOSCALES_TO"
Node = Mapping[str, float]  # Ray resource -> how much of it
Labels = Mapping[str, str]


class LacksRoom(ConfigError):
    """The cluster cannot hold what a stage needs; after it lost nodes, not yet."""


def coming_nodes(environment: Mapping[str, str]) -> list[tuple[Node, Labels]]:
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
        labels = [dict(one.pop("labels", {})) for one in types]
        return [
            ({name: float(amount) for name, amount in one.items()}, has)
            for one, has, count in zip(types, labels, counts, strict=True)
            for _ in range(count)
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f'{VARIABLE}={text}: expected JSON as [{{"nodes": 2, "CPU": 8, "GPU": 1}}]: {error!r}'
        ) from None


def lacking(
    bundles: Sequence[Node], nodes: Sequence[Node], coming: Sequence[Node] = ()
) -> str | None:
    """What a cluster lacks, in words; None if it can hold everything, perhaps when it has grown.

    It knows of no tasks that run already.

    Args:
        bundles: amounts above 0 that must be on one node together, for each of them.
        nodes: those that run.
        coming: all that its autoscaler may start.
    """
    now = _lacks(bundles, nodes)
    if now is None or not coming:
        return now and f"{now[0]}, the cluster has {now[1]}"
    most = _lacks(bundles, coming)
    return most and f"{most[0]}, the cluster has {most[1]} when it is as large as it may be"


def _lacks(bundles: Sequence[Node], nodes: Sequence[Node]) -> tuple[str, str] | None:
    """What is needed and what is there, of the first thing that is not enough."""
    for name in _names(bundles):
        sizes, there = ([int(has.get(name, 0)) for has in of] for of in (bundles, nodes))
        if short_of([{name: size} for size in sizes if size], nodes):
            needed, found = f"needs {sum(sizes)} {name}s", f"{sum(there)}"
            if max(sizes) == 1:
                return needed, found
            return (
                f"{needed} ({_counted(sizes)}, each group on one node)",
                f"{found} ({_counted(there)})",
            )
    if form := short_of(bundles, nodes):
        words = " + ".join(f"{amount:g} {name}" for name, amount in sorted(form.items()))
        return (
            f"needs {room(bundles, form)} x ({words}), each on one node",
            f"{room(nodes, form)}",
        )
    return None


def _counted(sizes: Sequence[int]) -> str:
    """E.g. `2 x 4 + 1 x 2`."""
    counts = sorted(Counter(size for size in sizes if size).items(), reverse=True)
    return " + ".join(f"{count} x {size}" for size, count in counts) or "none"


def short_of(bundles: Sequence[Node], nodes: Sequence[Node]) -> Node | None:
    """A form of bundle for which nodes lack room, a bundle on one node; None if they have it.

    Into a bundle fit others of a smaller form, and it counts as so many of them. What is said to be
    lacking is; exact for bundles of one form, and for those of one resource where of two sizes the
    larger is a multiple of the smaller, as usual. With others it may miss that room is lacking.
    """
    forms = {tuple(sorted(bundle.items())) for bundle in bundles}
    forms |= {((name, 1),) for name in _names(bundles)}
    for form in map(dict, sorted(forms)):
        if room(bundles, form) > room(nodes, form):
            return form
    return None


def _names(bundles: Sequence[Node]) -> list[str]:
    return sorted({name for bundle in bundles for name in bundle})


def room(places: Sequence[Node], form: Node) -> int:
    """How many of a form fit into nodes or bundles."""
    return sum(
        int(min(place.get(name, 0) // amount for name, amount in form.items())) for place in places
    )
