"""QASPER (Dasigi et al., 2105.03011): papers with questions, each answered by several annotators.

Both the authors' JSON (papers by id) and the Parquet files of the Hugging Face Hub. Every question
is one; the first annotator's answer is the gold one and the others are as right. An answer is, as
in the authors' evaluation, the extracted spans joined by commas, the free text, Yes or No, or
Unanswerable. With `context: evidence` only the paragraphs that annotators marked are shown, or the
abstract where they marked none. A paper's questions are held out together.
"""

from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.short import SHORT
from agentark_ray.tasks.files import Item, file_task, rows, text_field
from agentark_ray.tasks.formats import Record
from agentark_ray.tasks.text import with_context
from agentark_ray.tasks.window import context_of

UNANSWERABLE = "Unanswerable"
FLOAT = "FLOAT SELECTED:"  # before the caption of a marked figure or table


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The questions of a published paper."""
    title = text_field(record, "title")
    for qa in rows(record["qas"], "qas"):
        question = text_field(qa, "question")
        answers = [row["answer"] for row in rows(qa["answers"], "answers")]
        if not answers:
            raise ValueError(f"question {question!r} has no answer")
        paragraphs = _evidence(answers) if config.context == "evidence" else _paper(record)
        context = context_of(paragraphs or [_abstract(record)], question, config)
        gold, *others = dict.fromkeys(_answer(answer, question) for answer in answers)
        yield Item(
            text=with_context(f"{title}\n{context}", question),
            gold=gold,
            aliases=tuple(others),
            group=title,
        )


def _abstract(paper: Record) -> str:
    return paper["abstract"] or ""


def _paper(paper: Record) -> list[str]:
    """The abstract, and every section's name and paragraphs."""
    found = [_abstract(paper)]
    for section in rows(paper["full_text"], "full_text"):
        found += [section["section_name"] or "", *section["paragraphs"]]
    return found


def _evidence(answers: list[Record]) -> list[str]:
    """What any annotator marked, once."""
    marked = (text for answer in answers for text in answer["evidence"])
    return list(dict.fromkeys(text.removeprefix(FLOAT).strip() for text in marked))


def _answer(answer: Record, question: str) -> str:
    if answer["unanswerable"]:
        return UNANSWERABLE
    if spans := [span.strip() for span in answer["extractive_spans"] or [] if span.strip()]:
        return ", ".join(spans)
    if text := (answer["free_form_answer"] or "").strip():
        return text
    if answer["yes_no"] is None:
        raise ValueError(f"question {question!r} has an empty answer: {answer!r}")
    return "Yes" if answer["yes_no"] else "No"


QASPER = file_task("qasper", SHORT, parse)
