"""The served application with real engines, asked by the official client and by a browser."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from playwright.sync_api import Browser
from transformers import AutoTokenizer

from agentark_ray.debate.layouts import ask
from agentark_ray.engine.vllm import render
from agentark_ray.tasks.registry import TASKS
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.types import Message
from benchmarks.random_model import make_random_model
from benchmarks.serve import free_port, server
from tests.ray.serving import client, pids, trained_run

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

MESSAGES: list[Any] = [{"role": "user", "content": "Tom has 3 apples and buys 4. How many has he?"}]
AGENTS, LONG = 3, 1800
BUSY = 0.5  # cores that a model takes while it answers; far fewer when it does not
GIVEN_UP_S = 3.0  # after which a request that nobody waits for must not cost anything


def talkative(folder: Path) -> Path:
    """The tiny model, whose template has a variable and whose own settings are not the run's."""
    shutil.copytree(tiny_model_path(), folder)
    template = folder / "chat_template.jinja"
    template.write_text(
        "{% if intro %}<|im_start|>system\n{{ intro }}<|im_end|>\n{% endif %}"
        + template.read_text()
    )
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "max_new_tokens": 3}))
    return folder


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The application: the tiny model debates, the student writes digits for ever."""
    folder, port = tmp_path_factory.mktemp("serving"), free_port()
    run = trained_run(
        folder / "run",
        *(f"model={talkative(folder / 'model')}", "engine.chat_template_kwargs={intro: Be exact.}"),
        *(f"debate.agents={AGENTS}", "debate.temperature=0.0", "engine.max_model_len=2048"),
    )
    make_random_model(Path(run.path("students", "rsft")))
    settings = folder / "serve.yaml"
    values = {"run": run.uri, "port": port, "hybrid": {"threshold": -1.0}}
    settings.write_text(json.dumps(values))  # JSON is YAML
    with server([sys.executable, "-m", "agentark_ray.cli", "serve", str(settings)], port):
        yield port


@pytest.mark.parametrize("model", ["student", "base", "debate", "hybrid", "agentark"])
def test_the_official_client_is_answered(port: int, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "messages": MESSAGES, "max_tokens": 60}
    found = client(port).chat.completions.create(**asked)
    assert found.choices[0].message.content
    assert found.usage is not None and found.usage.completion_tokens > 0

    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client(port).chat.completions.create(**asked))
    said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(said)
    assert chunks[-1].usage.total_tokens > chunks[-1].usage.completion_tokens > 0
    if model == "student":
        assert chunks[-1].usage.completion_tokens == 60
        assert len([text for text in said if text]) < 60 / 4, "tokens come together"


@pytest.mark.parametrize("model", ["base", "debate"])
def test_prompts_and_sampling_are_those_of_the_run(port: int, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "messages": MESSAGES, "max_tokens": 60}
    found = client(port).chat.completions.create(**asked, extra_body={"agentark": {"trace": True}})
    question = ask(MESSAGES[0]["content"], TASKS["arithmetic"].grader.instruction)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_path())
    asked_alone: list[Message] = [{"role": "user", "content": question}]
    plain = len(render(tokenizer, asked_alone, {}))
    intro: list[Message] = [{"role": "system", "content": "Be exact."}]
    whole = len(render(tokenizer, intro + asked_alone, {}))
    if model == "base":
        used = found.usage
        assert used is not None and used.prompt_tokens == whole > plain
        assert used.completion_tokens > 3
        again = client(port).chat.completions.create(**asked)
        assert again.choices[0].message.content == found.choices[0].message.content
        return
    first = [turn for turn in found.agentark["trace"] if turn["round"] == 0]  # type: ignore[attr-defined]
    assert {turn["prompt_tokens"] for turn in first} == {whole}
    assert max(turn["output_tokens"] for turn in first) > 3


def test_a_debate_shows_its_turns_and_sums_their_tokens(port: int) -> None:
    asked: dict[str, Any] = {"model": "debate", "messages": MESSAGES, "stream": True}
    chunks = list(
        client(port).chat.completions.create(
            **asked,
            stream_options={"include_usage": True},
            extra_body={"agentark": {"trace": True}},
        )
    )
    told = [c.agentark for c in chunks if getattr(c, "agentark", None)]
    turns = [event for event in told if event["event"] == "turn"]
    assert len(turns) == AGENTS * len({turn["round"] for turn in turns})
    assert chunks[-1].usage.completion_tokens == sum(turn["output_tokens"] for turn in turns)
    assert told[-1]["event"] == "answer" and told[-1]["path"] == "debate"


def test_an_unsure_student_hands_over(port: int) -> None:
    found: Any = client(port).chat.completions.create(model="hybrid", messages=MESSAGES)
    assert found.agentark["path"] == "debate"
    assert found.agentark["confidence"] < -1.0


def work_of(pid: int, seconds: float) -> float:
    """Cores that a process takes now."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / seconds


