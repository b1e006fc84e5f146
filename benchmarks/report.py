"""The report of a large run: how big it is, how long it takes to write, and to open.

    python -m benchmarks.report                 # 10,000 questions
    python -m benchmarks.report --questions 2000 --letters 1500 --out /tmp/run

Makes a run folder of made-up answers in the project's own schema: every arm on every question,
second turns, and changed questions. A turn has `--letters` letters, of words that follow Zipf's
law. Then it writes the report and, where there is a Chromium, opens it three times: `open_ms` is
from the start of the navigation until the list of questions can be used. Ratios are limits over
what was measured (of the opening the median): at least 1 is within the limit.
"""

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentark_ray.config import Config, parse_config
from agentark_ray.debate_rows import light_rows
from agentark_ray.evaluate.probes import PROBE_COLUMNS, probes
from agentark_ray.evaluate.step_quality import QUALITY_COLUMNS, step_quality
from agentark_ray.evaluate.summary import summarize
from agentark_ray.report_source import Asked
from agentark_ray.reporting import Format, Output, Written, write_reports
from agentark_ray.robustness_config import row_kind
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import TRANSCRIPTS, open_record
from agentark_ray.traces.generate import trace_dataset
from agentark_ray.traces.schema import QUESTION_SCHEMA, TRACE_SCHEMA
from benchmarks.common import finish, say

