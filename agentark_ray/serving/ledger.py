"""What one replica of the ingress counts: metrics, budgets, logs, and news for the recorder."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from ray.serve.handle import DeploymentHandle

from agentark_ray.monitoring import Kind, question_features
from agentark_ray.serving.arms import AnyRequest, Reply
from agentark_ray.serving.metrics import ServingMetrics
from agentark_ray.serving.records import figures
from agentark_ray.serving.requests import ChatRequest

LOGGER = logging.getLogger("ray.serve")
TELL_S = 1.0  # between news to the recorder
STUDENTS = ("student", "hybrid")  # whose requests say how the student does
GONE = 499  # the client has left, as nginx has it
CUT_SHORT = (GONE, 504)  # before an engine has said how long the prompt was
CHARS_A_TOKEN = 4  # of English text, about
LOST_ROWS = 10_000  # at most, kept for a recorder that comes back


class Ledger:
    """Of one replica.

    Args:
        recorder: the deployment that keeps records.
        student: the student's name, for the records.
        log_prompts: write questions to the log, too.
    """

    def __init__(self, recorder: DeploymentHandle, student: str, log_prompts: bool) -> None:
        self.metrics = ServingMetrics()
        self._recorder = recorder
        self._student = student
        self._log_prompts = log_prompts
        self._ongoing = 0
        self._rows: deque[dict[str, Any]] = deque(maxlen=LOST_ROWS)
        self._recent: deque[dict[str, Any]] = deque(maxlen=LOST_ROWS)
        self._telling = False
        self._background: set[asyncio.Task[Any]] = set()

    def started(self) -> None:
        """A request came."""
        self._ongoing += 1
        self.metrics.ongoing(self._ongoing)

    def ended(self, model: str, body: AnyRequest, reply: Reply, state: Any) -> None:
        """A request is over, whatever became of it; `model` is one that is served, or unknown."""
        self._ongoing -= 1
        self.metrics.ongoing(self._ongoing)
        latency = time.perf_counter() - reply.started_s
        tokens = reply.usage
        if budget := getattr(state, "budget", None):
            unread = reply.status in CUT_SHORT and not tokens.prompt_tokens
            prompt = characters(body) // CHARS_A_TOKEN if unread else tokens.prompt_tokens
            budget.spend(prompt + tokens.completion_tokens)
        self.metrics.ended(
            model=model,
            arm=reply.arm,
            status=reply.status,
            latency_s=latency,
            first_s=reply.first_s,
            prompt_tokens=tokens.prompt_tokens,
            output_tokens=tokens.completion_tokens,
            rounds=reply.rounds,
            handed_over=reply.handed_over,
        )
        said: dict[str, Any] = {
            "response_id": state.request_id,
            "user": state.user,
            "model": model,
            "arm": reply.arm,
            "status": reply.status,
            "latency_ms": round(1000 * latency, 1),
            "prompt_tokens": tokens.prompt_tokens,
            "output_tokens": tokens.completion_tokens,
        }
        if self._log_prompts:
            said |= {"question": asked_of(body), "answer": reply.text}
        LOGGER.info("ended", extra=said)
        if reply.status == 200:
            self._record(reply, latency, None)
            if reply.arm in STUDENTS and isinstance(body, ChatRequest):
                row = self._row(body, reply, latency)
                self._rows.append(row | {"kind": Kind.LIVE.value, "arm": reply.arm})

    def compared(
        self, body: ChatRequest, reply: Reply, shadow: Reply, agrees: bool, latency_s: float
    ) -> None:
        """A shadow has answered, too, within `latency_s`, what `reply` was to the user."""
        self.metrics.shadowed("agrees" if agrees else "differs")
        self._record(shadow, latency_s, agrees)
        compared = {"arm": reply.arm, "shadow": shadow.arm, "agreement": agrees}
        row = self._row(body, shadow, latency_s)
        self._rows.append(row | {"kind": Kind.SHADOW.value, **compared})

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the requests."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _record(self, reply: Reply, latency_s: float, agreement: bool | None) -> None:
        self._recent.append(
            figures(
                arm=reply.arm,
                latency_s=latency_s,
                tokens=reply.usage.completion_tokens,
                path=reply.path,
                agreement=agreement,
            )
        )
        if not self._telling:
            self._telling = True
            self.in_background(self._tell())

    def _row(self, body: ChatRequest, reply: Reply, latency_s: float) -> dict[str, Any]:
        return {
            "time": datetime.now(UTC),
            "student": self._student,
            "fallback": reply.handed_over,
            "correct": None,
            "latency_ms": 1000 * latency_s,
            "output_tokens": reply.usage.completion_tokens,
            "features": question_features(body.messages[-1].text),
        }

    async def _tell(self) -> None:
        """Tell the recorder, once at a time: while it has no replica, a call waits without end."""
        while self._recent:
            await asyncio.sleep(TELL_S)
            rows, recent = list(self._rows), list(self._recent)
            self._rows.clear()
            self._recent.clear()
            try:
                await self._recorder.add.remote(rows, recent)
            except Exception as error:  # it starts again
                LOGGER.warning("records wait: %s", type(error).__name__)
                self._rows = deque([*rows, *self._rows], maxlen=LOST_ROWS)
                self._recent = deque([*recent, *self._recent], maxlen=LOST_ROWS)
        self._telling = False


def characters(body: AnyRequest) -> int:
    """The length of a request's texts."""
    if isinstance(body, ChatRequest):
        return sum(len(message.text) for message in body.messages)
    return len(body.prompt)


def asked_of(body: AnyRequest) -> Any:
    """The texts of a request."""
    if isinstance(body, ChatRequest):
        return [{"role": message.role, "content": message.text} for message in body.messages]
    return body.prompt
