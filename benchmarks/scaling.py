"""How generation scales: more actors on more nodes, and a run of the paper's size on one machine.

python -m benchmarks.scaling actors     # 1 -> 16 actors on 1 -> 4 Ray nodes of this machine
python -m benchmarks.scaling paper      # 342,000 questions, 5 agents, up to 2 rounds

Engines are fakes of fixed latency that compute nothing, so what is measured is everything else:
Ray, Ray Data, checkpointing, Parquet, the event loops of the actors. Nodes are separate Ray nodes
(`agentark cluster local`) that share this machine's cores: the latency has to be long enough that
cores are not the limit, which `cpu_share` shows.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentark_ray.cluster.local import State
from benchmarks.common import finish, say
from benchmarks.overhead import ideal_rate
from benchmarks.scaling_paper import run_paper
from benchmarks.watched import Look, job, nodes, output_of, settings, watch

PAPER_QUESTIONS = 342_000


def middle(looks: Sequence[Look], files: int) -> tuple[Look, Look]:
    """The first looks with 15 % and 85 % of all files: without ramp-up and tail.

    Raises:
        ValueError: the job was too short to be looked at between them.
    """
    first = next(look for look in looks if look.files >= 0.15 * files)
    last = next(look for look in looks if look.files >= 0.85 * files)
    if last.files - first.files < 3:
        raise ValueError(f"too short: {first.files} to {last.files} of {files} files")
    return first, last


def run_actors(args: argparse.Namespace) -> None:
    """The same work for each actor, on ever more actors and nodes."""
    found: dict[str, Any] = {}
    for count in args.nodes:
        with nodes(count, cpus=-(-max(args.actors) // count) + 3) as state:
            for actors in args.actors:
                if actors < count:
                    continue
                name = f"{actors}_actors_{count}_nodes"
                found[name] = scale(args, state, actors)
                say(f"scaling: {name}: {found[name]}")
    base = found[f"{min(args.actors)}_actors_{min(args.nodes)}_nodes"]["share_of_ideal"]
    ratios = {f"ideal_{name}": figures["share_of_ideal"] for name, figures in found.items()}
    most = f"{max(args.actors)}_actors_{max(args.nodes)}_nodes"
    ratios["efficiency"] = found[most]["share_of_ideal"] / base
    finish("scaling_actors", ratios, {"runs": found, "settings": settings(args)})


def scale(args: argparse.Namespace, state: State, actors: int) -> dict[str, Any]:
    """Rate of a job of `debates_per_actor` for each of these actors, over the ideal one."""
    with tempfile.TemporaryDirectory() as place:
        output = output_of(Path(place))
        questions = actors * args.debates_per_actor
        looks = watch(job(args, output, actors, questions), state, output / "traces")
        files = len(list((output / "traces").glob("*.parquet")))
        first, last = middle(looks, files)
        seconds = last.seconds - first.seconds
        rate = (last.files - first.files) * questions / files / seconds
    ideal = ideal_rate(actors, args.in_flight, args.rounds, args.latency)
    return {
        "debates": questions,
        "ideal_debates_per_s": round(ideal, 1),
        "debates_per_s": round(rate, 1),
        "share_of_ideal": round(rate / ideal, 3),
        "cpu_share": round((last.cpu_s - first.cpu_s) / seconds / (os.cpu_count() or 1), 2),
    }


def parser() -> argparse.ArgumentParser:
    """Options of both parts."""
    result = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parts = result.add_subparsers(dest="part", required=True)
    actors, paper = parts.add_parser("actors"), parts.add_parser("paper")
    actors.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    actors.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    actors.add_argument("--debates-per-actor", type=int, default=640)
    actors.add_argument("--latency", type=float, default=2.0, help="seconds of a completion")
    actors.add_argument("--in-flight", type=int, default=32, help="debates an actor holds at once")
    actors.add_argument("--rows-per-block", type=int, default=16, help="debates a file")
    actors.add_argument("--stop", default="fixed")
    paper.add_argument("--questions", type=int, default=PAPER_QUESTIONS)
    paper.add_argument("--actors", type=int, nargs=1, default=[2])
    paper.add_argument("--latency", type=float, default=0.05)
    paper.add_argument("--in-flight", type=int, default=256)
    paper.add_argument("--rows-per-block", type=int, default=1024)
    paper.add_argument("--stop", default="unanimous")
    paper.add_argument("--place", default=None, help="folder for 2 GB of traces; else a temporary")
    for part in (actors, paper):
        part.add_argument("--agents", type=int, default=5)
        part.add_argument("--rounds", type=int, default=2)
        part.add_argument("--accuracy", type=float, default=0.6, help="of the fake engine")
        part.add_argument("--quick", action="store_true", help="small, to see that it runs")
    return result


def main() -> None:
    """Entry point."""
    args = parser().parse_args()
    if args.part == "actors":
        if args.quick:
            args.actors, args.nodes, args.debates_per_actor = [1, 2], [1, 2], 160
            args.latency, args.rows_per_block = 0.5, 8
        run_actors(args)
        return
    if args.quick:
        args.questions, args.rows_per_block = 4_000, 64
    run_paper(args)


if __name__ == "__main__":
    main()
