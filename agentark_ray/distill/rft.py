"""RFT, the control: rejection sampling from a single agent (Yuan et al., 2308.01825).

A debate's first answers are samples of single agents: nobody has read anybody yet. Samples are
taken, those of the debate first and then those of other arms on the same question, as long as they
fit into the output tokens that the debate cost. What they leave unspent is on the data card:
then there were too few samples to match the debate's compute.
"""

from collections.abc import Sequence

from agentark_ray.debate_rows import role
from agentark_ray.distill.asked import Asked, Material, Sampling, Trace, solver_turns
from agentark_ray.distill.rows import Drop, TrainingRow
from agentark_ray.distill.solutions import Likeness, Said, Solution, most_different
from agentark_ray.strategy import RftConfig
from agentark_ray.types import Role

ALONE = (Role.AGENT, Role.AFFIRMATIVE, Role.SOLVER)  # whose first turn follows on the question


def material(question: Asked) -> Material | Drop:
    """The samples that the debates' budget pays for."""
    held = question.held
    if not held:
        return Drop.FAILED
    debates = [trace for trace in held if trace["arm"] == "debate"] or held
    budget = sum(trace["output_tokens"] for trace in debates)
    taken: list[Said] = []
    spent = 0
    for sample in (one for trace in held for one in samples(trace)):
        if spent + sample.turn["output_tokens"] > budget:
            break
        taken.append(sample)
        spent += sample.turn["output_tokens"]
    return Material(said=taken, sampling=Sampling(budget=budget, spent=spent, samples=len(taken)))


def samples(trace: Trace) -> list[Said]:
    """What agents answered who knew only the question."""
    return [one for one in solver_turns(trace) if not one.turn["round"] and role(one.turn) in ALONE]


def rows(
    question: Asked, fit: Sequence[Solution], config: RftConfig, alike: Likeness
) -> list[TrainingRow]:
    """The best solution and others that are as different as possible."""
    chosen = most_different(alike([solution.text for solution in fit]), config.trajectories)
    return [
        TrainingRow(question_id=question.question_id, messages=question.prompt, target=fit[i].text)
        for i in chosen
    ]
