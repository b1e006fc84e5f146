"""Traces on a real Ray cluster with the scripted engine: every question once, come what may."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from agentark_ray.config import parse_config
from agentark_ray.debate.layouts import LAYOUTS
from agentark_ray.engine.base import PromptTooLong
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.run_folder import RunFolder
from agentark_ray.tasks.base import TaskError
from agentark_ray.traces import leaks
from agentark_ray.traces.asking import Slots
from agentark_ray.traces.generate import (
    Incomplete,
    drop_unfinished,
    generate_traces,
    trace_dataset,
    verify_traces,
)
from agentark_ray.traces.progress import start_progress
from agentark_ray.traces.requests import Plan, write_questions, write_requests
from agentark_ray.traces.schema import TRACE_SCHEMA
from agentark_ray.types import Split
from tests.ray.helpers import config_for, hold

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(240)]


def test_every_question_becomes_one_whole_row(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    config = config_for(tmp_path, gsm8k_file(50), "debate.stop=fixed")
    folder, total = hold(config)
    figures = verify_traces(folder, config, "traces", total)
    assert figures["rows"] == total
    assert figures["failed"] == 0
    table = trace_dataset(folder, "traces").to_table()
    assert table.schema.equals(TRACE_SCHEMA)
    for row in table.to_pylist():
        assert [(t["round"], t["agent"]) for t in row["turns"]] == [
            (r, a) for r in range(2) for a in range(3)
        ]
        assert row["output_tokens"] == sum(t["output_tokens"] for t in row["turns"])
        assert row["wall_s"] > 0
        said = [[t["text"] for t in row["turns"] if t["round"] == 0]]
        assert row["turns"][4]["messages"] == LAYOUTS["paper"](
            row["question"], NUMERIC.instruction, said, 1, ""
        )


def test_running_again_adds_nothing(tmp_path: Path, gsm8k_file: Callable[[int], Path]) -> None:
    config = config_for(tmp_path, gsm8k_file(30))
    folder, total = hold(config)
    before = sorted(os.listdir(tmp_path / "run" / "traces"))
    assert hold(config)[1] == total
    assert verify_traces(folder, config, "traces", total)["rows"] == total
    assert sorted(os.listdir(tmp_path / "run" / "traces")) == before


def test_arms_take_turns_and_latency_probes_come_last(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    config = config_for(tmp_path, gsm8k_file(10))
    plans = [Plan(arm="single"), Plan(arm="debate"), Plan(arm="single", kind="latency", limit=3)]
    folder, total = hold(config, plans)
    n = (total - 3) // 2
    requests = trace_dataset(folder, "requests/train.parquet").to_table().to_pylist()
    assert [r["arm"] for r in requests] == ["single", "debate"] * n + ["single"] * 3
    assert [r["kind"] for r in requests] == ["main"] * (2 * n) + ["latency"] * 3
    figures = verify_traces(folder, config, "traces", total)
    assert figures["rows"] == len({r["debate_id"] for r in requests}) == total


def test_lost_rows_are_found_and_double_rows_dropped(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    config = config_for(tmp_path, gsm8k_file(20))
    folder, total = hold(config)
    with pytest.raises(Incomplete, match=rf"expected {total + 1} debates once each, found {total}"):
        verify_traces(folder, config, "traces", total + 1)
    before = trace_dataset(folder, "traces").to_table().sort_by("debate_id")
    first, second, *_ = sorted((tmp_path / "run" / "traces").glob("*.parquet"))
    both = pa.concat_tables([pq.read_table(first), pq.read_table(second).slice(0, 1)])
    # What write tasks leave that outlive their driver: a block held twice, and one cut short.
    pq.write_table(both, first.with_name("late_000000-0.parquet"))
    (tmp_path / "run" / "traces_checkpoint" / "late_000000.parquet").touch()
    first.with_name("late_000001-0.parquet").write_bytes(first.read_bytes()[:100])
    assert verify_traces(folder, config, "traces", total)["rows"] == total
    assert trace_dataset(folder, "traces").to_table().sort_by("debate_id").equals(before)


def test_prompts_that_do_not_fit_end_as_rows(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    small = ("engine.max_model_len=64", "debate.max_tokens=20")
    with pytest.raises(Exception, match=r"prompts too long\), at most 0 may.*PromptTooLong"):
        hold(config_for(tmp_path, gsm8k_file(12), *small))
    folder, total = hold(
        config_for(tmp_path / "all", gsm8k_file(12), *small, "engine.max_failed_fraction=1")
    )
    status = trace_dataset(folder, "traces").to_table(columns=["status"])["status"]
    counts = Counter(status.to_pylist())
    assert counts.total() == total
    assert counts["prompt_too_long"] > 0


def test_a_job_that_fails_as_a_whole_stops(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    config = config_for(tmp_path, gsm8k_file(200), "engine.max_failed_fraction=0.1")
    folder = RunFolder(config.output)
    folder.open(config, "m")
    write_questions(folder, config)
    total = write_requests(folder, config, "m", Split.TRAIN, [Plan(arm="debate")], "train")
    progress = start_progress(total, 2)
    ray.get(progress.add.remote("a", "1st", {None: {"done": 3, "failed": 3}}, "OSError: planted"))
    with pytest.raises(Exception, match=r"3 of \d+ debates failed.*OSError: planted"):
        generate_traces(folder, config, "m", ["debate"], "train", "traces", progress)


def test_failures_of_earlier_attempts_count() -> None:
    progress = start_progress(60, 3, failed=3, prompts_too_long=1)
    assert ray.get(progress.add.remote("a", "1st", {None: {"done": 1}}, "")) is None
    news = {None: {"done": 1, "failed": 1}}
    said: Any = ray.get(progress.add.remote("a", "1st", news, "OSError: planted"))
    assert said.startswith("4 of 60 debates failed (3 errors, 1 prompts too long), at most 3 may")
    assert said.endswith("; last: OSError: planted")
    counts, _ = ray.get(progress.counts.remote())
    assert (counts.done, counts.failed, counts.prompts_too_long) == (2, 4, 1)


def test_what_a_lost_block_counted_counts_no_more() -> None:
    progress = start_progress(60, 3)
    for block in (0, 1):
        ray.get(progress.begin.remote("a", "1st", block, [f"{block}"]))
    news = {0: {"done": 2, "failed": 2}, 1: {"done": 1, "failed": 1}}
    assert ray.get(progress.add.remote("a", "1st", news, "OSError: planted")) is None
    ray.get(progress.end.remote("a", 1))
    ray.get(progress.begin.remote("a", "2nd", 0, ["0"]))
    counts, _ = ray.get(progress.counts.remote())
    assert (counts.done, counts.failed, counts.engine_deaths) == (1, 1, 1)
    late, again = {0: {"failed": 2}}, {0: {"done": 2, "failed": 2}}
    assert ray.get(progress.add.remote("a", "1st", late, "")) is None
    assert ray.get(progress.add.remote("a", "2nd", again, "")) is None
    counts, _ = ray.get(progress.counts.remote())
    assert (counts.done, counts.failed) == (3, 3)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["", ""], "no train question"),
        (['{"question": "a", "answer": "#### 1"}', "{"], ":2: not valid JSON"),
    ],
)
def test_bad_question_files(tmp_path: Path, lines: list[str], expected: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(lines))
    config = config_for(tmp_path, path)
    folder = RunFolder(config.output)
    with pytest.raises(TaskError) as error:
        write_questions(folder, config)
    assert expected in str(error.value)


def test_leaks_are_looked_for_by_all_cpus(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gsm8k_file(2_500)
    other = tmp_path / "eval.jsonl"
    lines = path.read_text().splitlines()
    other.write_text("\n".join(lines[::500]))
    config = config_for(tmp_path, path, f"tasks.eval_path={other}", "tasks.leaks=allow")
    folder = RunFolder(config.output)
    assert write_questions(folder, config)["leaks"] == 5
    alone = leaks.find_leaks(folder, [Split.EVAL])
    monkeypatch.setattr(leaks, "GROUPS_A_TASK", 1)
    together = leaks.find_leaks(folder, [Split.EVAL])
    assert (together.exact, together.near, len(together.worst)) == (5, 0, 5)
    assert set(together.ids) == set(alone.ids)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """tmp_path/run becomes a disk of the given size, or is resized to it."""

    def mount(size: str) -> None:
        place = tmp_path / "run"
        options = f"size={size}" if not place.is_mount() else f"remount,size={size}"
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")

    yield mount
    subprocess.run(["umount", str(tmp_path / "run")], capture_output=True)


@pytest.mark.slow
def test_a_disk_that_fills_loses_nothing(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], small_disk: Callable[[str], None]
) -> None:
    config = config_for(tmp_path, gsm8k_file(100))
    small_disk("300k")
    with pytest.raises(Exception, match="No space left on device"):
        hold(config)
    folder = RunFolder(config.output)
    drop_unfinished(folder, "traces")
    kept = trace_dataset(folder, "traces").to_table(columns=["debate_id"])["debate_id"]
    small_disk("10m")
    _, total = hold(config)
    assert 4 <= len(kept) < total
    assert verify_traces(folder, config, "traces", total)["rows"] == total
    ids = trace_dataset(folder, "traces").to_table(columns=["debate_id"])["debate_id"]
    assert set(kept.to_pylist()) < set(ids.to_pylist())


KILLED = """
import sys
from agentark_ray.config import parse_config
from agentark_ray.session import ray_session
from tests.ray.helpers import hold
with ray_session():
    hold(parse_config({}, sys.argv[1:], "test"))
