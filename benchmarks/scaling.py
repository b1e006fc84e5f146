"""How generation scales: more actors on more nodes, and a run of the paper's size on one machine.

python -m benchmarks.scaling actors     # 1 -> 16 actors on 1 -> 4 Ray nodes of this machine
python -m benchmarks.scaling paper      # 342,000 questions, 5 agents, up to 2 rounds

Engines are fakes of fixed latency that compute nothing, so what is measured is everything else:
Ray, Ray Data, checkpointing, Parquet, the event loops of the actors. Nodes are separate Ray nodes
(`agentark cluster local`) that share this machine's cores: the latency has to be long enough that
cores are not the limit, which `cpu_share` shows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agentark_ray.cluster.local import HEAD, LocalCluster, NodeSpec, State
from agentark_ray.cluster.processes import free_port
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.compact import compact
from agentark_ray.traces.read import trace_dataset
from benchmarks.common import finish, say
from benchmarks.overhead import ideal_rate

ROOT = Path(__file__).parents[1]
PAPER_QUESTIONS = 342_000
LOOK_S = 2.0
# The extrapolation: engines of one GPU each, as measured figures of a cluster have it.
GPUS = 64
TOKENS_PER_S = 9_000  # output tokens a second of one GPU's engine
TOKENS_PER_COMPLETION = 250


@contextmanager
def nodes(workers: int, cpus: int) -> Iterator[State]:
    """A head without work and workers of so many logical CPUs."""
    with tempfile.TemporaryDirectory(prefix="ak-", dir="/tmp") as folder:
        cluster = LocalCluster(Path(folder))
        port = free_port()
        try:
            yield cluster.up([NodeSpec(cpus=cpus)] * workers, dashboard_port=port)
        finally:
            cluster.down()


def environment(state: State) -> dict[str, str]:
    """Of a driver of this cluster."""
    return {**os.environ, "RAY_ADDRESS": state.address, "RAY_AUTH_MODE": "token"}


def job(args: argparse.Namespace, output: Path, actors: int, questions: int) -> list[str]:
    """The command of a generation on scripted engines."""
    return [
        *(sys.executable, "-m", "agentark_ray.cli", "traces", "generate", f"{output}.yaml"),
        f"output={output}",
        f"tasks.train_questions={questions}",
        "tasks.name=arithmetic",
        "tasks.eval_questions=1",
        f"debate.agents={args.agents}",
        f"debate.rounds={args.rounds}",
        f"debate.stop={args.stop}",
        "debate.max_tokens=64",
        "engine.type=scripted",
        f"engine.scripted_latency_s={args.latency}",
        f"engine.scripted_accuracy={args.accuracy}",
        "engine.max_model_len=65536",
        f"engine.actors={actors}",
        f"engine.in_flight={args.in_flight}",
        f"engine.rows_per_block={args.rows_per_block}",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A job at one moment."""

    seconds: float  # since it began
    files: int
    driver_mb: float
    gcs_mb: float
    cpu_s: float  # of all processes of the cluster and the driver


def watch(command: Sequence[str], state: State, traces: Path) -> list[Look]:
    """Run a job to its end and look at it every two seconds.

    Raises:
        RuntimeError: it failed; its last words.
    """
    looks: list[Look] = []
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(state), stdout=words, stderr=words
        )
        driver = psutil.Process(process.pid)
        gcs, meter = gcs_of(state), CpuMeter()
        while process.poll() is None:
            time.sleep(LOOK_S)
            try:
                looks.append(
                    Look(
                        seconds=time.monotonic() - started,
                        files=len(list(traces.glob("*.parquet"))),
                        driver_mb=driver.memory_info().rss / 1e6,
                        gcs_mb=gcs.memory_info().rss / 1e6,
                        cpu_s=meter.seconds([driver, *roots(state)]),
                    )
                )
            except psutil.NoSuchProcess:
                break
        if process.wait():
            words.seek(0)
            raise RuntimeError(words.read()[-3000:])
    return looks


def roots(state: State) -> Iterator[psutil.Process]:
    """The processes that nodes were started as."""
    for node in state.nodes:
        if process := node.process():
            yield process


def gcs_of(state: State) -> psutil.Process:
    """The head's GCS, which keeps the state of the cluster."""
    (head,) = (node for node in state.nodes if node.name == HEAD)
    found = psutil.Process(head.pid).children(recursive=True)
    return next(process for process in found if process.name() == "gcs_server")


