"""Do lm-evaluation-harness and this project grade the same outputs alike?

The gold solutions of GSM8K are written again in the forms in which models end their answers, half
of them with a wrong number. Each text goes through the filters `flexible-extract` and
`strict-match` and the metric of lm-eval's task gsm8k, as its YAML file has them, and through our
grader. The forms that end in `\\boxed{N}` (our instruction) or `#### N` (GSM8K's own) and nothing
else are those that a task asks for. With --run, what models said in the transcripts of a run folder
is graded, too.

Ratios: `asked_extracted` is the share of outputs in an asked form of which both extract the same
number (flexible-extract); `asked_graded` that of equal verdicts; `all_extracted` and `all_graded`
the same for all forms; `run_extracted` and `run_graded` for the transcripts. The details have every
form with the share that each side grades rightly, which is known here, and examples of differences
with why. Progress goes to stderr; the last line of stdout is one JSON object.

    python -m benchmarks.lm_eval_agreement --data gsm8k/test.jsonl
    python -m benchmarks.lm_eval_agreement --data gsm8k/test.jsonl --run runs/demo
"""

import argparse
import importlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentark_ray.config import TasksConfig
from agentark_ray.debate_rows import light_rows, turn_leaves
from agentark_ray.evaluate.step_quality import is_main, last_solutions
from agentark_ray.grading.numeric import NUMERIC, parse
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import TRANSCRIPTS
from agentark_ray.tasks import gsm8k
from agentark_ray.traces.read import trace_dataset
from agentark_ray.types import Verdict
from benchmarks.common import finish, need, say

