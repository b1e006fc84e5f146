"""Grade stored transcripts again, in place, by the graders as they are now; nothing is generated.

Extraction, verdicts, votes and final answers are made anew from the stored texts (label.py). A
version of labels beside the traces is `agentark traces label`; transcripts of an evaluation have
one truth, which its summary and report tell.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from agentark_ray.config import Config
from agentark_ray.label_rows import apply_label
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import TASK_RETRIES
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.generate import file_names, replace_file
from agentark_ray.traces.label import VOTES, relabel

FILES_A_TASK = 32


def regrade(folder: RunFolder, config: Config, names: Sequence[str]) -> dict[str, int]:
    """Grade every row of the folders `names` again.

    Returns:
        How many `answers` there are, and of how many final ones the answer or verdict `changed`.

    Raises:
        ray.exceptions.RayTaskError: a grader failed; the message names the debate.
    """
    paths = [folder.inner(out, name) for out in names for name in file_names(folder, out)]
    parts = [paths[i : i + FILES_A_TASK] for i in range(0, len(paths), FILES_A_TASK)]
    task = ray.remote(num_cpus=1, max_retries=TASK_RETRIES)(_regrade_files)
    sums = Counter(answers=0, changed=0)
    for counts in ray.get([task.remote(folder, config, part) for part in parts]):
        sums.update(counts)
    return dict(sums)


def _regrade_files(folder: RunFolder, config: Config, paths: Sequence[str]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for path in paths:
        table = pq.read_table(path, filesystem=folder.filesystem)
        before = table.to_pylist()
        rows = asyncio.run(_regraded(config, before))
        if rows != before:
            replace_file(folder, path, pa.Table.from_pylist(rows, schema=table.schema))
        pairs = zip(before, rows, strict=True)
        sums.update(answers=len(rows), changed=sum(_final(a) != _final(b) for a, b in pairs))
    return sums


async def _regraded(config: Config, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        try:
            label = await relabel(row, TASKS[row["task"]].grader, aggregate_of(config, row["arm"]))
        except Exception as error:
            error.add_note(f"while the debate {row['debate_id']} was graded again")
            raise
        found.append(apply_label(row, label))
    return found


def _final(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row["final_answer"], row["verdict"]


def aggregate_of(config: Config, arm: str) -> str:
    """How the answers of an arm's agents become one, if they vote."""
    teams = {"debate": config.debate, **config.evaluate.teams}
    said = getattr(teams.get(arm), "aggregate", "vote")
    return said if said in VOTES else "vote"
