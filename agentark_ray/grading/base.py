"""What a grader is: how answers of one kind are asked for, extracted and compared."""

from collections.abc import Callable
from dataclasses import dataclass

from agentark_ray.types import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """The functions of one answer kind. `equal` is reflexive and symmetric."""

    name: str
    instruction: str  # ends every question, so that answers come in a form `extract` finds
    extract: Callable[[str], str | None]
    equal: Callable[[str, str], bool]

    def verdict(self, answer: str | None, gold: str) -> Verdict:
        """The verdict on an extracted answer; `gold` is an extracted answer too."""
        if answer is None:
            return Verdict.UNPARSABLE
        return Verdict.CORRECT if self.equal(answer, gold) else Verdict.INCORRECT
