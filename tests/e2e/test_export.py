"""vLLM loads what two ZeRO-3 workers have exported in shards, with adapters merged."""

import json
import shutil
from pathlib import Path

import pytest

from agentark_ray.engine.vllm import VllmEngine
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.train.export import INDEX, write_model
from agentark_ray.types import Sampling
from tests.unit.processes import in_processes
from tests.unit.zero_cases import CASES, start

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
QUESTIONS = [f"Tom has {i} apples and buys {i + 3} more. How many has he?" for i in range(2, 6)]


def export(rank: int, folder: str) -> None:
    """Adapters are new: merged, they change nothing."""
    engine = start(CASES["lora_bf16"])
    write_model(engine.module, folder if rank == 0 else None, 1_000_000)


async def answers(model: str) -> list[str]:
    engine = VllmEngine(
        model=model,
        seed=0,
        max_model_len=512,
        tensor_parallel=0,
        gpu_memory_utilization=0.9,
        cpu_kv_cache_gib=1,
        cpu_threads=2,
        timeout_s=120.0,
        trust_remote_code=False,
        chat_template_kwargs={},
    )
    await engine.start()
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=60)
    try:
        return [
            (await engine(0, [{"role": "user", "content": question}], greedy)).text
            for question in QUESTIONS
        ]
    finally:
        engine.stop()


async def test_vllm_answers_with_an_export_in_shards(tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    shutil.copytree(tiny_model_path(), exported, ignore=shutil.ignore_patterns("*.safetensors"))
    in_processes(export, 2, str(exported))
    assert len(set(json.loads((exported / INDEX).read_text())["weight_map"].values())) > 1
    assert not (exported / "model.safetensors").exists()
    expected = await answers(str(tiny_model_path()))
    assert len(set(expected)) == len(QUESTIONS)
    assert await answers(str(exported)) == expected