class CpuMeter:
    """CPU time of processes and of all that they start, those that have ended included.

    What a process used after the last look at it is lost.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], float] = {}  # process -> its seconds so far

    def seconds(self, roots: Sequence[psutil.Process]) -> float:
        """Of everything that was ever seen below `roots`."""
        for root in roots:
            with suppress(psutil.NoSuchProcess):
                for process in [root, *root.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        key = process.pid, process.create_time()
                        self._seen[key] = sum(process.cpu_times()[:2])
        return sum(self._seen.values())


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
    finish("scaling_actors", ratios, {"runs": found, "settings": _settings(args)})


def scale(args: argparse.Namespace, state: State, actors: int) -> dict[str, Any]:
    """Rate of a job of `debates_per_actor` for each of these actors, over the ideal one."""
    with tempfile.TemporaryDirectory() as place:
        output = _config(Path(place))
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


def _config(place: Path) -> Path:
    """An output folder whose job has an empty config file; everything is an override."""
    output = place / "run"
    output.with_suffix(".yaml").write_text("{}\n")
    return output


def run_paper(args: argparse.Namespace) -> None:
    """A run of the paper's size: memory of driver and GCS over it, sizes of files."""
    with (
        tempfile.TemporaryDirectory(dir=args.place) as place,
        nodes(1, args.actors[0] + 4) as state,
    ):
        output = _config(Path(place))
        (actors,) = args.actors
        began = time.monotonic()
        looks = watch(job(args, output, actors, args.questions), state, output / "traces")
        seconds = time.monotonic() - began
        folder = RunFolder(str(output))
        rows = trace_dataset(folder, "traces").count_rows()
        assert rows == args.questions, f"{rows} of {args.questions} debates"
        completions = count_turns(folder)
        before = sizes(output / "traces")
        merged = compact(folder, 256_000_000)
        after = sizes(output / "traces")
        manifest = json.loads((output / "manifest.json").read_text())
    early, late = quarter(looks), looks[-1]
    details = {
        "debates": rows,
        "completions": completions,
        "seconds": round(seconds),
        "stages": {name: stage["seconds"] for name, stage in manifest["stages"].items()},
        "driver_mb": [round(early.driver_mb), round(max(look.driver_mb for look in looks))],
        "gcs_mb": [round(early.gcs_mb), round(max(look.gcs_mb for look in looks))],
        "files": before,
        "files_after_compaction": after,
        "bytes_per_debate": round(merged.bytes / rows),
        "extrapolation": extrapolation(completions / rows, late.cpu_s / completions, rows),
        "settings": _settings(args),
    }
    ratios = {
        "driver_memory_end_over_first_quarter": max(look.driver_mb for look in looks)
        / early.driver_mb,
        "gcs_memory_end_over_first_quarter": max(look.gcs_mb for look in looks) / early.gcs_mb,
    }
    finish("scaling_paper", ratios, details)


def quarter(looks: Sequence[Look]) -> Look:
    """The first look with a quarter of the files: all that is needed once has been allocated."""
    return next(look for look in looks if look.files >= looks[-1].files / 4)


def count_turns(folder: RunFolder) -> int:
    """Completions in all traces, read in parts."""
    batches = trace_dataset(folder, "traces").to_batches(columns=["output_tokens", "turns"])
    return sum(len(turns) for batch in batches for turns in batch["turns"])


def sizes(folder: Path) -> dict[str, float]:
    """How many files, and megabytes of the mean and the largest one."""
    found = [path.stat().st_size / 1e6 for path in folder.glob("*.parquet")]
    return {
        "files": len(found),
        "mean_mb": round(sum(found) / len(found), 2),
        "largest_mb": round(max(found), 2),
    }


def extrapolation(per_debate: float, cpu_s: float, debates: int) -> dict[str, Any]:
    """What 64 GPUs would take, and what the measured orchestration costs beside them.

    Args:
        per_debate: completions of a debate.
        cpu_s: CPU seconds of everything but engines, of a completion.
        debates: of the run.
    """
    completions_per_s = GPUS * TOKENS_PER_S / TOKENS_PER_COMPLETION
    return {
        "assumptions": (
            f"{GPUS} engines of one GPU at {TOKENS_PER_S} output tokens/s, completions of"
            f" {TOKENS_PER_COMPLETION} tokens; rates add up, as measured with `actors`"
        ),
        "completions_per_s": round(completions_per_s),
        "hours": round(debates * per_debate / completions_per_s / 3600, 2),
        "cores_of_orchestration": round(completions_per_s * cpu_s, 1),
        "cores_a_gpu": round(completions_per_s * cpu_s / GPUS, 2),
    }


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()
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