PACKAGES = ("lm_eval", "sacrebleu")
FILTERS = ("flexible-extract", "strict-match")
INVALID = "[invalid]"  # what a filter of lm-eval says that finds nothing
ASKED = re.compile(r"(\\boxed\{([^{}]|\{[^{}]*\})*\}|#### \S+)\Z")
EXAMPLES = 2  # of differences, a form
SHOWN = 70  # characters of an output's end
COLUMNS = (
    *("arm", "kind", "status", "gold"),
    *turn_leaves("agent", "role", "round", "text"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a solution ends; `{s}` is the reasoning, `{n}` the number, `{c}` it with commas."""

    end: str
    why: str = ""  # the two sides differ


FORMS: Mapping[str, Form] = {
    "hashes": Form(end="{s}\n#### {n}"),
    "hashes, commas": Form(end="{s}\n#### {c}"),
    "hashes, currency": Form(end="{s}\n#### ${n}"),
    "boxed": Form(end="{s}\n\\boxed{{{n}}}"),
    "boxed, commas": Form(end="{s}\nThe answer is \\boxed{{{c}}}"),
    "boxed, currency": Form(end="{s}\nSo the answer is \\boxed{{\\${n}}}"),
    "boxed, decimals": Form(
        end="{s}\n\\boxed{{{n}.00}}", why="lm-eval compares texts: 18.00 is not 18"
    ),
    "boxed in mathematics": Form(end="{s}\nThe answer is $\\boxed{{{n}}}$"),
    "boxed in mathematics, full stop": Form(
        end="{s}\nThe answer is $\\boxed{{{n}}}$.",
        why="flexible-extract takes the last of [$0-9.,]{2,}, here '$.'",
    ),
    "boxed, display": Form(end="{s}\n\\[\\boxed{{{n}}}\\]"),
    "boxed, unit": Form(end="{s}\n\\boxed{{{n}\\text{{ dollars}}}}"),
    "boxed, then words": Form(
        end="{s}\n\\boxed{{{n}}}\n\nI checked it in 2 ways, and 3 times.",
        why="flexible-extract takes the last number, ours what is boxed",
    ),
    "answer is": Form(end="{s}\nThe answer is {n}."),
    "answer is, commas": Form(end="{s} The answer is {c}."),
    "answer is, currency": Form(end="{s} Therefore, the final answer is ${n}."),
    "answer is, unit": Form(end="{s} So the answer is {n} dollars."),
    "answer is, cents": Form(
        end="{s}\nThe answer is ${n}.00.", why="lm-eval compares texts: 18.00 is not 18"
    ),
    "answer is, then a question": Form(
        end="{s}\nThe answer is {n}.\n\nQuestion: Tom has 5 apples and buys 7. How many has he?",
        why="flexible-extract takes the last number; lm-eval stops a model at 'Question:'",
    ),
    "bold": Form(end="{s}\n\n**Answer: {n}**"),
    "bold, unit": Form(end="{s}\n\n**{n} dollars**"),
    "last sentence": Form(end="{s} So it is {n} in total."),
    "hashes, corrected": Form(end="{s}\n#### {w}\nWait, that is wrong.\n#### {n}"),
    "hashes, then words": Form(
        end="{s}\n#### {n}\n\nNote that 12 months make 1 year.",
        why="flexible-extract takes the last number, ours what the mark says",
    ),
    "cut off": Form(
        end="{cut}", why="no answer was given; what the last number is depends on where"
    ),
    "none": Form(end="I am not sure how to do this."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model said, or could have said."""

    form: str
    text: str
    gold: str
    right: bool | None  # None: not known


@dataclass(slots=True, kw_only=True)
class Counts:
    """Of the outputs of a form."""

    outputs: int = 0
    extracted: int = 0  # to the same number by both
    graded: int = 0  # alike by both
    graded_strict: int = 0  # alike by strict-match and ours
    known: int = 0  # outputs of which it is known whether they are right
    ours_right: int = 0
    flexible_right: int = 0
    strict_right: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)


def published(path: Path) -> Iterator[tuple[str, str]]:
    """Reasoning and gold answer of every record."""
    for line in path.read_text(encoding="utf-8").splitlines():
        (item,) = gsm8k.parse(json.loads(line), TasksConfig())
        if item.solution and item.gold:
            yield item.solution, item.gold


def rewritten(solution: str, gold: str, rng: random.Random) -> Iterator[Output]:
    """A solution in every form, with the right number or, as often, another one."""
    for name, form in FORMS.items():
        right = rng.random() < 0.5
        wrong = another(gold, rng)
        number = gold if right else wrong
        with_commas = f"{int(number):,}" if number.lstrip("-").isdigit() else number
        cut = solution[: rng.randint(len(solution) // 3, len(solution) * 2 // 3)]
        other = another(number, rng)
        said = form.end.format(s=solution, n=number, c=with_commas, w=other, cut=cut)
        known = None if name in ("cut off", "none") else right
        yield Output(form=name, text=said, gold=gold, right=known)


def another(number: str, rng: random.Random) -> str:
    """Another number of a kind that slips give."""
    value = int(float(number))
    slips = (value + rng.randint(1, 9), value * 10, value - rng.randint(1, 9), value * 2 + 1)
    return str(rng.choice([slip for slip in slips if slip != value]))


def transcripts(folder: RunFolder) -> Iterator[Output]:
    """The last words of every solver in the transcripts of a run, by arm."""
    names = [info.name for info in Path(folder.inner(TRANSCRIPTS)).iterdir() if info.is_dir()]
    stored = [
        trace_dataset(folder, f"{TRANSCRIPTS}/{name}")
        for name in sorted(names)
        if not name.endswith(("_checkpoint", "_earlier"))
    ]
    for row in filter(is_main, light_rows(stored, COLUMNS)):
        for text in last_solutions(row):
            if row["gold"] is not None:
                yield Output(form=f"run: {row['arm']}", text=text, gold=row["gold"], right=None)


class Harness:
    """lm-eval's task gsm8k: its filters and its metric."""

    def __init__(self) -> None:
        package = importlib.import_module("lm_eval")
        yaml = importlib.import_module("yaml")
        filters: Any = importlib.import_module("lm_eval.filters")
        self._instance: Any = importlib.import_module("lm_eval.api.instance").Instance
        self._match: Any = importlib.import_module("lm_eval.api.metrics").exact_match_hf_evaluate
        file = Path(str(package.__file__)).parent / "tasks" / "gsm8k" / "gsm8k.yaml"
        task = yaml.safe_load(file.read_text())
        self.version = f"{package.__version__}, task version {task['metadata']['version']}"
        self._filters = [
            filters.build_filter_ensemble(one["name"], [_step(step) for step in one["filter"]])
            for one in task["filter_list"]
        ]
        (metric,) = task["metric_list"]
        self._options = {
            name: metric[name]
            for name in ("regexes_to_ignore", "ignore_case", "ignore_punctuation")
        }

    def grade(self, text: str, gold: str) -> dict[str, tuple[str, bool]]:
        """Filter -> what it extracts, and whether that is right."""
        asked = self._instance(
            request_type="generate_until", doc={}, arguments=("",), idx=0, resps=[text]
        )
        for ensemble in self._filters:
            ensemble.apply([asked])
        return {
            name: (found, self._right(found, f"#### {gold}"))
            for name, found in asked.filtered_resps.items()
        }

    def _right(self, found: str, target: str) -> bool:
        """`target` as the data set has it: the metric cuts what is before the number."""
        score = self._match(predictions=[found], references=[target], **self._options)
        return bool(score["exact_match"])


def _step(step: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    options = {name: value for name, value in step.items() if name != "function"}
    return step["function"], options or None


def compare(harness: Harness, output: Output, counts: Counts) -> None:
    """Grade one output by both."""
    theirs = harness.grade(output.text, output.gold)
    (flexible, flexible_right), (_, strict_right) = (theirs[name] for name in FILTERS)
    ours = NUMERIC.extract(output.text)
    ours_right = NUMERIC.verdict(ours, output.gold) == Verdict.CORRECT
    counts.outputs += 1
    same = same_number(flexible, ours)
    counts.extracted += same
    counts.graded += flexible_right == ours_right
    counts.graded_strict += strict_right == ours_right
    if output.right is not None:
        counts.known += 1
        counts.ours_right += ours_right == output.right
        counts.flexible_right += flexible_right == output.right
        counts.strict_right += strict_right == output.right
    if flexible_right != ours_right and len(counts.differences) < EXAMPLES:
        end, gold = output.text[-SHOWN:], output.gold
        counts.differences.append({"end": end, "gold": gold, "lm_eval": flexible, "ours": ours})


def same_number(flexible: str, ours: str | None) -> bool:
    """Whether both extracted the same number, or neither any."""
    text = re.sub(r"[,$]", "", flexible).rstrip(".")
    theirs = parse(text) if flexible != INVALID else None
    if theirs is None or ours is None:
        return theirs is None and ours is None
    return NUMERIC.equal(text, ours)


def summed(found: Mapping[str, Counts], forms: Sequence[str]) -> dict[str, float]:
    """Shares of all outputs in these forms."""
    some = [found[name] for name in forms]
    total = sum(one.outputs for one in some)
    return {
        name: sum(getattr(one, name) for one in some) / total
        for name in ("extracted", "graded", "graded_strict")
    }


def ratios(found: Mapping[str, Counts]) -> dict[str, float]:
    """Agreement of extraction and of verdicts: in asked forms, in all, and in a run's answers."""
    made = [name for name in found if name in FORMS]
    groups = {
        "asked": [name for name in made if is_asked(name)],
        "all": made,
        "run": [name for name in found if name not in FORMS],
    }
    sums = {group: summed(found, forms) for group, forms in groups.items() if forms}
    return {
        f"{group}_{part}": of[part]
        for group, of in sums.items()
        for part in ("extracted", "graded")
    }


def shares(name: str, counts: Counts) -> dict[str, Any]:
    """A form in the details."""
    parts = ("extracted", "graded", "graded_strict")
    known = ("ours_right", "flexible_right", "strict_right") if counts.known else ()
    return {
        "asked": is_asked(name),
        "outputs": counts.outputs,
        **{part: round(getattr(counts, part) / counts.outputs, 4) for part in parts},
        **{part: round(getattr(counts, part) / counts.known, 4) for part in known},
        "why": FORMS[name].why if name in FORMS else "",
        "differences": counts.differences,
    }


def is_asked(name: str) -> bool:
    """Whether a form ends in what a task asks for, and nothing else."""
    said = FORMS[name].end.format(s="", n=18, c=18, w=17, cut="") if name in FORMS else ""
    return bool(ASKED.search(said))


def grade_all(outputs: Iterator[Output], progress: Callable[[int], None]) -> dict[str, Counts]:
    """Form -> counts."""
    harness, found = Harness(), dict[str, Counts]()
    for number, output in enumerate(outputs, start=1):
        compare(harness, output, found.setdefault(output.form, Counts()))
        progress(number)
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="JSON lines as GSM8K publishes")
    parser.add_argument("--run", help="a run folder on a local disk, with transcripts")
    parser.add_argument("--questions", type=int, default=2_000, help="at most so many")
    parser.add_argument("--seed", type=int, default=17)
    args = parser.parse_args()
    need(*PACKAGES)
    rng = random.Random(args.seed)
    solutions = itertools.islice(published(args.data), args.questions)
    made = (output for one in solutions for output in rewritten(*one, rng))
    said = transcripts(RunFolder(args.run)) if args.run else iter(())
    found = grade_all(
        itertools.chain(made, said), lambda n: say(f"{n:,} graded") if n % 5_000 == 0 else None
    )
    finish(
        "lm_eval_agreement",
        ratios(found),
        {
            "lm_eval": Harness().version,
            "seed": args.seed,
            "outputs": sum(one.outputs for one in found.values()),
            "forms": {name: shares(name, counts) for name, counts in found.items()},
        },
    )


if __name__ == "__main__":
    main()
