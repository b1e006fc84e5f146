"""Held-out accuracy of every strategy, over seeds: students of the same debates, against the team.

A run folder a seed: other questions, the same sizes and settings (jobs/configs/demo.yaml by
default). All strategies learn from its debates, rft besides from samples of single agents at the
same token budget, and answer the held-out questions beside the base arms. Everything in a run
folder is kept, so that the same command goes on where it stopped; a strategy can be added later.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from agentark_ray.config import Config, load_config
from agentark_ray.distillation import distill
from agentark_ray.pipeline import Run
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import own_name
from benchmarks.common import finish, say

BASE = ("single", "self_consistency", "debate")


def summary_of(config: Config, strategies: Sequence[str], chosen: Mapping[str, list[str]]) -> Any:
    """What the arms and students of one run folder did; made, where it is not there yet."""
    console = Console(stderr=True)
    run = Run(config, console)
    run.execute(["questions", "generate", "distill"])
    for strategy in strategies:
        if strategy != own_name(config):
            parent, _, last = strategy.rpartition("-")
            distill(run.folder, chosen.get(strategy, []), last, None, parent or None, console)
    run.execute()
    return run.summary()


def accuracies(summaries: Sequence[Mapping[str, Any]], own: str) -> dict[str, list[float]]:
    """Arm or strategy -> accuracy, a value for each summary; the run's own student by its name."""
    found: dict[str, list[float]] = {}
    for summary in summaries:
        for arm, figures in summary["arms"].items():
            found.setdefault(own if arm == "student" else arm, []).append(figures["accuracy"])
    return found


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def ratios(found: Mapping[str, Sequence[float]], strategies: Sequence[str]) -> dict[str, float]:
    """Mean accuracy of each strategy over that of a single answer, the debate, rsft."""
    means = {name: statistics.mean(values) for name, values in found.items()}
    return {
        f"{strategy}_over_{peer}": means[strategy] / means[peer]
        for strategy in strategies
        for peer in ("single", "debate", "rsft", "rft")
        if peer in means and peer != strategy and means[peer]
    }


def table(found: Mapping[str, Sequence[float]], n: int) -> Table:
    """Mean and spread of every arm."""
    shown = Table(box=None, padding=(0, 2, 0, 0), title=f"{n} held-out questions a seed")
    for column in ("arm", "mean", "spread", "of the debate", "seeds"):
        shown.add_column(column, justify="left" if column == "arm" else "right")
    debate = statistics.mean(found["debate"])
    for name, values in found.items():
        mean = statistics.mean(values)
        each = "  ".join(f"{value:.1%}" for value in values)
        of = f"{mean / debate:.1%}" if debate else "-"
        shown.add_row(name, f"{mean:.1%}", f"{spread(values):.1%}", of, each)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18, 19])
    parser.add_argument(
        "--strategies",
        nargs="+",
        default=["rsft", "da", "rsft-pad", "rft"],
        help="in their order; PARENT-STRATEGY starts from the student PARENT",
    )
    parser.add_argument("--config", default="jobs/configs/demo.yaml")
    parser.add_argument("--folder", default="runs/strategies", help="a run folder a seed in it")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STRATEGY:KEY=VALUE",
        help="a value of one strategy's config, e.g. da:distill.trajectories=2",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the config")
    args = parser.parse_args()
    chosen: dict[str, list[str]] = {}
    for setting in args.set:
        strategy, _, override = setting.partition(":")
        chosen.setdefault(strategy, []).append(override)
    summaries: list[dict[str, Any]] = []
    found: dict[str, list[float]] = {}
    for seed in args.seeds:
        folder = RunFolder(f"{args.folder}/seed-{seed}")
        values = [*args.overrides, f"seed={seed}", f"output={folder.uri}"]
        config = load_config(args.config, values)
        say(f"strategies: seed {seed}, {folder.uri}")
        summaries.append(summary_of(config, args.strategies, chosen))
        found = accuracies(summaries, own_name(config))
        Console(stderr=True, width=120).print(table(found, summaries[0]["questions"]))
    there = [name for name in args.strategies if name in found]
    details = {name: [round(value, 4) for value in values] for name, values in found.items()}
    spreads = {name: round(spread(values), 4) for name, values in found.items()}
    details |= {"seeds": args.seeds, "questions": summaries[0]["questions"], "spread": spreads}
    finish("strategies", ratios(found, there), details)


if __name__ == "__main__":
    main()