LIMIT_MB, LIMIT_MS = 15.0, 2_000.0
AGENTS, ROUNDS, LATENCIES, CHANGED = 5, 2, 300, 200
ACCURACY = {"single": 0.63, "self_consistency": 0.69, "debate": 0.71, "student": 0.8}
ARMS = tuple(ACCURACY)
ROWS = 1_000  # of a file
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def words(rng: random.Random, vocabulary: Sequence[str], letters: int) -> str:
    """Text of Zipf's law, about `letters` long, ending in a newline-free sentence."""
    n = max(1, letters // 7)
    ranks = (int(len(vocabulary) ** rng.random()) - 1 for _ in range(n))
    return " ".join(vocabulary[rank] for rank in ranks)


class Maker:
    """Made-up questions and answers; the same seed makes the same."""

    def __init__(self, letters: int, seed: int) -> None:
        self.rng, self.letters = random.Random(seed), letters
        syllables = [a + b for a in "bcdfglmnprst" for b in "aeiou"]
        self.vocabulary = [
            "".join(self.rng.choices(syllables, k=self.rng.randint(1, 4))) for _ in range(4_000)
        ]

    def question(self, number: int) -> dict[str, Any]:
        """A row of QUESTION_SCHEMA."""
        return {
            "question_id": f"{self.rng.getrandbits(64):016x}",
            "question": f"{number}: {words(self.rng, self.vocabulary, 240)}?",
            "gold": str(self.rng.randint(1, 99)),
            "aliases": [],
            "task": "arithmetic",
            "split": "eval",
        }

    def row(self, question: dict[str, Any], arm: str, **changes: Any) -> dict[str, Any]:
        """A row of TRACE_SCHEMA."""
        base = arm.removesuffix("_check")
        agents = AGENTS if arm in ("debate", "self_consistency") else 1
        rounds = ROUNDS if arm == "debate" or arm.endswith("_check") else 1
        turns = [
            self._turn(agent, round_, question["gold"], ACCURACY[base])
            for round_ in range(rounds)
            for agent in range(agents)
        ]
        votes = [self._vote(round_, turns) for round_ in range(rounds)]
        row = dict.fromkeys(TRACE_SCHEMA.names)
        return {
            **row,
            **question,
            "debate_id": f"{self.rng.getrandbits(64):016x}",
            "config_hash": "synthetic",
            "arm": arm,
            "kind": "main",
            "replica": 0,
            "model": "synthetic",
            "agents": agents,
            "models": ["synthetic"] * agents,
            "turns": turns,
            "votes": votes,
            "final_answer": votes[-1]["answer"],
            "verdict": votes[-1]["verdict"],
            "stop_reason": "rounds",
            "status": "ok",
            "wall_s": self.rng.uniform(0.1, 0.3),
            "engine_s": 0.1,
            "output_tokens": 50 * len(turns),
            "prompt_tokens": 80 * len(turns),
            "cached_tokens": 20 * len(turns),
            **changes,
        }

    def _turn(self, agent: int, round_: int, gold: str, accuracy: float) -> dict[str, Any]:
        right = self.rng.random() < accuracy
        answer = gold if right else str(self.rng.randint(100, 120))
        said = words(self.rng, self.vocabulary, self.letters)
        return {
            "agent": agent,
            "role": "agent",
            "round": round_,
            "messages": [],
            "text": f"{said}\nThe answer is {answer}.",
            "answer": answer,
            "verdict": "correct" if right else "incorrect",
            "prompt_tokens": 80,
            "cached_tokens": 20,
            "output_tokens": 50,
            "finish_reason": "stop",
            "mean_logprob": -0.5,
            "latency_s": 0.1,
        }

    def _vote(self, round_: int, turns: list[dict[str, Any]]) -> dict[str, Any]:
        of = [turn for turn in turns if turn["round"] == round_]
        answers = [turn["answer"] for turn in of]
        lead = max(answers, key=answers.count)
        verdict = next(turn["verdict"] for turn in of if turn["answer"] == lead)
        return {
            "round": round_,
            "answer": lead,
            "count": answers.count(lead),
            "agents": len(of),
            "verdict": verdict,
        }

    def answers(self, questions: Sequence[dict[str, Any]], arm: str, config: Config) -> Iterator:
        """All rows of an arm: answers, second turns, changed questions, latency."""
        for number, question in enumerate(questions):
            yield self.row(question, arm)
            if arm in ("single", "student"):
                yield self.row(question, f"{arm}_check")
            if number < CHANGED:
                changed = question | {"question": f"{question['question']} By the way, it rains."}
                for cell in config.evaluate.changes(arm):
                    yield self.row(changed, arm, kind=row_kind(*cell))
            if number < LATENCIES:
                yield self.row(question, arm, kind="latency")


def write_rows(rows: Iterator[dict[str, Any]], folder: Path) -> None:
    """Parquet files of ROWS rows."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting: list[dict[str, Any]] = []
    number = 0
    for row in rows:
        waiting.append(row)
        if len(waiting) == ROWS:
            _write(waiting, folder / f"{number:05}.parquet")
            waiting, number = [], number + 1
    if waiting:
        _write(waiting, folder / f"{number:05}.parquet")


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
    pq.write_table(table, path, compression="zstd")


def synthetic_run(path: str, questions: int, letters: int, seed: int = 17) -> RunFolder:
    """A run folder that was evaluated on so many made-up questions."""
    folder = RunFolder(path)
    robust = f"evaluate.robustness.questions={min(questions, CHANGED)}"
    kinds = "evaluate.robustness.kinds={typos: [0.1, 0.3], irrelevant: [1]}"
    config = parse_config({}, [f"output={folder.uri}", "name=synthetic", robust, kinds], "report")
    folder.open(config, "synthetic")
    folder.finish_stage("questions", {"train": questions, "eval": questions, "leaks": 0})
    work = {"rows": questions, "failed": 0, "seconds": 600.0, "actor_seconds": 600.0, "attempts": 1}
    tokens = {"output_tokens": 500 * questions, "prompt_tokens": 800 * questions}
    folder.finish_stage("generate", {**work, **tokens, "cached_tokens": 0})
    record = open_record(folder, config, config.distill.type, None)
    trained = {"steps": 100, "last_loss": 0.1, "seconds": 60.0}
    record["stages"] = {"dataset": {"kept": questions, "seconds": 1.0}, "train": trained}
    folder.write_json(record, "students", f"{record['name']}.json")
    maker = Maker(letters, seed)
    asked = [maker.question(number) for number in range(questions)]
    Path(folder.path("questions")).mkdir(exist_ok=True)
    table = pa.Table.from_pylist(asked, schema=QUESTION_SCHEMA)
    pq.write_table(table, folder.path("questions", "eval.parquet"))
    for arm in ARMS:
        of = "student" if arm == "student" else "base"
        write_rows(maker.answers(asked, arm, config), Path(folder.path(TRANSCRIPTS, of, arm)))
    folder.write_json(_summary(folder, config, questions), "eval", "summary.json")
    return folder


def _summary(folder: RunFolder, config: Config, questions: int) -> dict[str, Any]:
    """As evaluation.answer makes it."""
    stored = [trace_dataset(folder, f"{TRANSCRIPTS}/{name}") for name in ("base", "student")]
    probed = probes(light_rows(stored, PROBE_COLUMNS), config.evaluate)
    summary = summarize(
        stored, config.gates, train_traces=questions, seeds=[17], flips=probed.flips("student")
    )
    quality = step_quality(light_rows(stored, QUALITY_COLUMNS))
    for arm, figures in summary["arms"].items():
        figures |= {"second_turn": probed.second_turn(arm), "steps": quality.get(arm)}
    return {**summary, "robustness": probed.robustness(), "ood": probed.ood()}


def chromium() -> str | None:
    """The browser, if one is installed: the system's, or playwright's own."""
    from playwright.sync_api import sync_playwright

    if found := next((path for name in CHROMIUM if (path := shutil.which(name))), None):
        return found
    with sync_playwright() as installed:
        own = installed.chromium.executable_path
    return own if Path(own).exists() else None


def open_ms(page: str, browser: str) -> float:
    """From the start of the navigation until the list of questions can be used."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as found:
        opened = found.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = opened.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(f"file://{page}")
        tab.wait_for_selector("html[data-ready]", timeout=60_000)
        measured = float(tab.evaluate("document.documentElement.dataset.ready"))
        opened.close()
    return measured


def measure(folder: RunFolder) -> tuple[Written, float]:
    """The report and the seconds it took to write it."""
    started = time.monotonic()
    written = write_reports([folder], Asked(), Output())
    return written, time.monotonic() - started


def main() -> None:
    """Make, write, open, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--letters", type=int, default=300, help="of a turn")
    parser.add_argument("--out", help="folder to keep; by default a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="agentark-bench-") as temporary:
        say(f"making {args.questions:,} questions")
        folder = synthetic_run(args.out or f"{temporary}/run", args.questions, args.letters)
        stored = folder.size(TRANSCRIPTS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        say(f"writing the report of {stored / 1e6:,.0f} MB of transcripts")
        written, seconds = measure(folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        mb = written.sizes[Format.HTML] / 1e6
        ratios = {"size": LIMIT_MB / mb}
        details: dict[str, Any] = {
            "questions": args.questions,
            "letters_a_turn": args.letters,
            "transcripts_mb": round(stored / 1e6, 1),
            "report_mb": round(mb, 2),
            "listed": written.listed,
            "with_transcripts": written.worded,
            "write_s": round(seconds, 1),
            "memory_mb": {"before": before // 1_000, "peak": peak // 1_000},
        }
        if (browser := chromium()) is None:
            say("no Chromium: the page is not opened")
        else:
            ms = [open_ms(written.paths[Format.HTML], browser) for _ in range(3)]
            details["open_ms"] = ms
            ratios["open"] = LIMIT_MS / sorted(ms)[1]
        finish("report", ratios, details)


if __name__ == "__main__":
    sys.exit(main())
