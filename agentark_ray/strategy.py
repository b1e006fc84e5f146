"""The `distill` section of a configuration: what becomes of traces, and which of them are good.

One class a strategy; `type` chooses. What the strategies do is in distill/.
"""

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from agentark_ray.section import OPERATIONAL, Section, chosen_by


class CurationConfig(Section):
    """Which right solutions are fit to be learned; every one that is not is counted, by reason."""

    min_words: Annotated[int, Field(ge=1)] = 1
    max_words: Annotated[int, Field(ge=1)] | None = None
    """Words of a solution; null for as many as fit into the training sequence."""
    max_repetition: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of a solution's runs of four words that were said before."""
    same_script: bool = True
    """Leave out solutions in a script the question does not use, e.g. Han for a Latin question."""
    true_equations: bool = True
    """Leave out right solutions that state a false equation of numbers, e.g. 5 - 2 = 4: they are
    right by luck."""
    near_duplicate: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Likeness (Jaccard) at which two solutions of a question are one; 1 for equal words only."""
    embeddings: Annotated[str, Field(min_length=1)] | None = None
    """A text-embedding model (Hugging Face id or folder) that says how different solutions are;
    null goes by their words."""
    near_question: Annotated[float, Field(ge=0.3, le=1)] | None = 0.8
    """Likeness at which two questions with the same numbers and the same right answer are one;
    null keeps all."""


class StrategyConfig(Section):
    """What all strategies have in common."""

    seq_len: Annotated[int, Field(ge=32)] = 1024
    """Tokens of a packed training sequence."""
    labels: Annotated[str, Field(min_length=1)] | None = None
    """The labels (`agentark traces label --name ...`) that say which answers are right; null for
    the verdicts in the traces."""
    curation: CurationConfig = CurationConfig()


class RsftConfig(StrategyConfig):
    """Reasoning-enhanced supervised fine-tuning: one verified answer a question."""

    type: Literal["rsft"] = "rsft"


class DaConfig(StrategyConfig):
    """Data augmentation: several different right solutions, and mistakes with their correction."""

    type: Literal["da"]
    trajectories: Annotated[int, Field(ge=1, le=64)] = 3
    """Right solutions of a question at most, as different as possible."""
    drafts: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the questions that also give rows with a draft, chosen by a hash of their ids; where
    there were many such rows a student solved less."""
    corrections: Annotated[int, Field(ge=0, le=64)] = 2
    """Rows of a question at most in which a wrong draft is corrected."""
    confirmations: Annotated[int, Field(ge=0, le=64)] = 1
    """Rows of a question at most in which a right draft is confirmed; without any the student
    learns to change whatever it is asked to check."""


class RftConfig(StrategyConfig):
    """The control: rejection sampling from a single agent, at the debate's token budget."""

    type: Literal["rft"]
    trajectories: Annotated[int, Field(ge=1, le=64)] = 3
    """Right solutions of a question at most, as different as possible."""
    match_budget: bool = True
    """Take more samples of single agents, up to the output tokens that the debates cost; without,
    there are only the debates' first answers."""

    @model_validator(mode="after")
    def _samples_have_no_labels(self) -> "RftConfig":
        if self.match_budget and self.labels is not None:
            raise ValueError(
                f"labels={self.labels!r} are of debates, further samples have none: set"
                " distill.match_budget=false, or leave labels out"
            )
        return self


class PrmConfig(Section):
    """PAD's process reward model: how steps are labelled, and how it learns."""

    step_labels: Literal["outcome", "divergence", "rollout"] = "rollout"
    """What says whether a solution is still right after a step: its verdict, where it leaves a
    right one, or completions from there (the dearest and best)."""
    rollouts: Annotated[int, Field(ge=1, le=256)] = 8
    """Completions from every step, with `rollout`."""
    rollout_above: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A step is good if more than this share of its completions is right."""
    solutions: Annotated[int, Field(ge=1, le=256)] = 8
    """Different solutions of a question at most, wrong and right ones in turn."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the questions with which the reward model is evaluated, not trained."""
    contrastive_weight: Annotated[float, Field(ge=0)] = 0.5
    """Of the supervised contrastive loss beside the cross-entropy."""
    language_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the next-token loss of good steps beside it: who knows what a right solution says sees
    where another one leaves it."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the contrastive loss."""
    projector_dim: Annotated[int, Field(ge=1)] = 128
    """Length of the vectors that are contrasted."""
    freeze_backbone: bool = False
    """Train the head and the projector only."""
    lr: Annotated[float, Field(gt=0, le=1)] | None = None
    """In the place of `train.lr`, which it is if null."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """In the place of `train.epochs`."""


class GrpoConfig(Section):
    """PAD's reinforcement learning: samples of the student, rewarded, make it better."""

    steps: Annotated[int, Field(ge=1)] = 100
    """Rounds of sampling, each followed by `updates` optimizer steps."""
    prompts: Annotated[int, Field(ge=1)] = 32
    """Questions a round, over all workers."""
    group: Annotated[int, Field(ge=2, le=256)] = 8
    """Samples of a question; each is compared with the others of its group."""
    updates: Annotated[int, Field(ge=1)] = 1
    """Optimizer steps a round; each learns from its share of the questions, once."""
    asynchronous: bool = False
    """Sample the next round while this one is learned from, with weights that are one round old."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """Output tokens of a sample; one that needs more is cut and counts as wrong."""
    lr: Annotated[float, Field(gt=0, le=1)] | None = None
    """In the place of `train.lr`; null for a tenth of it."""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far the probability of a token may move from that at the start of a round, as a share."""
    kl: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the divergence from the model that training started from."""
    importance_cap: Annotated[float, Field(ge=1)] = 2.0
    """A token counts for at most this much more because the sampler held it for less likely."""
    advantage: Literal["step", "token"] = "step"
    """What the mean reward of the other samples is spread over: their steps, or all tokens that
    a sample may have."""
    soft_min: Annotated[float, Field(gt=0)] = 0.1
    """Temperature of the weights of step rewards; near 0 the worst step alone counts."""
    verifiable_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the grader's verdict on the final answer: 1 if it is right."""
    process_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the process reward model's word on the steps."""
    overlong_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The last share of `max_tokens`, in which a growing penalty warns of the cut."""
    overlong_penalty: Annotated[float, Field(ge=0)] = 0.5
    """Taken from the reward of a sample that was cut."""
    actors: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    """Engines that sample, each on a CPU or on `gpus_per_engine` GPUs beside the workers."""

    @model_validator(mode="after")
    def _prompts_divide(self) -> "GrpoConfig":
        if self.prompts % self.updates:
            raise ValueError(f"prompts={self.prompts} must be a multiple of updates={self.updates}")
        return self


class PadConfig(StrategyConfig):
    """Process-aware distillation: a process reward model, then GRPO with its rewards."""

    type: Literal["pad"]
    prm: PrmConfig = PrmConfig()
    grpo: GrpoConfig = GrpoConfig()


STRATEGIES: dict[str, type[StrategyConfig]] = {
    "rsft": RsftConfig,
    "da": DaConfig,
    "rft": RftConfig,
    "pad": PadConfig,
}


DistillConfig = Annotated[
    Annotated[RsftConfig, Tag("rsft")]
    | Annotated[DaConfig, Tag("da")]
    | Annotated[RftConfig, Tag("rft")]
    | Annotated[PadConfig, Tag("pad")],
    chosen_by("type", STRATEGIES, default="rsft", error="strategy"),
]
