"""QMSum (Zhong et al., 2104.05938): summaries of meetings by query, general and specific.

A record is a meeting, and every query of it a question. With `context: evidence` a specific query
shows only the turns that answer it; a general one always shows the whole meeting. A meeting's
queries are held out together.
"""

from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.summary import SUMMARY
from agentark_ray.tasks.base import content_id
from agentark_ray.tasks.files import Item, file_task, rows, text_field
from agentark_ray.tasks.formats import Record
from agentark_ray.tasks.text import with_context
from agentark_ray.tasks.window import context_of


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The questions of a published meeting."""
    turns = [
        f"{text_field(turn, 'speaker')}: {turn['content'].strip()}"
        for turn in rows(record["meeting_transcripts"], "meeting_transcripts")
    ]
    meeting = content_id("qmsum", "\n".join(turns))
    general = rows(record["general_query_list"], "general_query_list")
    specific = rows(record["specific_query_list"], "specific_query_list")
    for query in (*general, *specific):
        question = text_field(query, "query")
        shown = _relevant(query, turns) if config.context == "evidence" else turns
        context = context_of(shown, question, config)
        gold = text_field(query, "answer")
        yield Item(text=with_context(context, question), gold=gold, group=meeting)


def _relevant(query: Record, turns: list[str]) -> list[str]:
    """The marked turns, all where none are; spans are [first, last] turn numbers from 0."""
    if "relevant_text_span" not in query:
        return turns
    kept: set[int] = set()
    for first, last in query["relevant_text_span"]:
        if not 0 <= int(first) <= int(last) < len(turns):
            raise ValueError(
                f"field 'relevant_text_span': [{first}, {last}] is no span of {len(turns)} turns"
            )
        kept.update(range(int(first), int(last) + 1))
    return [turn for i, turn in enumerate(turns) if i in kept]


QMSUM = file_task("qmsum", SUMMARY, parse)
