"""What answers cost, in US dollars. By default nothing has a price, and no money is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from agentark_ray.section import OPERATIONAL, Section

Price = Annotated[float | None, Field(ge=0, json_schema_extra=OPERATIONAL)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """US dollars a million tokens."""

    output: float
    prompt: float  # not from the cache
    cached: float  # prompt tokens from the cache

    def cost(self, tokens: Mapping[str, float]) -> dict[str, float]:
        """US dollars by kind; `tokens` has output_tokens, prompt_tokens and, of those, cached."""
        cached = tokens["cached_tokens"]
        return {
            "output": tokens["output_tokens"] * self.output / 1e6,
            "prompt": (tokens["prompt_tokens"] - cached) * self.prompt / 1e6,
            "cached": cached * self.cached / 1e6,
        }


class PricesConfig(Section):
    """US dollars; null where something is not paid for so."""

    output: Price = None
    """A million output tokens."""
    prompt: Price = None
    """A million prompt tokens that were not in the cache."""
    cached: Price = None
    """A million prompt tokens from the cache."""
    gpu_hour: Price = None
    """A GPU for an hour, for `agentark plan`."""

    @model_validator(mode="after")
    def _tokens_have_all_prices(self) -> "PricesConfig":
        of_tokens = {"output": self.output, "prompt": self.prompt, "cached": self.cached}
        missing = [name for name, price in of_tokens.items() if price is None]
        if 0 < len(missing) < len(of_tokens):
            raise ValueError(f"tokens need all three prices, missing: {', '.join(missing)}")
        return self

    @property
    def tokens(self) -> TokenPrices | None:
        """The prices of tokens, if they are known."""
        if self.output is None or self.prompt is None or self.cached is None:
            return None
        return TokenPrices(output=self.output, prompt=self.prompt, cached=self.cached)
