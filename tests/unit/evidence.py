"""What gates judge, made by hand: arms whose ratios are round numbers."""

from typing import Any

from agentark_ray.evaluate.decision import Outcome, decide
from agentark_ray.evaluate.evidence import Evidence, Flips
from agentark_ray.evaluate.gate import Gate
from agentark_ray.evaluate.gates import check_gates
from agentark_ray.evaluate.metrics import ArmResult, latency
from agentark_ray.evaluate.paired import Pair
from agentark_ray.evaluate.statistics import Mcnemar, mcnemar_p, wilson
from agentark_ray.gates_config import DecideBy, GatesConfig

GATES = GatesConfig(decide_by=DecideBy.POINT)
SURE = GatesConfig()
BETTER = Mcnemar(pairs=100, only_first=2, only_second=30, p=mcnemar_p(2, 30))
EQUAL = Mcnemar(pairs=100, only_first=10, only_second=11, p=mcnemar_p(10, 11))
FAST = tuple([20.0] * 370 + [60.0] * 24 + [90.0] * 6)
FIRM = (Flips(kind="typos", strength=0.1, right=500, flipped=0),)


def arm(correct: int, n: int = 100, tokens: float = 100.0, **changes: Any) -> ArmResult:
    """An arm that is right `correct` times."""
    low, high = wilson(correct, n)
    values: dict[str, Any] = {
        "n": n,
        "questions": n,
        "correct": correct,
        "failed": 0,
        "unparsable": 0,
        "ci_low": low,
        "ci_high": high,
        "output_tokens_per_query": tokens,
        "prompt_tokens_per_query": 50.0,
        "cached_tokens_per_query": 0.0,
        "latency": latency(FAST),
        "self_correction": None,
    }
    return ArmResult(**(values | changes))


def nested(student: int, debate: int, n: int) -> Pair:
    """The worse arm is right only where the better one is."""
    both = min(student, debate)
    return Pair(n=n, both=both, only_first=student - both, only_second=debate - both)


def evidence(student: ArmResult, debate: ArmResult | None = None, **changes: Any) -> Evidence:
    """What is known of a student; the debate is right on 80 of 100, for ten times the tokens."""
    debate = debate or arm(80, tokens=1000.0)
    n = min(student.n, debate.n)
    values: dict[str, Any] = {
        "arms": {"single": arm(50), "debate": debate, "student": student},
        "mcnemar": {"single": BETTER, "student": EQUAL},
        "train_traces": 1000,
        "pair": nested(student.correct, debate.correct, n),
        "tokens": (
            [student.output_tokens_per_query] * n,
            [debate.output_tokens_per_query] * n,
        ),
        "wall_ms": FAST if student.latency else (),
        "flips": FIRM,
    }
    return Evidence(**(values | changes))


def timed(*wall_ms: float) -> Evidence:
    """A student with these latencies."""
    return evidence(arm(80, latency=latency(wall_ms)), wall_ms=wall_ms)


def judge(found: Evidence, gates: GatesConfig = GATES) -> Outcome:
    """The decision."""
    return decide(gates, found)


def gate(name: str, found: Evidence, gates: GatesConfig = GATES) -> Gate:
    """The gate of that name."""
    return next(g for g in check_gates(gates, found) if g.name == name)
