"""The engine a config names."""

from agentark_ray.config import Config
from agentark_ray.engine.base import Engine
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.engine.vllm import VllmEngine


def make_engine(config: Config, model: str) -> Engine:
    """An engine that has not started; `model` is a resolved folder or Hugging Face id."""
    engine = config.engine
    if engine.type == "scripted":
        return ScriptedEngine(
            seed=config.seed,
            latency_s=engine.scripted_latency_s,
            accuracy=engine.scripted_accuracy,
            max_model_len=engine.max_model_len,
        )
    return VllmEngine(
        model=model,
        seed=config.seed,
        max_model_len=engine.max_model_len,
        tensor_parallel=config.gpus_per_engine,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        cpu_kv_cache_gib=engine.cpu_kv_cache_gib,
        timeout_s=engine.timeout_s,
        trust_remote_code=engine.trust_remote_code,
        chat_template_kwargs=engine.chat_template_kwargs,
    )
