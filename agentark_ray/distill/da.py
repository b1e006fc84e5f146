"""DA: trajectory-based data augmentation (AgentArk, 2602.03955, section 3), three kinds of rows.

- `solve`: the question -> a right solution; the best one and others as different as possible. They
  keep what a student is for: one turn, one answer.
- `correct`, from an agent that was wrong and then right: question, its wrong draft, "check your
  answer" -> a critique that names the first step that does not hold, and the right solution. The
  draft is in the prompt, so that nothing wrong is ever learned; a verifier's words are the critique
  where the debate had verifiers; the prompt is the one with which
  the evaluation asks for a second look.
- `confirm`, from an agent that was right and stayed so: the same prompt with its right draft -> no
  mistake, and the draft again. Without such rows a student learns that whoever is asked is wrong.

How to check a draft is learned from few questions; more take the place of what is learned about
solving. So only a share of the questions (`drafts`), by a hash of their ids, has rows with a draft.

The right solution of a `correct` row is the agent's own revision. If that is not fit, because it
speaks of other agents, which the student does not see, or is right by luck, it is the fit solution
of the question that is most like the draft.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentark_ray.debate.protocols.verify import accepts
from agentark_ray.debate_rows import PathClass, agent_paths, role
from agentark_ray.distill.asked import Asked, Material, Trace, solver_turns
from agentark_ray.distill.rows import Drop, RowKind, TrainingRow
from agentark_ray.distill.solutions import Likeness, Said, Solution, most_different, step_shingles
from agentark_ray.distill.step_labels import shared_steps
from agentark_ray.distill.steps import step_texts
from agentark_ray.similar import jaccard
from agentark_ray.strategy import CurationConfig, DaConfig
from agentark_ray.tasks.base import content_id, is_held_out
from agentark_ray.types import Role, Verdict

WRONG_STEP = "This step is wrong: {}"
WRONG_ANSWER = "The answer {} is wrong."
NO_MISTAKE = "I find no mistake."


def material(question: Asked) -> Material | Drop:
    """All that was said in debates that ended well, whatever their consensus."""
    held = question.held
    if not held:
        return Drop.FAILED
    return Material(said=[one for trace in held for one in solver_turns(trace)])


def rows(
    question: Asked, fit: Sequence[Solution], config: DaConfig, alike: Likeness
) -> list[TrainingRow]:
    """Solutions; then, of some questions, corrections and confirmations."""
    if not fit:
        return []
    chosen = most_different(alike([solution.text for solution in fit]), config.trajectories)
    solve = [_row(question, RowKind.SOLVE, None, fit[i].text) for i in chosen]
    if not is_held_out(content_id("drafts", question.question_id), config.drafts):
        return solve
    return [
        *solve,
        *corrections(question, fit, config, alike),
        *confirmations(question, config, alike),
    ]


def _row(question: Asked, kind: RowKind, draft: str | None, target: str) -> TrainingRow:
    messages = question.prompt if draft is None else question.check_prompt(draft)
    return TrainingRow(
        question_id=question.question_id, messages=messages, target=target, kind=kind
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A wrong draft and the same agent's next, right turn."""

    draft: Said
    revision: Said
    reviews: Sequence[Said]  # of verifiers who rejected the draft


def corrections(
    question: Asked, fit: Sequence[Solution], config: DaConfig, alike: Likeness
) -> list[TrainingRow]:
    """One row for each of the most different wrong drafts that were put right."""
    found = [
        correction
        for trace in question.held
        for correction in _corrected(trace)
        if correction.draft.fault(config.curation) is None
    ]
    drafts = alike([correction.draft.text for correction in found])
    return [
        _correction_row(question, found[i], fit, config.curation)
        for i in most_different(drafts, config.corrections)
    ]


def _corrected(trace: Trace) -> Iterator[Correction]:
    """The last turn from wrong to right of every agent that ended right."""
    said: dict[int, list[Said]] = {}
    for one in solver_turns(trace):
        said.setdefault(one.turn["agent"], []).append(one)
    paths = {found.agent: found.path for found in agent_paths(trace)}
    for agent, turns in said.items():
        if paths[agent] is not PathClass.CORRECTED:
            continue
        place = max(i for i, one in enumerate(turns) if not one.right)
        draft, revision = turns[place : place + 2]
        if draft.turn["verdict"] == Verdict.INCORRECT:
            yield Correction(
                draft=draft, revision=revision, reviews=_reviews(trace, draft.turn["round"])
            )


def _reviews(trace: Trace, round_: int) -> list[Said]:
    """What the verifiers said who rejected the solution of a round."""
    said = (
        Said(debate_id=trace["debate_id"], question=trace["question"], turn=turn)
        for turn in sorted(trace["turns"], key=lambda turn: turn["agent"])
        if turn["round"] == round_ and role(turn) == Role.VERIFIER
    )
    return [one for one in said if not accepts(one.text)]


def _correction_row(
    question: Asked, found: Correction, fit: Sequence[Solution], settings: CurationConfig
) -> TrainingRow:
    draft, revision = found.draft.text, found.revision.text
    if found.revision.flaw(settings) is not None:
        own = step_shingles(draft)
        revision = max(fit, key=lambda solution: jaccard(own, solution.shingles)).text
    reviews = [one.text for one in found.reviews if one.fault(settings) is None]
    critique = reviews[0] if reviews else critique_of(draft, revision, found.draft.turn["answer"])
    return _row(question, RowKind.CORRECT, draft, f"{critique}\n{revision}")


def critique_of(draft: str, revision: str, answer: str | None) -> str:
    """The first step of the draft that the revision does not share, if they share any before it.

    Two solutions that part at the first step may be on two ways; then only the answer is wrong.
    """
    steps = step_texts(draft)
    shared = shared_steps(steps, step_texts(revision))
    if 0 < shared < len(steps):
        return WRONG_STEP.format(steps[shared])
    return WRONG_ANSWER.format(answer)


def confirmations(question: Asked, config: DaConfig, alike: Likeness) -> list[TrainingRow]:
    """One row for each of the most different first solutions of agents that stayed right."""
    drafts = [
        turns[0]
        for trace in question.held
        for turns in _kept_right(trace)
        if turns[0].flaw(config.curation) is None
    ]
    drafts.sort(key=lambda one: (-one.turn["mean_logprob"], one.text))
    chosen = most_different(alike([one.text for one in drafts]), config.confirmations)
    return [
        _row(question, RowKind.CONFIRM, drafts[i].text, f"{NO_MISTAKE}\n{drafts[i].text}")
        for i in chosen
    ]


def _kept_right(trace: Trace) -> Iterator[list[Said]]:
    kept = {f.agent for f in agent_paths(trace) if f.path is PathClass.KEPT_RIGHT}
    for agent in sorted(kept):
        yield [one for one in solver_turns(trace) if one.turn["agent"] == agent]