"""


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_killed_driver_loses_no_finished_block(
    tmp_path: Path,
    gsm8k_file: Callable[[int], Path],
    tell_lost: Callable[[float, float], None],
) -> None:
    values = [
        f"output={tmp_path}/run",
        "tasks.name=gsm8k",
        f"tasks.path={gsm8k_file(150)}",
        "engine.type=scripted",
        "engine.scripted_latency_s=0.2",
        "engine.rows_per_block=4",
        "engine.in_flight=8",
    ]
    command, root = [sys.executable, "-c", KILLED, *values], Path(__file__).parents[2]

    def done(*more: str) -> float:
        """Seconds of the job, run to its end."""
        started = time.monotonic()
        subprocess.run([*command, *more], cwd=root, check=True, timeout=200)
        return time.monotonic() - started

    undisturbed = done(f"output={tmp_path}/quiet")
    traces = tmp_path / "run" / "traces"
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=root, start_new_session=True)
    deadline = time.monotonic() + 200
    while len(list(traces.glob("*.parquet"))) < 4:
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline, "no traces after 200 s"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    seconds = time.monotonic() - started
    config = parse_config({}, values, "test")
    folder = RunFolder(config.output)
    kept = trace_dataset(folder, "traces").count_rows()
    tell_lost(seconds + done(), undisturbed)
    total = trace_dataset(folder, "requests/train.parquet").count_rows()
    assert 16 <= kept < total
    assert verify_traces(folder, config, "traces", total)["rows"] == total


def test_what_is_sent_to_ray_survives_pickling(tmp_path: Path) -> None:
    config = parse_config({}, ["debate.agents=7"], "test")
    folder = pickle.loads(pickle.dumps(RunFolder(str(tmp_path))))
    assert pickle.loads(pickle.dumps(config)) == config
    assert folder.exists()
    error = pickle.loads(pickle.dumps(PromptTooLong(9, 5)))
    assert (error.needed, error.limit) == (9, 5)


async def test_an_exclusive_slot_runs_alone() -> None:
    slots, running, seen = Slots(3), 0, []

    async def job(exclusive: bool) -> None:
        nonlocal running
        async with slots.hold(3 if exclusive else 1):
            running += 1
            seen.append((exclusive, running))
            await asyncio.sleep(0.01)
            running -= 1

    await asyncio.gather(*(job(i % 4 == 0) for i in range(12)))
    assert all(count == 1 for exclusive, count in seen if exclusive)
    assert max(count for _, count in seen) == 3
    assert len(seen) == 12


async def test_a_cancelled_wait_takes_no_slot() -> None:
    slots = Slots(2)
    order: list[str] = []

    async def job(name: str, exclusive: bool = False) -> None:
        async with slots.hold(2 if exclusive else 1):
            order.append(name)
            await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(job(name)) for name in "ab"]
    await asyncio.sleep(0)
    alone = asyncio.create_task(job("alone", exclusive=True))
    last = asyncio.create_task(job("last"))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.gather(*tasks, last)
    assert order == ["a", "b", "last"]
    async with asyncio.timeout(1):
        await job("all", exclusive=True)
