"""What every section of the configuration is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict

# Marks a field that says where and how fast a run happens, not what it produces.
OPERATIONAL: dict[str, Any] = {"operational": True}


class ConfigError(ValueError):
    """A configuration the user can mend; the message names the key, the value and the rule."""


class Section(BaseModel):
    """A frozen section that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
