"""Step labels for the process reward model: is a solution still right at the end of this step?

- `outcome` (as in AgentArk's code): every step inherits the verdict of the solution.
- `divergence`: the steps before a wrong solution leaves its corrected version are good.
- `rollout` (Math-Shepherd, 2312.08935): a step is as good as the completions from it. Here are
  the prompts to complete and the aggregation; who completes them is the caller's affair.

S is the number of steps of a solution (steps.py), K of completions a step.
"""

import itertools
from collections.abc import Sequence

from agentark_ray.distill.steps import split_steps, step_texts
from agentark_ray.similar import jaccard, numbers, words
from agentark_ray.types import Message, Verdict

WITH_NUMBERS = 0.5  # likeness of the words of two steps with the same numbers
WITHOUT_NUMBERS = 0.8  # and of two without any
_NEGATIONS = frozenset(("not", "no", "never", "none", "cannot", "t"))  # t: of isn't


def outcome(text: str, right: bool) -> list[bool]:
    """A label a step: the solution's own."""
    return [right] * len(step_texts(text))


def divergence(wrong: str, corrected: str) -> list[bool]:
    """A label a step of `wrong`: good until it leaves `corrected`, bad from there on.

    A step is shared if `corrected` has one like it after the step that was shared last. If all
    are, what is wrong shows in the last one. Assumes that the corrected solution takes the same
    way; where it takes another one, good steps are called bad.
    """
    steps = step_texts(wrong)
    shared = min(shared_steps(steps, step_texts(corrected)), max(0, len(steps) - 1))
    return [True] * shared + [False] * (len(steps) - shared)


def shared_steps(steps: Sequence[str], others: Sequence[str]) -> int:
    """How many of the first `steps` occur among `others`, in this order."""
    read = [words(other) for other in others]
    place = 0
    for count, step in enumerate(steps):
        said = words(step)
        found = next((i for i in range(place, len(read)) if _alike(said, read[i])), None)
        if found is None:
            return count
        place = found + 1
    return len(steps)


def _alike(a: Sequence[str], b: Sequence[str]) -> bool:
    if a == b:
        return True
    least = WITH_NUMBERS if numbers(a) else WITHOUT_NUMBERS
    return _decisive(a) == _decisive(b) and jaccard(set(a), set(b)) >= least


def _decisive(said: Sequence[str]) -> tuple[str, ...]:
    """What turns a step into another one, however alike the rest is."""
    return (*numbers(said), *(word for word in said if word in _NEGATIONS))


def prefixes(messages: Sequence[Message], text: str) -> list[list[Message]]:
    """S - 1 prompts whose last assistant turn, up to the end of a step, is to be continued.

    The whole solution needs no completion: its own verdict is known. Engines continue a final
    assistant message (engine/base.py). Line ends that follow the step belong to what is continued,
    because tokenizers merge them with the step's last character.
    """
    return [[*messages, {"role": "assistant", "content": prefix}] for prefix in prefix_texts(text)]


def prefix_texts(text: str) -> list[str]:
    """The solution up to the end of each step but the last, with the line ends that follow."""
    steps = split_steps(text)
    gaps = [text[step.end : after.start] for step, after in itertools.pairwise(steps)]
    return [text[: step.end + gap.rfind("\n") + 1] for step, gap in zip(steps, gaps, strict=False)]


def rollout_shares(
    verdicts_S_K: Sequence[Sequence[str | None]], verdict: str | None
) -> list[float | None]:
    """The share of right completions after each step; for the last step the solution's own verdict.

    Args:
        verdicts_S_K: of the completions of `prefixes`, one list a step but the last.
        verdict: of the whole solution.

    A timeout or a missing verdict says nothing and is left out; where nothing is left, None.
    """
    return [_share(verdicts_K) for verdicts_K in (*verdicts_S_K, [verdict])]


def _share(verdicts_K: Sequence[str | None]) -> float | None:
    decided = [v for v in verdicts_K if v is not None and v != Verdict.TIMEOUT]
    return decided.count(Verdict.CORRECT) / len(decided) if decided else None


def rollout_labels(shares_S: Sequence[float | None], above: float = 0.0) -> list[bool | None]:
    """Hard labels: good where more than `above` of the completions were right.

    0 is Math-Shepherd's hard estimation: one right completion shows that the step can be.
    """
    return [None if share is None else share > above for share in shares_S]
