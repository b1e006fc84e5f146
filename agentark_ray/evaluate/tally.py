"""Count one arm's transcripts, row by row: what is kept a row is a few numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agentark_ray.debate_rows import PathClass, Row, second_looks
from agentark_ray.evaluate.metrics import ArmResult, SelfCorrection, latency
from agentark_ray.evaluate.statistics import clustered_wilson
from agentark_ray.round_tally import RoundTally
from agentark_ray.types import DebateStatus, Verdict

CHECK = "_check"  # the arm `single_check` is the self-correction probe of `single`
PEER = "_peer"  # `single_peer` reads a wrong peer


@dataclass(slots=True, kw_only=True)
class Tally:
    """What is known of one arm so far."""

    answers: dict[str, dict[int, bool]] = field(default_factory=dict)
    """Question id -> replica -> right: an arm may answer a question several times."""
    tokens: dict[str, int] = field(default_factory=dict)  # output tokens, by question id
    statuses: Counter[str] = field(default_factory=Counter)
    unparsable: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of prompt_tokens
    wall_ms: list[float] = field(default_factory=list)
    latency_failed: int = 0
    looks: Counter[PathClass] = field(default_factory=Counter)
    rounds: RoundTally = field(default_factory=RoundTally)

    def add_main(self, row: Row) -> None:
        """Count a row held under load.

        Raises:
            ValueError: the arm already has this row.
        """
        question, replica = row["question_id"], row["replica"]
        answers = self.answers.setdefault(question, {})
        if replica in answers:
            raise ValueError(
                f"transcripts: arm {row['arm']!r} answers question {question} twice as replica"
                f" {replica}, expected one main row a question and replica"
            )
        ok = row["status"] == DebateStatus.OK
        answers[replica] = ok and row["verdict"] == Verdict.CORRECT
        self.statuses[row["status"]] += 1
        self.unparsable += ok and row["verdict"] == Verdict.UNPARSABLE
        self.tokens[question] = self.tokens.get(question, 0) + row["output_tokens"]
        self.prompt_tokens += row["prompt_tokens"]
        self.cached_tokens += row["cached_tokens"]
        if ok:
            self.rounds.add(row["votes"] or ())

    def add_latency(self, row: Row) -> None:
        """Count a row held alone on an idle engine; a failed one has no latency."""
        if row["status"] == DebateStatus.OK:
            self.wall_ms.append(row["wall_s"] * 1_000)
        else:
            self.latency_failed += 1

    def add_looks(self, row: Row) -> None:
        """Count agents that spoke twice or more: the first answer against the last one."""
        self.looks.update(second_looks(row))

    @property
    def samples(self) -> int:
        """Answers to every question.

        Raises:
            ValueError: not as many to all.
        """
        numbers = {len(answers) for answers in self.answers.values()}
        if len(numbers) > 1:
            raise ValueError(
                f"transcripts: an arm answers questions {min(numbers)} to {max(numbers)} times,"
                " expected as many answers to each"
            )
        return numbers.pop()

    def shares(self) -> dict[str, float]:
        """Question id -> share of its answers that are right."""
        return {q: sum(answers.values()) / len(answers) for q, answers in self.answers.items()}

    def result(self) -> ArmResult:
        """The arm's figures; it must have main rows."""
        n = len(self.answers) * self.samples
        low, high = clustered_wilson(list(self.shares().values()), self.samples)
        return ArmResult(
            n=n,
            questions=len(self.answers),
            correct=sum(sum(answers.values()) for answers in self.answers.values()),
            failed=n - self.statuses[DebateStatus.OK],
            unparsable=self.unparsable,
            ci_low=low,
            ci_high=high,
            output_tokens_per_query=sum(self.tokens.values()) / n,
            prompt_tokens_per_query=self.prompt_tokens / n,
            cached_tokens_per_query=self.cached_tokens / n,
            latency=latency(self.wall_ms),
            self_correction=self_correction(self.looks),
        )


def tally(rows: Iterable[Row]) -> dict[str, Tally]:
    """Arm -> tally; a `_check` arm's rows are counted as second looks of the arm they probe."""
    arms: dict[str, Tally] = {}
    for row in rows:
        if row["kind"] not in ("main", "latency") or row["arm"].endswith(PEER):
            continue  # probes.py counts them
        arm = arms.setdefault(row["arm"].removesuffix(CHECK), Tally())
        if row["arm"].endswith(CHECK):
            arm.add_looks(row)
        elif row["kind"] == "latency":
            arm.add_latency(row)
        else:
            arm.add_main(row)
            arm.add_looks(row)
    return arms


def self_correction(looks: Mapping[PathClass, int]) -> SelfCorrection | None:
    """Sums over second looks; None if nobody looked twice, or nobody's answers were graded."""
    kept, fixed, broken, wrong = (
        looks.get(path, 0)
        for path in (
            PathClass.KEPT_RIGHT,
            PathClass.CORRECTED,
            PathClass.CORRUPTED,
            PathClass.STAYED_WRONG,
        )
    )
    if not kept + fixed + broken + wrong:
        return None
    return SelfCorrection(
        wrong_before=fixed + wrong, fixed=fixed, right_before=broken + kept, broken=broken
    )
