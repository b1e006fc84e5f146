"""Verdicts a second of the graders: `python -m benchmarks.grading`.

A mixture of made-up solutions (60 % plain numbers, 15 % mathematics, 15 % choices, 10 % short
answers; three of ten are wrong) is extracted and graded by a few processes. The peer is bare
math-verify on the mathematics and numbers of the same mixture, in one process, without any
deadline: the ratio `mixed_per_core` is our labels a second and process over its, and
`numbers_per_core` the same for plain numbers alone. Progress goes to stderr; the last line of
stdout is one JSON object.
"""

import argparse
import logging
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agentark_ray.grading.registry import GRADERS
from benchmarks.common import finish, say

Label = tuple[str, str, str]  # grader, text, gold

SHARES = {"numeric": 0.6, "math": 0.15, "choice": 0.15, "short": 0.1}
ENDS = {
    "numeric": ("The answer is \\boxed{{{}}}.", "#### {}", "So the answer is {}.", "It is {}."),
    "math": ("Hence $\\boxed{{{}}}$.", "The final answer is ${}$."),
    "choice": ("The answer is ({}).", "**Answer:** {}", "\\boxed{{{}}}"),
    "short": ("The answer is: {}.", "\\boxed{{{}}}"),
}
NAMES = ("Ann Lee", "Tom Hale", "Mia Ross", "Raj Patel", "Eva Stone", "Sam Ford")


def forms(grader: str, rng: random.Random) -> tuple[str, str, str]:
    """(gold answer, a right answer in another form, a wrong answer)."""
    n, m = rng.randint(2, 9_999), rng.randint(2, 99)
    if grader == "numeric":
        return str(n), f"{n:,}", f"{n + 1:,}"
    if grader == "math":
        return rng.choice(
            [
                (f"\\frac{{{m}}}{{{m + 1}}}", f"\\dfrac{{{m}}}{{{m + 1}}}", f"\\frac{{{m}}}{{7}}"),
                (f"(x+{m})^2", f"x^2+{2 * m}x+{m * m}", f"x^2+{m * m}"),
                (f"[{m}, {n})", f"[{m},{n})", f"[{m},{n}]"),
                (f"{m}\\sqrt{{2}}", f"\\sqrt{{{2 * m * m}}}", f"{m}\\sqrt{{3}}"),
                (str(n), f"{n}", f"{n - 1}"),
            ]
        )
    if grader == "choice":
        right, wrong = rng.sample("ABCDE", 2)
        return right, right, wrong
    right, wrong = rng.sample(NAMES, 2)
    return right, right.lower(), wrong


def labels(count: int, seed: int) -> list[Label]:
    """Solutions of about 80 words with their gold answers."""
    rng = random.Random(seed)
    graders = rng.choices(list(SHARES), list(SHARES.values()), k=count)
    made = []
    for grader in graders:
        gold, right, wrong = forms(grader, rng)
        a, b = rng.randint(2, 999), rng.randint(2, 999)
        steps = f"There were {a} and then {b} more came, which is {a} + {b} = {a + b} in all.\n" * 5
        end = rng.choice(ENDS[grader]).format(right if rng.random() < 0.7 else wrong)
        made.append((grader, steps + end, gold))
    return made


def grade(part: Sequence[Label]) -> Counter[str]:
    """The verdicts on some labels."""
    counts: Counter[str] = Counter()
    for name, text, gold in part:
        grader = GRADERS[name]
        counts[str(grader.verdict(grader.extract(text), gold))] += 1
    return counts


def graded(made: Sequence[Label], processes: int) -> tuple[float, Counter[str]]:
    """(seconds, verdicts) of several processes, their start included."""
    started = time.perf_counter()
    chunks = [made[start : start + 1_000] for start in range(0, len(made), 1_000)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        counts = sum(pool.imap_unordered(grade, chunks), Counter[str]())
    return time.perf_counter() - started, counts


def peer(made: Sequence[Label]) -> tuple[float, Counter[str]]:
    """(seconds, verdicts) of bare math-verify in this process, without a deadline."""
    from math_verify import parse, verify

    logging.disable(logging.WARNING)
    counts: Counter[str] = Counter()
    started = time.perf_counter()
    for _, text, gold in made:
        answer = parse(text, parsing_timeout=0)
        right = verify(parse(f"${gold}$", parsing_timeout=0), answer, timeout_seconds=None)
        counts["correct" if right else "incorrect"] += 1
    return time.perf_counter() - started, counts


def run(args: argparse.Namespace) -> None:
    """Entry point."""
    made = labels(args.labels, seed=0)
    numbers = [label for label in made if label[0] == "numeric"]
    started = time.process_time()
    grade(numbers)
    number_rate = len(numbers) / (time.process_time() - started)
    say(f"grading: {number_rate:.0f} plain numbers a second on one core")
    seconds, counts = graded(made, args.processes)
    rate = len(made) / seconds
    say(f"grading: {len(made)} labels in {seconds:.1f} s by {args.processes} processes: {counts}")
    asked = [
        label for label in labels(4 * args.peer_labels, seed=1) if label[0] in ("numeric", "math")
    ]
    peer_seconds, peer_counts = peer(asked[: args.peer_labels])
    peer_rate = sum(peer_counts.values()) / peer_seconds
    say(f"grading: bare math-verify {peer_rate:.0f} labels a second: {peer_counts}")
    ratios = {
        "mixed_per_core": rate / args.processes / peer_rate,
        "numbers_per_core": number_rate / peer_rate,
    }
    details: dict[str, Any] = {
        "labels": len(made),
        "processes": args.processes,
        "seconds": round(seconds, 2),
        "labels_per_s": round(rate, 1),
        "numbers_per_s_one_core": round(number_rate, 1),
        "verdicts": dict(counts),
        "peer_labels_per_s": round(peer_rate, 1),
        "peer_verdicts": dict(peer_counts),
        "shares": SHARES,
    }
    finish("grading", ratios, details)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--peer-labels", type=int, default=2_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="small sizes: is all in order?")
    args = parser.parse_args()
    if args.quick:
        args.labels, args.peer_labels = 4_000, 200
    run(args)


if __name__ == "__main__":
    main()
