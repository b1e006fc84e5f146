"""Arithmetic word problems: an endless, seeded family that needs no download.

Every problem is one integer: its bits choose the name, the item, the first month and
number, and each step.
`problem(split, index, seed)` walks a block of integers that belongs to this index alone, through a
bijection, until one is a possible story of the asked split. So access is random, the same index
gives the same problem for ever, and no two indices of a split give the same text.

Train and eval are told apart by a hash of the numbers and operations (not of names), so an eval
problem is no renamed train problem. `ood` has more steps than training ever sees.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agentark_ray.config import TasksConfig
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.tasks.base import Shard, Task
from agentark_ray.tasks.story import step_truth
from agentark_ray.types import Question, Split

TASK = "arithmetic"
STEPS = {Split.TRAIN: (2, 3, 4, 5, 6), Split.EVAL: (2, 3, 4, 5, 6), Split.OOD: (7, 8)}
LARGEST = 40  # no value of a story exceeds it
EVAL_SHARE = 64  # of 256 hash values
SHARD_SIZE = 10_000  # questions a shard
DEFAULT_SIZES = {Split.TRAIN: 2_000, Split.EVAL: 500, Split.OOD: 500}

NAMES = (
    "Ada", "Ali", "Amy", "Ben", "Bob", "Cho", "Dan", "Eli", "Eva", "Fay", "Gus", "Hal", "Ida",
    "Ian", "Jan", "Jim", "Kai", "Kim", "Lea", "Leo", "Liv", "Max", "Mia", "Ned", "Nia", "Ola",
    "Pam", "Ray", "Rex", "Sam", "Tom", "Zoe",
)  # fmt: skip
ITEMS = (
    "apples", "balls", "beads", "bells", "books", "boxes", "cards", "coins", "cups", "dolls",
    "eggs", "figs", "flags", "hats", "jars", "keys", "kites", "lamps", "lemons", "marbles",
    "masks", "nuts", "pears", "pens", "pins", "plums", "rings", "shells", "stamps", "stones",
    "toys", "tickets",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can happen: how the story tells it and what it does to the value."""

    story: str
    op: str  # + - * /


KINDS = (
    Kind("buys {n} more", "+"),
    Kind("finds {n}", "+"),
    Kind("wins {n}", "+"),
    Kind("loses {n}", "-"),
    Kind("sells {n}", "-"),
    Kind("gives away {n}", "-"),
    Kind("makes it {n} times as many", "*"),
    Kind("shares them equally among {n} and keeps one part", "/"),
)
# Bits of a problem's integer. Every number in a story is 2..9; a story begins in January..August.
_NAME_BITS, _ITEM_BITS, _MONTH_BITS, _NUMBER_BITS, _KIND_BITS = 5, 5, 3, 3, 3
_HEAD_BITS = _NAME_BITS + _ITEM_BITS + _MONTH_BITS + _NUMBER_BITS
_STEP_BITS = _KIND_BITS + _NUMBER_BITS
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a story and the number in it."""

    kind: Kind
    amount: int

    def apply(self, value: int) -> int:
        """The value after this step. A division rounds down; in a story it is always exact."""
        match self.kind.op:
            case "+":
                return value + self.amount
            case "-":
                return value - self.amount
            case "*":
                return value * self.amount
            case _:
                return value // self.amount

    def possible(self, value: int) -> bool:
        """Whether a story may hold this step at this value: exact, positive, not too large."""
        if self.kind.op == "/" and value % self.amount:
            return False
        return 1 <= self.apply(value) <= LARGEST


@dataclass(frozen=True, slots=True)
class Problem:
    """A word problem: one step a month."""

    name: str
    item: str
    month: int  # of the first step, 0 is January
    first: int
    steps: tuple[Step, ...]

    @property
    def months(self) -> list[str]:
        return [MONTHS[(self.month + i) % len(MONTHS)] for i in range(len(self.steps))]

    @property
    def text(self) -> str:
        told = [
            f"In {month} {self.name} {step.kind.story.format(n=step.amount)}."
            for month, step in zip(self.months, self.steps, strict=True)
        ]
        has = f"{self.name} has {self.first} {self.item}."
        return " ".join([has, *told, f"How many {self.item} does {self.name} have now?"])

    @property
    def answer(self) -> int:
        return self.values()[-1]

    def values(self, slips: dict[int, int] | None = None) -> list[int]:
        """The first number and the value after every step.

        `slips[i]` is added to the result of step i and carried on: wrong but consistent.
        """
        found = [self.first]
        for i, step in enumerate(self.steps):
            found.append(step.apply(found[-1]) + (slips or {}).get(i, 0))
        return found

    def solution(self, slips: dict[int, int] | None = None) -> str:
        """One arithmetic step a line, then the boxed answer; see `values` for slips."""
        found = self.values(slips)
        lines = [
            f"In {month}: {found[i]} {step.kind.op} {step.amount} = {found[i + 1]}."
            for i, (month, step) in enumerate(zip(self.months, self.steps, strict=True))
        ]
        return "\n".join([*lines, f"\\boxed{{{found[-1]}}}"])


def problem(split: str, index: int, seed: int = 0) -> Problem:
    """Problem `index` of a split, the same for ever. Lengths take turns with the index.

    Raises ValueError for an unknown split and for an index beyond the split's capacity.
    """
    if index < 0:
        raise ValueError(f"arithmetic problem index is {index}, expected 0 or more")
    lengths = STEPS[Split(split)]
    rank, turn = divmod(index, len(lengths))
    n_steps = lengths[turn]
    bits, tries = _bits(n_steps), _tries(n_steps)
    if (rank + 1) * tries > 1 << bits:
        raise ValueError(f"arithmetic {split} has no problem {index}: its space is exhausted")
    keys = _keys(seed, n_steps)
    for code in range(rank * tries, (rank + 1) * tries):
        found = _decode(_permute(code, bits, keys), n_steps)
        if found and bucket(found) == split:
            return found
    raise AssertionError(f"no {split} problem in block {rank} of {tries} codes, seed {seed}")


def questions(split: str, start: int, stop: int, seed: int = 0) -> Iterator[Question]:
    """The questions of an index range, for example one shard."""
    for index in range(start, stop):
        found = problem(split, index, seed)
        yield Question(
            question_id=question_id(found.text),
            text=found.text,
            gold=str(found.answer),
            task=TASK,
            split=split,
            solution=found.solution(),
        )


def question_id(text: str) -> str:
    """A stable id of a problem's text."""
    return f"{TASK}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def draw(split: str, n_steps: int, rng: random.Random) -> Problem:
    """A random problem of a split with the asked number of steps; draws may repeat."""
    while True:
        found = _decode(rng.getrandbits(_bits(n_steps)), n_steps)
        if found and bucket(found) == split:
            return found


