"""What can be known to be wrong with a training before its workers start, and what it will need."""

from importlib.util import find_spec
from typing import Any

from agentark_ray.config import Config, ConfigError
from agentark_ray.models import local_model
from agentark_ray.train.memory import MemoryEstimate, estimate_memory, model_shape


def expected_memory(config: Config, model: str) -> MemoryEstimate:
    """What training this model will need; reads its configuration, no weights.

    Raises:
        ConfigError: the model cannot be trained and exported with these settings.
    """
    from transformers import AutoConfig

    lora = config.train.lora
    if lora and lora.base_bits and not find_spec("bitsandbytes"):
        raise ConfigError("train.lora.base_bits=4 needs the package bitsandbytes, which is missing")
    trust = config.engine.trust_remote_code
    found = AutoConfig.from_pretrained(local_model(model, weights=False), trust_remote_code=trust)
    check_exportable(found)
    shape = model_shape(found, config.train, trust)
    return estimate_memory(shape, config.train, config.distill.seq_len)


def check_exportable(config: Any) -> None:
    """Raises ConfigError for a model that transformers holds in another form than it is stored in.

    Experts are joined when they are read; export writes weights as they are held, one at a time.
    """
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.core_model_loading import WeightConverter

    mapping = get_checkpoint_conversion_mapping(config.model_type) or []
    if any(isinstance(entry, WeightConverter) for entry in mapping):
        raise ConfigError(
            f"model: models of type {config.model_type!r} are stored in another form than they are"
            " trained in (joined experts), and cannot be exported; expected a dense model"
        )
