"""What vLLM raises when its engine has ended; apart, since importing it takes seconds."""

from vllm.v1.engine.exceptions import EngineDeadError

__all__ = ["EngineDeadError"]
