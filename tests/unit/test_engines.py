"""Which engine a model gets, with which settings, and which GPUs it needs where."""

import asyncio
import importlib.util
import os

import pytest
from aiohttp import web
from transformers import AutoTokenizer

from agentark_ray.config import Config, parse_config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.base import EngineDead
from agentark_ray.engine.http import HttpEngine
from agentark_ray.engine.make import Engines, make_engine
from agentark_ray.engine.settings import Placement, cpu_threads, gpus_of, placement, refs_of
from agentark_ray.engine.vllm import VllmEngine, text_of
from agentark_ray.resources import short_of
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.types import FinishReason, ModelRef
from tests.endpoint import ASKED, SAMPLING, listening

TINY = str(tiny_model_path())
A, B, FAR = ModelRef(name="a/A"), ModelRef(name="b/B"), ModelRef(name="far", endpoint="http://x/v1")


def config_of(*overrides: str) -> Config:
    return parse_config({}, ["model=a/A", *overrides], "test")


def team(*names: str) -> str:
    far = ", endpoint: 'http://x/v1'"
    members = [f"{{model: {name}{far if name == 'far' else ''}}}" for name in names]
    return f"debate.team=[{', '.join(members)}]"


def vllm_args(config: Config, ref: ModelRef) -> dict[str, object]:
    engine = make_engine(config, ref)
    assert isinstance(engine, VllmEngine)
    return engine.args


def test_a_name_for_the_model_of_the_run_is_no_further_model() -> None:
    config = config_of(team("a/A", "b/B", "far"))
    debate = arm_protocol(config, "debate").speakers
    # where the run's model is a folder, its path stands for it
    assert refs_of(config, debate, "/path/of/a") == [ModelRef(name="/path/of/a"), B, FAR]
    single = arm_protocol(config, "single").speakers
    assert refs_of(config, [*single, *debate], "a/A") == [A, B, FAR]


def test_the_student_has_the_settings_of_the_model_it_was() -> None:
    config = config_of(
        team("a/A", "b/B"),
        "gpus_per_engine=1",
        "engine.models={a/A: {gpus: 2, max_model_len: 99}, b/B: {gpus: 0}}",
    )
    student = ModelRef(name=TINY)
    assert (gpus_of(config, student), vllm_args(config, student)["max_model_len"]) == (2, 99)
    assert (gpus_of(config, B), vllm_args(config, B)["max_model_len"]) == (0, 4096)


def test_one_engine_runs_in_its_actor_and_several_run_apart() -> None:
    one = config_of(team("a/A", "far"), "gpus_per_engine=4")
    assert placement(one, [A, FAR]) == Placement(gpus=4, apart={})
    assert placement(one, [A, FAR]).bundles == [{"CPU": 1, "GPU": 4}]
    assert placement(one, [FAR]) == Placement(gpus=0, apart={})
    two = config_of(team("a/A", "b/B", "far"), "engine.models={b/B: {gpus: 8}}")
    found = placement(two, [A, FAR, B])
    assert found == Placement(gpus=0, apart={A: 0, B: 8})
    assert found.bundles == [{"CPU": 1}, {"CPU": 1}, {"GPU": 8}]
    assert (found.total("CPU"), found.total("GPU")) == (2, 8)


def test_tensor_parallel_settings_reach_vllm() -> None:
    config = config_of(
        team("a/A", "b/B"),
        "gpus_per_engine=1",
        "engine.gpu_memory_utilization=0.8",
        "engine.models={b/B: {gpus: 4, gpu_memory_utilization: 0.5, trust_remote_code: true}}",
    )
    one, four = vllm_args(config, A), vllm_args(config, B)
    assert one["tensor_parallel_size"] == 1
    assert one["gpu_memory_utilization"] == 0.8
    assert "distributed_executor_backend" not in one
    # without it vLLM would spread its workers over the bundles of the team's placement group
    assert four["distributed_executor_backend"] == "mp"
    changed = {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.5, "trust_remote_code": True}
    backend = {"distributed_executor_backend": "mp", "model": "b/B"}
    assert four == {**one, **changed, **backend}


def test_on_cpu_the_model_runs_in_the_engine_process_unless_its_threads_are_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    executor = vllm_args(config_of(), A)["distributed_executor_backend"]
    assert importlib.util.find_spec(str(executor).rpartition(".")[0])
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-31")
    assert "distributed_executor_backend" not in vllm_args(config_of(), A)


