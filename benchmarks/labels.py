"""The labelling job on made-up debates about plain numbers: `python -m benchmarks.labels`.

The peer is the grader alone: one process that extracts and grades the same kind of texts in a loop.
The ratio is the labels a second of the whole command, Ray's start included, over the peer's times
the number of cores. Progress goes to stderr; the last line of stdout is one JSON object.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from agentark_ray.debate.layouts import paper
from agentark_ray.grading.base import Grader
from agentark_ray.grading.registry import GRADERS
from agentark_ray.labelling import Labelling, Settings
from agentark_ray.traces.schema import TRACE_SCHEMA
from benchmarks.common import finish, say

NAMES = ("Ann", "Tom", "Mia", "Raj", "Lee", "Eva", "Sam", "Kim")
THINGS = ("apples", "stamps", "marbles", "tickets", "pencils", "cards")
ENDS = (
    "The answer is \\boxed{{{}}}.",
    "#### {}",
    "So the answer is {}.",
    "Therefore there are {} left.",
)


def solution(rng: random.Random, answer: int) -> str:
    """About 80 words of steps that end in an answer."""
    steps = []
    for step in range(rng.randint(4, 7)):
        a, b = rng.randint(2, 999), rng.randint(2, 999)
        who, what = rng.choice(NAMES), rng.choice(THINGS)
        steps.append(
            f"Step {step + 1}: {who} had {a:,} {what} and got {b} more, so now there are"
            f" {a} + {b} = {a + b:,} {what} in total."
        )
    return "\n".join([*steps, rng.choice(ENDS).format(f"{answer:,}")])


def debate(number: int, agents: int, rounds: int) -> dict[str, Any]:
    """A trace of a full debate in the layout `paper`; seven of ten answers are right."""
    rng = random.Random(number)
    gold = rng.randint(10, 99_999)
    question = f"Question {number}: {rng.choice(NAMES)} has some {rng.choice(THINGS)}. How many?"
    said: list[list[str]] = []
    turns, votes = [], []
    for round_ in range(rounds):
        answers = [gold if rng.random() < 0.7 else gold + rng.randint(1, 3) for _ in range(agents)]
        texts = [solution(rng, answer) for answer in answers]
        turns += [
            {
                **{"agent": agent, "role": "agent", "round": round_, "text": texts[agent]},
                **{"answer": str(answers[agent]), "finish_reason": "stop", "latency_s": 1.0},
                "messages": paper(question, "Think step by step.", said, agent),
                "verdict": "correct" if answers[agent] == gold else "incorrect",
                **{"prompt_tokens": 200, "cached_tokens": 0, "output_tokens": 120},
                "mean_logprob": -rng.random(),
            }
            for agent in range(agents)
        ]
        lead = max(answers, key=answers.count)
        verdict = "correct" if lead == gold else "incorrect"
        votes.append(
            {
                **{"round": round_, "answer": str(lead), "count": answers.count(lead)},
                **{"agents": agents, "verdict": verdict},
            }
        )
        said.append(texts)
    return {
        **{"debate_id": f"{number:016x}", "config_hash": "0" * 16, "arm": "debate", "kind": "main"},
        **{"replica": 0, "question_id": f"{number:016x}", "question": question, "gold": str(gold)},
        **{"aliases": [], "task": "gsm8k", "split": "train", "model": "m", "agents": agents},
        **{"models": ["m"] * agents, "turns": turns, "votes": votes},
        **{"final_answer": votes[-1]["answer"], "verdict": votes[-1]["verdict"]},
        **{"stop_reason": "rounds", "status": "ok", "wall_s": 2.0, "engine_s": 10.0},
        **{"output_tokens": 1200, "prompt_tokens": 2000, "cached_tokens": 0},
    }


def write_traces(folder: str, debates: int, rows_a_file: int, agents: int, rounds: int) -> None:
    """Trace files as a generation job writes them."""
    os.makedirs(folder)
    for first in range(0, debates, rows_a_file):
        numbers = range(first, min(first + rows_a_file, debates))
        rows = [debate(number, agents, rounds) for number in numbers]
        table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
        pq.write_table(table, f"{folder}/{first:08d}.parquet", compression="zstd")


def texts(debates: int, agents: int, rounds: int) -> Iterator[tuple[str, str]]:
    """(text, gold) of the turns of `debates` debates."""
    for number in range(debates):
        row = debate(number, agents, rounds)
        yield from ((turn["text"], row["gold"]) for turn in row["turns"])


def grader_alone(sample: Sequence[tuple[str, str]], grader: Grader) -> float:
    """Verdicts a second of the grader in this process."""
    started = time.perf_counter()
    right = sum(grader.verdict(grader.extract(text), gold) == "correct" for text, gold in sample)
    seconds = time.perf_counter() - started
    assert 0.6 < right / len(sample) < 0.8, "seven of ten answers are right"
    return len(sample) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labels", type=int, default=100_000, help="verdicts of turns")
    parser.add_argument("--agents", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows-a-file", type=int, default=16)
    parser.add_argument("--grader", choices=list(GRADERS), default="numeric")
    args = parser.parse_args()
    debates = args.labels // (args.agents * args.rounds)
    sample = list(texts(min(1_000, debates), args.agents, args.rounds))
    alone = grader_alone(sample, GRADERS[args.grader])
    say(f"the grader alone: {alone:,.0f} verdicts/s on one core")
    with tempfile.TemporaryDirectory() as folder:
        write_traces(f"{folder}/traces", debates, args.rows_a_file, args.agents, args.rounds)
        say(f"{debates:,} debates written")
        started = time.monotonic()
        settings = Settings(aggregate="vote", name="v1", grader=args.grader)
        figures = Labelling(folder, settings, Console(stderr=True)).execute()["figures"]
        seconds = time.monotonic() - started
    rate = figures["labels"] / seconds
    details = {**vars(args), "seconds": round(seconds, 1), "labels_per_s": round(rate)}
    details |= {"grader_alone_per_s": round(alone), "figures": figures}
    finish("labels", {"labels_per_s": rate / (alone * (os.cpu_count() or 1))}, details)


if __name__ == "__main__":
    main()
