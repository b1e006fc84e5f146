"""Estimates of memory, by hand and by DeepSpeed, and the settings for 8 GPUs of 80 GB."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from transformers import Qwen2Config, Qwen3Config, Qwen3MoeConfig

from agentark_ray.config import Config, ConfigError, load_config, parse_config
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.train.check import check_exportable, expected_memory
from agentark_ray.train.lora import four_bit_settings
from agentark_ray.train.memory import ModelShape, activation_bytes, estimate_memory, model_shape
from agentark_ray.train_config import TrainConfig
from tests.unit.test_layers import ROOT

GPU = 80e9
CONFIGS = ROOT.parent / "jobs" / "configs"
# As in the config.json of these models.
QWEN_7B = Qwen2Config(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)
QWEN_32B = Qwen3Config(
    vocab_size=151936,
    hidden_size=5120,
    intermediate_size=25600,
    num_hidden_layers=64,
    num_attention_heads=64,
    num_key_value_heads=8,
    head_dim=128,
    tie_word_embeddings=False,
)
SHAPE = ModelShape(
    parameters=1000,
    largest_layer=100,
    trained=1000,
    layers=3,
    hidden=8,
    intermediate=20,
    query_width=16,
    kv_width=4,
    vocabulary=50,
)


def settings(**train: Any) -> TrainConfig:
    return TrainConfig(batch_size=64, micro_batch_size=1, **train)


@pytest.mark.parametrize(
    ("train", "gpu"),
    [
        ({"zero_stage": 0, "workers": 4}, 20 * 1000),
        # 18 bytes a parameter, of which the 16-bit gradients (2) are not split
        ({"zero_stage": 1, "workers": 4}, 2 * 1000 + 18 * 250 + 2 * 750),
        ({"zero_stage": 2, "workers": 4}, 2 * 1000 + 18 * 250),
        ({"zero_stage": 2, "workers": 16}, 2 * 1000 + 18 * 1000 // 16),
        ({"zero_stage": 2, "workers": 4, "offload": "optimizer"}, 2 * 1000),
        ({"zero_stage": 3, "workers": 4}, 4 * 100 + 18 * 250),
        ({"zero_stage": 3, "workers": 16}, 4 * 100 + 18 * 1000 // 16),
        ({"zero_stage": 3, "workers": 4, "offload": "optimizer"}, 4 * 100 + 2 * 250),
        ({"zero_stage": 3, "workers": 4, "offload": "all"}, 4 * 100),
        ({"zero_stage": 3, "workers": 4, "dtype": "fp32"}, 4 * 100 + 18 * 250 + 2 * 250),
        ({"zero_stage": 2, "workers": 4, "dtype": "fp32"}, 4 * 1000 + 18 * 250),
    ],
)
def test_states_by_hand(train: dict[str, Any], gpu: int) -> None:
    assert estimate_memory(SHAPE, settings(**train), 16).states == gpu


def test_frozen_weights_have_neither_gradients_nor_optimizer() -> None:
    adapted = ModelShape(**{**_fields(SHAPE), "parameters": 1000, "trained": 40})
    lora = {"lora": {"target_modules": ["q_proj"]}}
    found = estimate_memory(adapted, settings(zero_stage=2, workers=2, **lora), 16)
    assert found.states == 2 * 40 + 18 * 20 + 2 * 960
    four = {"lora": {"target_modules": ["q_proj"], "base_bits": 4}}
    found = estimate_memory(adapted, settings(zero_stage=2, workers=2, **four), 16)
    assert found.states == 2 * 40 + 18 * 20 + 960 // 2


def test_activations_by_hand() -> None:
    layer = 24 * 8 + 4 * (16 + 4) + 8 * 20
    assert activation_bytes(SHAPE, settings(), 16) == 16 * (3 * layer + 10 * 50)
    two = TrainConfig(batch_size=64, micro_batch_size=2, gradient_checkpointing=True)
    assert activation_bytes(SHAPE, two, 16) == 2 * 16 * (3 * 2 * 8 + layer + 10 * 50)
    assert activation_bytes(SHAPE, settings(dtype="fp32"), 16) == 2 * 16 * (3 * layer + 500)


@pytest.mark.parametrize(
    ("name", "model", "parameters"),
    [("qwen2.5-7b", QWEN_7B, 7_615_616_512), ("qwen3-32b", QWEN_32B, 32_762_123_264)],
)
def test_settings_for_eight_gpus_of_80_gb_fit(name: str, model: Any, parameters: int) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    train = config.train
    assert train.workers == 8
    assert train.batch_size % (train.micro_batch_size * 8) == 0
    assert config.distill.seq_len <= config.engine.max_model_len
    assert config.engine.actors * config.gpus_per_engine <= 8
    shape = model_shape(model, train)
    assert shape.parameters == shape.trained == parameters
    assert shape.largest_layer == model.vocab_size * model.hidden_size
    found = estimate_memory(shape, train, config.distill.seq_len)
    if train.zero_stage == 2:
        cpu, gpu = estimate_zero2_model_states_mem_needs(parameters, 8, 1, cpu_offload=False)
    else:
        cpu, gpu, _ = estimate_zero3_model_states_mem_needs(
            parameters, shape.largest_layer, 8, 1, cpu_offload=True, cpu_offload_params=False
        )
    assert (found.cpu, found.states) == (cpu, gpu)
    assert 0.1 * GPU < found.gpu < 0.9 * GPU
    assert f"about {found.gpu / 1e9:.1f} GB of each GPU" in found.words()


def test_a_32b_model_does_not_fit_without_offload() -> None:
    config = load_config(CONFIGS / "qwen3-32b.yaml", ["train.offload=none"])
    shape = model_shape(QWEN_32B, config.train)
    assert estimate_memory(shape, config.train, config.distill.seq_len).gpu > GPU
    two = load_config(CONFIGS / "qwen3-32b.yaml", ["train.offload=none", "train.workers=16"])
    assert estimate_memory(shape, two.train, two.distill.seq_len).gpu < 0.9 * GPU


def test_the_shape_of_a_model_with_adapters() -> None:
    train = settings(lora={"rank": 8, "target_modules": ["q_proj", "v_proj"]})
    shape = model_shape(QWEN_7B, train)
    assert shape.parameters == 7_615_616_512
    assert shape.trained == 28 * 8 * ((3584 + 3584) + (3584 + 512))
    with pytest.raises(ConfigError, match=r"no linear layers \['query'\]; it has .*'q_proj'"):
        model_shape(QWEN_7B, settings(lora={"target_modules": ["query"]}))


def test_what_training_the_shipped_model_needs() -> None:
    config = parse_config({}, ["distill.seq_len=512", "train.zero_stage=0"], "test")
    found = expected_memory(config, str(tiny_model_path()))
    parameters = 1_898_432
    assert found.states == 20 * parameters
    layer = 24 * 192 + 4 * (256 + 128) + 8 * 512
    assert found.activations == 4 * 512 * (4 * layer + 10 * 660)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_four_bits_without_their_package_are_refused() -> None:
    config = parse_config({}, ["train.lora.base_bits=4", "gpus_per_engine=1"], "test")
    with pytest.raises(ConfigError, match="needs the package bitsandbytes, which is missing"):
        expected_memory(config, str(tiny_model_path()))
    with pytest.raises(ConfigError, match="base_bits=4 needs the package bitsandbytes"):
        four_bit_settings(torch.bfloat16)


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(ConfigError, match="type 'qwen3_moe' are stored in another form"):
        check_exportable(Qwen3MoeConfig())
    check_exportable(QWEN_32B)
    check_exportable(QWEN_7B)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["train.offload=all"], "offload=all moves split weights and needs zero_stage=3, got 2"),
        (
            ["train.offload=optimizer", "train.zero_stage=0"],
            "offload=optimizer needs zero_stage 1, 2 or 3, got 0",
        ),
        (["train.lora.base_bits=4"], "base_bits=4 needs GPUs .* got gpus_per_engine=0"),
        (
            ["train.lora.base_bits=4", "train.zero_stage=3", "gpus_per_engine=1"],
            "base_bits=4 needs zero_stage 0, 1 or 2, got 3",
        ),
        (["train.lora.rank=0"], "train.lora.rank=0: .* greater than or equal to 1"),
        (["train.lora.target_modules=[]"], "train.lora.target_modules"),
        (["train.export_shard_gb=0"], "train.export_shard_gb=0: .* greater than 0"),
    ],
)
def test_settings_that_contradict_each_other(values: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({}, values, "test")


def test_memory_settings_may_change_when_a_run_goes_on() -> None:
    changed = parse_config(
        {},
        ["train.zero_stage=3", "train.offload=all", "train.micro_batch_size=2"],
        "test",
    )
    assert changed.identity() == Config().identity()
    adapted = parse_config({}, ["train.lora.rank=8"], "test")
    assert adapted.identity() != Config().identity()


def _fields(shape: ModelShape) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in ModelShape.__slots__}
