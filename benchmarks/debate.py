"""Benchmarks of debates: `python -m benchmarks.debate PART [--quick] [options]`.

Parts: see README.md beside this file. Progress goes to stderr; the last line of stdout is one JSON
object {"name", "ratios", "details"}. `all` runs every part, each in its own process, one after the
other.
"""

import argparse
import json
import subprocess
import sys

from benchmarks import adaptive, overhead, paper, saturation
from benchmarks.common import finish

PARTS = {"paper": paper, "adaptive": adaptive, "overhead": overhead, "saturation": saturation}


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-command a part."""
    top = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = top.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        command = commands.add_parser(name, description=(part.__doc__ or "").split("\n")[0])
        part.add_arguments(command)
        command.add_argument("--quick", action="store_true", help="small sizes: is all in order?")
    everything = commands.add_parser("all", description="Every part with its default sizes.")
    everything.add_argument("--quick", action="store_true", help="small sizes: is all in order?")
    return top


def run_all(quick: bool) -> None:
    """Every part in its own process; ratios and details by part.

    Raises:
        subprocess.CalledProcessError: a part failed; the others after it do not run.
    """
    found = {}
    for part in PARTS:
        command = [sys.executable, "-m", "benchmarks.debate", part, *(["--quick"] if quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[part] = json.loads(done.stdout.splitlines()[-1])
    ratios = {f"{part}_{k}": v for part, one in found.items() for k, v in one["ratios"].items()}
    finish("debate", ratios, {part: one["details"] for part, one in found.items()})


def main() -> None:
    args = parser().parse_args()
    if args.part == "all":
        run_all(args.quick)
        return
    part = PARTS[args.part]
    for key, value in part.QUICK.items() if args.quick else ():
        setattr(args, key, value)
    part.run(args)


if __name__ == "__main__":
    main()
