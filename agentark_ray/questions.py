"""The configuration of the questions: their task, files and splits, and what is refused."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from agentark_ray.section import Section

TaskName = Literal[
    "aqua",
    "arithmetic",
    "custom",
    "gsm8k",
    "hotpotqa",
    "math",
    "medmcqa",
    "metamathqa",
    "mmlu",
    "qasper",
    "qmsum",
    "truthfulqa",
]
GraderName = Literal["numeric", "math", "choice", "short", "summary"]
GENERATED = "arithmetic"  # needs no files

Count = Annotated[int, Field(ge=1)] | None


class ColumnsConfig(Section):
    """Where the records of a `custom` task hold what; `a.b` is field b of field a."""

    text: str = "question"
    """The question."""
    gold: str | None = "answer"
    """The right answer; a list is the right answer and its aliases. null: nothing is graded. With
    options: a letter, an index from 0, or the text of the right option."""
    aliases: str | None = None
    """Other right answers: a text or a list."""
    options: str | tuple[str, ...] | None = None
    """For the grader `choice`: a list, a mapping from letters, or several columns."""
    context: str | None = None
    """What to read before the question: a text or a list of paragraphs."""
    id: str | None = None
    """The id of a question; null for a hash of what agents read."""
    split: str | None = None
    """train, validation or test; null where files and folders say it."""
    group: str | None = None
    """Records of a group are held out together."""


class TasksConfig(Section):
    """Where the questions come from."""

    name: TaskName = "arithmetic"
    path: str | None = None
    """A file (.jsonl, .json, .csv, .tsv, .parquet, .arrow) or a folder with train and test files,
    or of Dataset.save_to_disk: local, s3://, gs:// or hf://datasets/OWNER/NAME; records are as the
    task publishes them."""
    eval_path: str | None = None
    """Held-out questions; without it the test or else validation files of `path`, and without any
    a share of `path` by question id."""
    ood_path: str | None = None
    """Questions of another distribution, for evaluation only."""
    ood_name: TaskName | None = None
    """Their task, if it is another one. `arithmetic` has longer stories than training sees."""
    eval_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    train_questions: Count = None
    """At most this many training questions; null for all. Of several files all take turns."""
    eval_questions: Count = None
    """At most this many held-out questions; null for all."""
    ood_questions: Count = None
    """At most this many questions of `ood_path`; null for all."""
    grader: GraderName | None = None
    """How answers to a `custom` task are read and compared; the other tasks have their own."""
    columns: ColumnsConfig = ColumnsConfig()
    """Where the records of a `custom` task hold what."""
    context: Literal["full", "evidence"] = "full"
    """What is read before a question about a document: all of it, or what annotators marked."""
    context_words: Annotated[int, Field(ge=20)] | None = None
    """Longer contexts become a window: the paragraphs (turns of a meeting) that share most with the
    question, in their order, with `[...]` for what is left out. null: contexts stay whole."""
    first_option: Literal[0, 1] | None = None
    """Which number is option A in MedMCQA's `cop`: 0 on the Hugging Face Hub, 1 in the authors'
    release. null: found from the numbers in the file."""
    leaks: Literal["fail", "drop", "allow"] = "fail"
    """What to do with training questions that are (nearly) evaluation questions: end the run, leave
    them out of training, or count them only."""

    @model_validator(mode="after")
    def _custom_has_a_grader(self) -> "TasksConfig":
        custom = "custom" in (self.name, self.ood_name)
        if custom and self.grader is None:
            raise ValueError("a custom task needs a grader: numeric, math, choice, short, summary")
        if not custom and (self.grader is not None or self.columns != ColumnsConfig()):
            raise ValueError(f"grader and columns are for the task custom, got name={self.name}")
        return self

    @model_validator(mode="after")
    def _ood_has_a_path(self) -> "TasksConfig":
        ood = self.ood_name or (self.name if self.ood_path else None)
        if ood == GENERATED and self.ood_path:
            raise ValueError(f"ood_path={self.ood_path}: the task {GENERATED} reads no files")
        if ood not in (None, GENERATED) and not self.ood_path:
            raise ValueError(f"ood_name={ood} needs an ood_path")
        return self
