"""`agentark cluster local`: several Ray nodes on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentark_ray.cli_base import JsonFlag, clear_errors, print_json
from agentark_ray.config import ConfigError

if TYPE_CHECKING:
    from agentark_ray.cluster.local import LocalCluster

LOCAL_HELP = """Start a cluster of separate Ray nodes on this machine, to rehearse on.

The first node is a head that takes no work, the others are workers. Token authentication is on; the
token is made where there is none. GPUs are told to Ray only, to see where things would be placed.

Examples:

  agentark cluster local --nodes 3

  agentark cluster local --nodes 3 --gpus 4 --label ray.io/market-type=spot

  agentark cluster local --add            # one more worker, also while a job runs

  agentark cluster local --kill worker-1  # lose one, as a cloud takes a spot machine away

  agentark cluster local --drain worker-1 # the same with a notice of 30 s before

  agentark cluster local --restart-head   # workers stay, jobs that ran have failed

  agentark cluster local --down
"""


def local(
    nodes: Annotated[
        int | None, typer.Option(min=2, max=64, help="Head and workers together.")
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Logical CPUs of a worker.")] = 4,
    gpus: Annotated[int, typer.Option(min=0, help="Of a worker, as Ray is told.")] = 0,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of new workers, for placement.")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="One more worker.")] = False,
    kill: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kill a worker and all its processes.")
    ] = None,
    drain: Annotated[
        str | None, typer.Option(metavar="NAME", help="Tell Ray 30 s before, then kill a worker.")
    ] = None,
    restart_head: Annotated[
        bool, typer.Option("--restart-head", help="Kill the head; another has its ports and disk.")
    ] = False,
    down: Annotated[bool, typer.Option("--down", help="End all nodes.")] = False,
    port: Annotated[int | None, typer.Option(help="Of the head's GCS; else a free one.")] = None,
    dashboard_port: Annotated[int, typer.Option(help="Of dashboard and job API.")] = 8265,
    folder: Annotated[
        Path | None, typer.Option(help="Where logs and sockets are; else in /tmp.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Start, change or end a cluster on this machine."""
    with clear_errors():
        if (
            sum((nodes is not None, add, kill is not None, drain is not None, restart_head, down))
            > 1
        ):
            raise ConfigError(
                "one of --nodes, --add, --kill, --drain, --restart-head, --down at a time"
            )
        for text in label or []:
            if not all(text.partition("=")):
                raise ConfigError(f"--label {text}: expected KEY=VALUE")
        from agentark_ray.cluster.local import LocalCluster, NodeSpec

        cluster = LocalCluster(folder)
        spec = NodeSpec(cpus=cpus, gpus=gpus, labels=tuple(label or ()))
        if down:
            cluster.down()
            print("down", file=sys.stderr)
            return
        if kill is not None:
            cluster.kill(kill)
        elif drain is not None:
            cluster.drain(drain)
        elif restart_head:
            cluster.restart_head()
        elif add:
            cluster.add(spec)
        elif nodes is not None:
            workers = [spec] * (nodes - 1)
            cluster.up(workers, dashboard_port=dashboard_port, port=port)
        _show_local(cluster, as_json)


def _show_local(cluster: "LocalCluster", as_json: bool) -> None:
    state = cluster.state()
    names = [node.name for node in state.alive]
    if as_json:
        print_json({"address": state.address, "dashboard": state.dashboard, "nodes": names})
        return
    print(
        f"nodes      {', '.join(names)}\n"
        f"job API    {state.dashboard}\n"
        f"logs       {cluster.folder}\n"
        f"\nexport RAY_API_SERVER_ADDRESS={state.dashboard}\n"
        "agentark cluster submit pipeline --config jobs/configs/demo.yaml"
        f" output={cluster.folder}/runs/demo --wait"
    )
