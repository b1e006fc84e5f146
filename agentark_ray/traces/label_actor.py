"""The Ray Data actor that lets a judge model read stored debates, many in flight."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import ray

from agentark_ray.config import Config
from agentark_ray.engine.base import EngineDead
from agentark_ray.label_rows import LABEL_SCHEMA, PARTS, part_batches, part_file
from agentark_ray.traces.asking import AskingActor
from agentark_ray.traces.deaths import Past
from agentark_ray.traces.label import COLUMNS
from agentark_ray.traces.label_job import COUNTS_SCHEMA, Work, label_row, write_part
from agentark_ray.traces.label_judge import (
    Judge,
    Judgement,
    judge_text,
    judged_label,
    turns_to_judge,
    words,
)
from agentark_ray.traces.pool import asking_pool
from agentark_ray.traces.storage import patiently
from agentark_ray.types import Completion, Message, ModelRef, Role, Speaker

Row = Mapping[str, Any]


def judge_parts(work: Work, judge: Judge, config: Config, progress: Any) -> None:
    """Judge all parts that have no file yet.

    Raises:
        ConfigError, ray.exceptions.RayTaskError, ray.exceptions.RayActorError: as generate_traces.
    """
    pool = asking_pool(config, [judge.model])
    done = (
        ray.data.read_parquet(work.store.path(*PARTS))
        .repartition(target_num_rows_per_block=1)
        .map_batches(JudgeActor, fn_constructor_args=(config, work, judge, progress), **pool)
    )
    for _ in done.iter_batches(batch_size=None, batch_format="pyarrow"):
        pass  # the labels are in their files


class JudgeActor(AskingActor):
    """Writes the label files of parts (PART_SCHEMA)."""

    def __init__(self, config: Config, work: Work, judge: Judge, progress: Any) -> None:
        super().__init__(config, [judge.model], progress)
        self._work = work
        self._judge = judge
        speaker = Speaker(role=Role.JUDGE, model=judge.model, persona="", sampling=judge.sampling)
        self._generate = self._engines.generate([speaker] * judge.votes, judge.model.name)

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Label every debate of some parts.

        Raises:
            TooManyFailures, EnginesKeepDying: the job as a whole is failing.
        """
        counts = [await self._part(part) for part in block.to_pylist()]
        return pa.Table.from_pylist(counts, schema=COUNTS_SCHEMA)

    async def _part(self, part: Row) -> dict[str, int]:
        store = self._work.store
        if await asyncio.to_thread(store.exists, part_file(part)):
            await self.count(done=part["rows"])
            await self.tell()
            return {"debates": part["rows"], "labels": 0}
        rows = await asyncio.to_thread(patiently, partial(self._read, part))
        async with self.block([row["debate_id"] for row in rows]) as past:
            labels = await asyncio.gather(*(self._label(row, past) for row in rows))
            tables = [pa.Table.from_pylist(list(labels), schema=LABEL_SCHEMA)]
            write = partial(write_part, store, part, tables)
            return {
                "debates": len(rows),
                "labels": await asyncio.to_thread(patiently, write),
            }

    def _read(self, part: Row) -> list[Row]:
        batches = part_batches(self._work.traces, part, COLUMNS)
        return [row for batch in batches for row in batch.to_pylist()]

    async def _label(self, row: Row, past: Past) -> Row:
        label = await self._graded(row)
        places = [] if label["error"] else turns_to_judge(row, label, self._judge.scope)
        judgements: dict[int, Judgement] = {}
        if places and (killed := self.killed(row["debate_id"], past)):
            by = Judgement(verdict=None, error=words(killed), failed=True)
            judgements = dict.fromkeys(places, by)
        elif places:
            async with self.holding(row["debate_id"], past):
                judgements = await self._judge_turns(row, places)
        label = judged_label(row, label, judgements, f"judge:{name_of(self._judge.model)}")
        await self.count(label["error"], done=1, failed=int(label["error"] is not None))
        return label

    async def _graded(self, row: Row) -> Row:
        """The grader's label; a slow grader does not hold up the event loop."""
        if self._work.grader_of(row).slow:
            return await asyncio.to_thread(lambda: asyncio.run(label_row(self._work, row)))
        return await label_row(self._work, row)

    async def _judge_turns(self, row: Row, places: Sequence[int]) -> dict[int, Judgement]:
        """One judgement for each different text."""
        texts = {place: row["turns"][place]["text"] for place in places}
        different = list(dict.fromkeys(texts.values()))
        said = await _all([judge_text(self._judge, row, text, self._votes) for text in different])
        by_text = dict(zip(different, said, strict=True))
        return {place: by_text[text] for place, text in texts.items()}

    async def _votes(self, prompt: Sequence[Message]) -> list[str]:
        """The judge's answers to a prompt."""
        votes: list[Completion] = await _all(
            [
                self._generate(vote, prompt, self._judge.sampling)
                for vote in range(self._judge.votes)
            ]
        )
        await self.count(
            output_tokens=sum(vote.output_tokens for vote in votes),
            prompt_tokens=sum(vote.prompt_tokens for vote in votes),
        )
        return [vote.text for vote in votes]


async def _all(calls: Sequence[Any]) -> list[Any]:
    """All results, once all have ended; a dead engine is the first error to be heard of."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda error: not isinstance(error, EngineDead)):
        raise error
    return results


def name_of(model: ModelRef) -> str:
    """How a model is called in labels."""
    return f"{model.name} at {model.endpoint}" if model.endpoint else model.name
