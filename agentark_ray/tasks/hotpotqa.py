"""HotpotQA (Yang et al., 1809.09600): `question`, `answer`, and `context`, paragraphs with titles.

Both the authors' JSON (context as [title, sentences] pairs) and the Parquet files of the Hugging
Face Hub. The answers of the test files are not published: held out are the validation files. With
`context: evidence` only the paragraphs that hold supporting facts are shown.
"""

from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.short import SHORT
from agentark_ray.tasks.files import TEST, VALIDATION, Item, file_task, rows, text_field
from agentark_ray.tasks.formats import Record
from agentark_ray.tasks.text import with_context
from agentark_ray.tasks.window import context_of


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    question = text_field(record, "question")
    paragraphs = _paragraphs(record["context"])
    if config.context == "evidence":
        titles = _evidence(record["supporting_facts"])
        paragraphs = [(title, text) for title, text in paragraphs if title in titles]
    context = context_of([f"{title}: {text}" for title, text in paragraphs], question, config)
    yield Item(text=with_context(context, question), gold=text_field(record, "answer"))


def _paragraphs(context: object) -> list[tuple[str, str]]:
    """(title, text) of every paragraph."""
    pairs = _pairs(context, "context", ("title", "sentences"))
    if not all(isinstance(sentences, list) for _, sentences in pairs):
        raise ValueError("field 'context' must have lists of sentences")
    # The Hub's sentences begin with a blank, the authors' mostly too.
    return [(title, " ".join(" ".join(sentences).split())) for title, sentences in pairs]


def _evidence(facts: object) -> set[str]:
    """The titles of the paragraphs that hold supporting facts."""
    return {title for title, _ in _pairs(facts, "supporting_facts", ("title", "sent_id"))}


def _pairs(value: object, name: str, keys: tuple[str, str]) -> list[tuple]:
    if isinstance(value, list) and all(isinstance(v, list) and len(v) == 2 for v in value):
        return [(first, second) for first, second in value]
    return [(row[keys[0]], row[keys[1]]) for row in rows(value, name)]


HOTPOTQA = file_task("hotpotqa", SHORT, parse, held_out=(VALIDATION, TEST))