def test_without_gpus_there_is_no_tensor_parallelism() -> None:
    args = vllm_args(config_of(), A)
    assert args["enforce_eager"] is True
    assert not args.keys() & {"tensor_parallel_size", "gpu_memory_utilization"}


def test_an_endpoint_is_not_loaded() -> None:
    assert isinstance(make_engine(config_of(team("a/A", "far")), FAR), HttpEngine)


async def test_an_endpoint_that_hangs_is_no_dead_engine() -> None:
    """Nothing finishes there, and every retry is a completion asked for, not a probe."""
    asked: list[str] = []

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "far", "object": "model"}]})

    async def hang(request: web.Request) -> web.Response:
        asked.append((await request.json())["messages"][0]["content"])
        await asyncio.sleep(60)
        raise AssertionError

    async with listening(models, hang) as url:
        config = config_of(
            "engine={type: scripted, timeout_s: 0.5, retries: 2, endpoint_retries: 0}",
            f"debate.team=[{{}}, {{model: far, endpoint: '{url}'}}]",
        )
        speakers = arm_protocol(config, "debate").speakers
        engines = Engines(config, refs_of(config, speakers, "a/A"))
        await engines.ready()
        generate = engines.generate(speakers, "a/A")
        with pytest.raises(TimeoutError, match=r"no answer in 0\.5 s"):
            await generate(1, ASKED, SAMPLING)
        assert (await generate(0, ASKED, SAMPLING)).text
    assert asked == [ASKED[0]["content"]] * 3


@pytest.mark.parametrize(
    ("groups", "nodes", "fit"),
    [
        ([], [], True),
        ([8], [8], True),
        ([8], [4, 4], False),
        ([8, 8], [8, 8], True),
        ([4, 4], [6, 2], False),
        ([4, 4], [3, 3], False),
        ([2, 4], [2, 4], True),
        ([2, 4], [3, 4], True),
        ([4, 2, 2], [4, 3, 1], False),
        ([4, 2, 1, 1], [4, 3, 1], True),
        ([1] * 9, [4, 4], False),
        ([5, 2], [6], False),
    ],
)
def test_groups_of_gpus_fit_on_nodes(groups: list[int], nodes: list[int], fit: bool) -> None:
    found = short_of([{"GPU": size} for size in groups], [{"GPU": size} for size in nodes])
    assert (found is None) is fit


def test_the_text_of_an_answer_ends_where_its_tokens_do() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    said = "7 + 4 = 11.\n\\boxed{11} é"
    ids = tokenizer.encode(said, add_special_tokens=False)
    ended = [*ids, tokenizer.eos_token_id]
    assert text_of(tokenizer, ended, FinishReason.STOP) == said
    cut = text_of(tokenizer, ids[:-1], FinishReason.LENGTH)
    assert said.startswith(cut) and len(cut) == len(said) - 1
    assert "\N{REPLACEMENT CHARACTER}" in text_of(tokenizer, ids[:-1], FinishReason.STOP)


def test_engines_without_gpus_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert cpu_threads(config_of()) == 7
    assert cpu_threads(config_of("engine.actors=2", "engine.max_actors=3")) == 2
    assert cpu_threads(config_of(team("a/A", "b/B", "far"))) == 3
    assert cpu_threads(config_of("engine.actors=20")) == 1
    assert cpu_threads(config_of("engine.cpu_threads=5")) == 5


class Cache:
    """A vLLM whose prefix cache can be emptied at one of the tries."""

    def __init__(self, emptied_at: int) -> None:
        self.tries, self._emptied_at = 0, emptied_at

    async def reset_prefix_cache(self) -> bool:
        self.tries += 1
        return self.tries >= self._emptied_at


def test_a_cache_is_emptied_or_the_engine_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(config_of("engine.timeout_s=0.2"), ModelRef(name="a/A"))
    cache = Cache(emptied_at=3)
    monkeypatch.setattr(engine, "_llm", cache, raising=False)
    asyncio.run(engine.forget())
    assert cache.tries == 3
    monkeypatch.setattr(engine, "_llm", Cache(emptied_at=10_000))
    with pytest.raises(EngineDead, match=r"hangs: its cache is in use after 0.2 s of nothing"):
        asyncio.run(engine.forget())
