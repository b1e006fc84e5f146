"""What a grader is: how answers of one kind are asked for, extracted and compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentark_ray.types import Verdict


class GradingTimeout(Exception):
    """A comparison took longer than its deadline; nothing is known about the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """The functions of one answer kind. `equal` is reflexive and symmetric, and may time out.

    All are safe to call from any thread.
    """

    name: str
    instruction: str  # ends every question, so that answers come in a form `extract` finds
    extract: Callable[[str], str | None]
    equal: Callable[[str, str], bool]  # raises GradingTimeout
    slow: bool = False  # may take milliseconds and more: event loops call it in a thread
    # What is more than right or wrong, each 0 to 1, by name; for (answer, gold).
    scores: Callable[[str, str], Mapping[str, float]] | None = None  # raises GradingTimeout

    def verdict(
        self, answer: str | None, gold: str | None, aliases: Sequence[str] = ()
    ) -> Verdict | None:
        """The verdict on an extracted answer; gold and aliases are extracted answers too.

        None where there is no gold answer to compare with.
        """
        if gold is None:
            return None
        if answer is None:
            return Verdict.UNPARSABLE
        timed_out = False
        for right in (gold, *aliases):
            try:
                if self.equal(answer, right):
                    return Verdict.CORRECT
            except GradingTimeout:
                timed_out = True
        return Verdict.TIMEOUT if timed_out else Verdict.INCORRECT

    def measure(
        self, answer: str | None, gold: str | None, aliases: Sequence[str] = ()
    ) -> dict[str, float]:
        """The best of each score against the gold answer and its aliases.

        Empty where the grader has no scores or there is no gold answer; all 0 without an answer.

        Raises:
            GradingTimeout: as `scores`.
        """
        if self.scores is None or gold is None:
            return {}
        found = [self.scores(answer or "", right) for right in (gold, *aliases)]
        if answer is None:
            return dict.fromkeys(found[0], 0.0)
        return {name: max(score[name] for score in found) for name in found[0]}
