"""What actors of a generation job send and the driver shows. Its size depends on their number."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from agentark_ray.console import State
from agentark_ray.session import beside_driver
from agentark_ray.traces.deaths import DeathLedger, Past

# Deaths of an actor between two blocks that it finished; then the engine itself is sick.
DEATHS_IN_A_ROW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums since the job started, without lost blocks; failures also of earlier attempts."""

    done: int = 0  # debates that ended, failed ones included
    failed: int = 0  # those whose prompt was too long included
    prompts_too_long: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    engine_deaths: int = 0
    begun: int = 0  # debates of blocks that were begun; with losses more than there are
    started: float | None = None  # time of the first debate's end, in seconds of time.monotonic


@ray.remote(num_cpus=0)
class Progress:
    """Adds up what actors send; tells them to stop when too many debates failed or engines died."""

    def __init__(
        self,
        total: int,
        max_failed: int,
        deaths_in_a_row: int,
        failed: int = 0,
        prompts_too_long: int = 0,
    ) -> None:
        self._total = total
        self._max_failed = max_failed
        self._deaths_in_a_row = deaths_in_a_row
        self._ledger = DeathLedger()
        self._sums = Counter(failed=failed, prompts_too_long=prompts_too_long)
        self._last_error = ""
        self._started: float | None = None

    def engine_ready(self) -> None:
        """Called when an engine is warm; rates count from the first such call."""
        if self._started is None:
            self._started = time.monotonic()

    def add(
        self,
        actor: str,
        life: str,
        news: Mapping[int | None, Mapping[str, int]],
        last_error: str,
    ) -> str | None:
        """Add an actor's news of its blocks, or of none; returns why to stop, or None."""
        for block, sums in news.items():
            if block is None or self._ledger.count(actor, life, block, sums):
                self._sums.update(sums)
        self._last_error = last_error or self._last_error
        kept = self._kept()
        failed, too_long = kept["failed"], kept["prompts_too_long"]
        why = too_many_failed(failed, too_long, self._total, self._max_failed)
        return why and f"{why}; last: {self._last_error}"

    def begin(
        self, actor: str, life: str, block: int, ids: Sequence[str]
    ) -> tuple[Past, str | None]:
        """`DeathLedger.begin`; also why to stop, or None."""
        past = self._ledger.begin(actor, life, block, ids)
        self._sums["begun"] += len(ids)
        if past.in_a_row <= self._deaths_in_a_row:
            return past, None
        return past, (
            f"an actor's engine died {past.in_a_row} times in a row, and it finished no block of"
            f" debates in between; last: {past.last_words or 'killed, perhaps for its memory'}"
        )

    def start_suspect(self, actor: str, debate_id: str) -> None:
        """`DeathLedger.start`"""
        self._ledger.start(actor, debate_id)

    def leave_suspect(self, actor: str, debate_id: str) -> None:
        """`DeathLedger.leave`"""
        self._ledger.leave(actor, debate_id)

    def last_words(self, actor: str, words: str) -> None:
        """`DeathLedger.say`"""
        self._ledger.say(actor, words)

    def end(self, actor: str, block: int) -> None:
        """`DeathLedger.end`"""
        self._ledger.end(actor, block)

    def counts(self) -> tuple[Counts, float]:
        """The sums, and the seconds since the first engine was ready (0.0 before)."""
        seconds = 0.0 if self._started is None else time.monotonic() - self._started
        deaths = self._ledger.total
        return Counts(started=self._started, engine_deaths=deaths, **self._kept()), seconds

    def _kept(self) -> Counter[str]:
        """The sums without those of lost blocks, whose debates are held again."""
        kept = self._sums.copy()
        kept.subtract(self._ledger.lost)
        return kept


def state_of(progress: Any, before: int, total: int) -> State | None:
    """What to show of a job of `total` debates, `before` of which were done when it started."""
    counts, seconds = ray.get(progress.counts.remote())
    if not seconds:
        return None
    rate = counts.output_tokens / seconds
    too_long = counts.prompts_too_long
    text = f"failed {counts.failed}"
    text += f" ({too_long} prompts too long)" if too_long else ""
    text += f", {rate:,.0f} output tokens/s, {counts.done / seconds:.1f}/s"
    if counts.engine_deaths:
        text += f", {counts.engine_deaths} engines died"
    return State(done=before + counts.done, total=total, text=text)


def too_many_failed(failed: int, too_long: int, total: int, max_failed: int) -> str | None:
    """What to say when more than `max_failed` of `total` debates failed, or None.

    `too_long` of the `failed` ones had a prompt that did not fit.
    """
    if failed <= max_failed:
        return None
    kinds = f" ({failed - too_long} errors, {too_long} prompts too long)" if too_long else ""
    return (
        f"{failed} of {total} debates failed{kinds}, at most {max_failed} may"
        " (engine.max_failed_fraction)"
    )


def start_progress(total: int, max_failed: int, failed: int = 0, prompts_too_long: int = 0) -> Any:
    """A Progress on the driver's node, with what failed in earlier attempts."""
    return beside_driver(Progress).remote(
        total, max_failed, DEATHS_IN_A_ROW, failed, prompts_too_long
    )