def busiest() -> tuple[int, float]:
    """The model that works, and the cores it takes."""
    found = {pid: work_of(pid, 1.0) for pid in pids("VLLM::EngineCore")}
    return max(found.items(), key=lambda item: item[1])


def leave_stream(port: int, model: str) -> tuple[int, float]:
    asked: dict[str, Any] = {"model": model, "messages": MESSAGES, "max_tokens": LONG}
    with client(port).chat.completions.create(**asked, stream=True) as stream:
        next(iter(stream))
        return busiest()


def leave_without_stream(port: int, model: str) -> tuple[int, float]:
    asked: dict[str, Any] = {"model": model, "messages": MESSAGES, "max_tokens": LONG}
    found: list[tuple[int, float]] = []
    from threading import Thread

    watch = Thread(target=lambda: found.append(busiest()))
    watch.start()
    with pytest.raises(openai.APITimeoutError):
        client(port, timeout=3.0).chat.completions.create(**asked)
    watch.join()
    return found[0]


@pytest.mark.parametrize(
    ("leave", "model"),
    [
        (leave_stream, "student"),
        (leave_without_stream, "student"),
        (leave_without_stream, "hybrid"),  # while its student answers
    ],
)
def test_a_client_that_leaves_frees_the_engine(
    port: int, leave: Callable[[int, str], tuple[int, float]], model: str
) -> None:
    pid, cores = leave(port, model)
    assert cores > BUSY
    time.sleep(GIVEN_UP_S)
    assert work_of(pid, 2.0) < BUSY / 4


def test_the_compare_page_asks_both(port: int, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/compare")
    page.locator("#model-1 option").nth(1).wait_for(state="attached")
    page.locator("#question").fill(MESSAGES[0]["content"])
    page.keyboard.press("Control+Enter")
    page.locator("#agreement.yes, #agreement.no").wait_for(timeout=120_000)
    assert page.locator("#answer-0").inner_text().strip()
    turns = page.locator("#rounds-1 > li details").count()
    assert turns > 0 and turns % AGENTS == 0
    assert "debate" in page.locator("#figures-1").inner_text()


def test_a_dead_engine_is_replaced(port: int) -> None:
    """Its process is killed while it answers: a clean error, and another one answers soon."""
    asked: dict[str, Any] = {"model": "base", "messages": MESSAGES, "max_tokens": 30}
    client(port).chat.completions.create(**asked)
    engines = [psutil.Process(pid) for pid in pids("VLLM::EngineCore")]
    base = [p for p in engines if any("EngineServer:base" in name(q) for q in p.parents())]
    assert len(base) == 1
    base[0].kill()
    started, statuses = time.monotonic(), list[int]()
    while not statuses or statuses[-1] != 200:
        assert time.monotonic() - started < 240, statuses
        try:
            client(port, timeout=200).chat.completions.create(**asked)
            statuses.append(200)
        except openai.APIStatusError as error:
            statuses.append(error.status_code)
            time.sleep(1)
    print(f"answers again after {time.monotonic() - started:.0f} s: {statuses}")
    assert set(statuses) <= {200, 503, 504}


def name(process: psutil.Process) -> str:
    return " ".join(process.cmdline())