def bucket(found: Problem) -> Split:
    """The only split a problem may appear in, whatever its names and items."""
    if len(found.steps) > max(STEPS[Split.TRAIN]):
        return Split.OOD
    skeleton = f"{found.first}" + "".join(f"{s.kind.op}{s.amount}" for s in found.steps)
    first_byte = hashlib.blake2b(skeleton.encode(), digest_size=1).digest()[0]
    return Split.EVAL if first_byte < EVAL_SHARE else Split.TRAIN


def _bits(n_steps: int) -> int:
    return _HEAD_BITS + n_steps * _STEP_BITS


def _tries(n_steps: int) -> int:
    """Codes an index owns: so many that one of them is possible and of the right split."""
    return 1 << (6 + n_steps)


def _keys(seed: int, n_steps: int) -> list[int]:
    digest = hashlib.blake2b(f"{TASK} {seed} {n_steps}".encode(), digest_size=32).digest()
    return [int.from_bytes(digest[i : i + 8], "big") for i in range(0, 32, 8)]


def _permute(code: int, bits: int, keys: list[int]) -> int:
    """A bijection of the integers of `bits` bits: odd multiplications and xor-shifts."""
    mask = (1 << bits) - 1
    for multiplier, key in zip(_MULTIPLIERS, keys, strict=True):
        code = (code * multiplier + key) & mask
        code ^= code >> (bits // 2)
    return code


def _decode(code: int, n_steps: int) -> Problem | None:
    """The problem of an integer, or None if its story is impossible. Injective."""
    code, name = divmod(code, 1 << _NAME_BITS)
    code, item = divmod(code, 1 << _ITEM_BITS)
    code, month = divmod(code, 1 << _MONTH_BITS)
    code, first = divmod(code, 1 << _NUMBER_BITS)
    value, steps = first + 2, []
    for _ in range(n_steps):
        code, kind = divmod(code, 1 << _KIND_BITS)
        code, amount = divmod(code, 1 << _NUMBER_BITS)
        step = Step(KINDS[kind], amount + 2)
        if not step.possible(value):
            return None
        value = step.apply(value)
        steps.append(step)
    return Problem(NAMES[name], ITEMS[item], month, first + 2, tuple(steps))


def shards(config: TasksConfig, seed: int) -> Sequence[Shard]:
    """Index ranges for training and evaluation; a missing number means DEFAULT_SIZES."""
    sizes = {Split.TRAIN: config.train_questions, Split.EVAL: config.eval_questions}
    return _ranges(sizes, seed)


def ood_shards(config: TasksConfig, seed: int) -> Sequence[Shard]:
    """Index ranges of longer stories; a missing number means DEFAULT_SIZES."""
    return _ranges({Split.OOD: config.ood_questions}, seed)


def _ranges(sizes: Mapping[Split, int | None], seed: int) -> list[Shard]:
    return [
        Shard(split=split, start=start, stop=min(start + SHARD_SIZE, size), seed=seed)
        for split, size in ((split, sizes[split] or DEFAULT_SIZES[split]) for split in sizes)
        for start in range(0, size, SHARD_SIZE)
    ]


def read(shard: Shard) -> Iterator[Question]:
    """The questions of a shard."""
    return questions(shard.split, shard.start, shard.stop, shard.seed)


ARITHMETIC = Task(
    name=TASK,
    grader=NUMERIC,
    shards=shards,
    ood=ood_shards,
    read=read,
    disjoint=True,
    step_truth=step_truth,
)
