"""Who reads whom: the peers of every agent.

Sources: `full` is the debate of Du et al. (2305.14325); that agents may read fewer peers at little
loss is Li et al.'s (2406.11776).
"""

from functools import lru_cache

Peers = tuple[tuple[int, ...], ...]  # by agent, in agent order


def full(agents: int) -> Peers:
    """Everybody reads everybody."""
    return tuple(tuple(p for p in range(agents) if p != a) for a in range(agents))


def ring(agents: int) -> Peers:
    """Everybody reads the agent before and the agent after."""
    return tuple(tuple(sorted({(a - 1) % agents, (a + 1) % agents} - {a})) for a in range(agents))


def star(agents: int) -> Peers:
    """Agent 0 is the hub and reads everybody; the others read the hub."""
    return tuple(tuple(range(1, agents)) if a == 0 else (0,) for a in range(agents))


def random_regular(agents: int, degree: int, seed: int) -> Peers:
    """A random graph in which everybody reads `degree` peers and is read by them."""
    import networkx  # a third of what reading a configuration imports, for one topology

    graph = networkx.random_regular_graph(degree, agents, seed=seed)
    return tuple(tuple(sorted(graph[a])) for a in range(agents))


@lru_cache(1024)
def peers(topology: str, agents: int, degree: int, seed: int) -> Peers:
    """The peers of every agent; `degree` and `seed` matter for `random` only.

    Raises:
        KeyError: no such topology.
    """
    if topology == "random":
        return random_regular(agents, degree, seed)
    return {"full": full, "ring": ring, "star": star}[topology](agents)
