"""Retries and hang detection, on engines whose every completion is scripted."""

import asyncio
from collections.abc import Sequence

import pytest

from agentark_ray.engine.base import EngineDead, PromptTooLong, RequestRefused
from agentark_ray.engine.retry import PROBE, GuardedEngine
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.types import Completion, FinishReason, Message, Sampling

SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=4)
GOOD = Completion(
    text="2",
    prompt_tokens=1,
    cached_tokens=0,
    output_tokens=1,
    finish_reason=FinishReason.STOP,
    mean_logprob=0.0,
    latency_s=0.1,
)


def question(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


class Listed:
    """Each call takes the next outcome of its text: an error to raise, or None for an answer."""

    def __init__(self, **outcomes: list[Exception | None]) -> None:
        self._outcomes = {**outcomes, PROBE[0]["content"]: outcomes.get("probe", [])}
        self.asked: list[str] = []
        self.probes_hang = False
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def forget(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self.running = False

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        text = messages[0]["content"]
        self.asked.append(text)
        if text == PROBE[0]["content"] and self.probes_hang:
            await asyncio.Event().wait()
        outcomes = self._outcomes[text]
        outcome = outcomes.pop(0) if outcomes else None
        if outcome is not None:
            await asyncio.sleep(0)
            raise outcome
        return GOOD


async def test_starts_stops_and_passes_answers_on() -> None:
    engine = Listed(q=[])
    guarded = GuardedEngine(engine, retries=1)
    await guarded.start()
    assert engine.running
    assert await guarded(0, question("q"), SAMPLING) is GOOD
    guarded.stop()
    assert not engine.running


async def test_a_failed_completion_is_asked_for_again() -> None:
    engine = Listed(q=[OSError("lost"), OSError("lost")])
    assert await GuardedEngine(engine, retries=2)(0, question("q"), SAMPLING) is GOOD
    assert engine.asked == ["q"] * 3


async def test_the_last_error_is_raised_when_retries_are_used_up() -> None:
    engine = Listed(q=[OSError("first"), OSError("second"), None])
    with pytest.raises(OSError, match="second"):
        await GuardedEngine(engine, retries=1)(0, question("q"), SAMPLING)
    assert engine.asked == ["q"] * 2


@pytest.mark.parametrize(
    "error", [PromptTooLong(9, 5), RequestRefused("no"), EngineDead("gone"), asyncio.CancelledError]
)
async def test_what_is_final_is_not_retried(error: Exception) -> None:
    engine = Listed(q=[error])
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        await GuardedEngine(engine, retries=3)(0, question("q"), SAMPLING)
    assert engine.asked == ["q"]


async def test_nothing_finishes_so_the_engine_is_dead() -> None:
    engine = Listed(q=[TimeoutError()])
    engine.probes_hang = True
    with pytest.raises(EngineDead, match=r"hangs.*no answer in 0\.01 s"):
        await GuardedEngine(engine, retries=3, probe_s=0.01)(0, question("q"), SAMPLING)
    assert engine.asked == ["q", PROBE[0]["content"]]


async def test_without_a_probe_a_timeout_is_a_failure_like_any_other() -> None:
    engine = Listed(q=[TimeoutError("first"), TimeoutError("second"), TimeoutError("third"), None])
    engine.probes_hang = True
    guarded = GuardedEngine(engine, retries=1, probe_s=None)
    with pytest.raises(TimeoutError, match="second"):
        await guarded(0, question("q"), SAMPLING)
    assert await guarded(0, question("q"), SAMPLING) is GOOD
    assert engine.asked == ["q"] * 4


async def test_others_finished_so_the_request_is_slow() -> None:
    asked = asyncio.Event()

    class Slow(Listed):
        async def __call__(
            self, agent: int, messages: Sequence[Message], sampling: Sampling
        ) -> Completion:
            if messages[0]["content"] == "slow":
                self.asked.append("slow")
                await asked.wait()
                raise TimeoutError("slow")
            return await super().__call__(agent, messages, sampling)

    engine = Slow(quick=[])
    engine.probes_hang = True
    guarded = GuardedEngine(engine, retries=0)
    slow = asyncio.create_task(guarded(0, question("slow"), SAMPLING))
    await asyncio.sleep(0)
    await guarded(0, question("quick"), SAMPLING)
    asked.set()
    with pytest.raises(TimeoutError, match="slow"):
        await slow
    assert engine.asked == ["slow", "quick"]


async def test_a_slow_request_alone_is_no_hang() -> None:
    """One probe clears the engine for all that timed out together."""
    engine = Listed(q=[TimeoutError("slow") for _ in range(5)])
    guarded = GuardedEngine(engine, retries=0)
    outcomes = await asyncio.gather(
        *(guarded(agent, question("q"), SAMPLING) for agent in range(5)), return_exceptions=True
    )
    assert [str(outcome) for outcome in outcomes] == ["slow"] * 5
    assert engine.asked == ["q"] * 5 + [PROBE[0]["content"]]


async def test_a_cancelled_completion_is_cancelled() -> None:
    engine = Listed(q=[])
    engine.probes_hang = True
    task = asyncio.create_task(GuardedEngine(engine, retries=3)(0, PROBE, SAMPLING))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(engine.asked) == 1


async def test_the_scripted_engine_that_hangs_is_found_dead() -> None:
    engine = ScriptedEngine(
        seed=0, latency_s=0.0, accuracy=1.0, max_model_len=99, fault="hang", timeout_s=0.02
    )
    guarded = GuardedEngine(engine, retries=2)
    await guarded(0, question("fine"), SAMPLING)
    with pytest.raises(EngineDead, match="hangs"):
        await guarded(0, question("POISON"), SAMPLING)
    with pytest.raises(EngineDead, match="hangs"):
        await guarded(0, question("fine"), SAMPLING)


async def test_scripted_faults(tmp_path_factory: pytest.TempPathFactory) -> None:
    def make(fault: str) -> ScriptedEngine:
        return ScriptedEngine(
            seed=0,
            latency_s=0.0,
            accuracy=1.0,
            max_model_len=99,
            fault=fault,  # pyright: ignore[reportArgumentType]
        )

    with pytest.raises(RuntimeError, match="scripted fault"):
        await make("raise")(0, question("a POISON b"), SAMPLING)
    with pytest.raises(EngineDead, match="scripted fault"):
        await make("exit")(0, question("POISON"), SAMPLING)
    await make("none")(0, question("POISON"), SAMPLING)
    once = f"a POISON:{tmp_path_factory.mktemp('once')}/file b"
    with pytest.raises(RuntimeError):
        await make("raise")(0, question(once), SAMPLING)
    await make("raise")(0, question(once), SAMPLING)
