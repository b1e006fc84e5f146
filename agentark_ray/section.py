"""What every section of the configuration is made of."""

from collections.abc import Collection
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator

# Marks a field that says where and how fast a run happens, not what it produces.
OPERATIONAL: dict[str, Any] = {"operational": True}


class ConfigError(ValueError):
    """A configuration the user can mend; the message names the key, the value and the rule."""


class Section(BaseModel):
    """A frozen section that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def chosen_by(key: str, names: Collection[str], default: str, error: str) -> Discriminator:
    """Chooses among sections with a tag by the value of `key`, one of `names`.

    `error` is the type of pydantic's error if it is none of them.
    """

    def name_of(value: Any) -> str | None:
        name = value.get(key, default) if isinstance(value, dict) else getattr(value, key)
        return name if name in names else None

    return Discriminator(
        name_of,
        custom_error_type=error,
        custom_error_message=f"no such {key}, expected one of {', '.join(names)}",
    )


def identity_items(section: BaseModel, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, plain value) of every field that decides what a run produces.

    In a mapping of sections a null means "as for all others" and is left out.
    """
    items: list[tuple[str, Any]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if field.json_schema_extra == OPERATIONAL:
            continue
        if isinstance(value, BaseModel):
            items += identity_items(value, f"{prefix}{name}.")
        elif _maps_to_sections(field.annotation):
            for key, inner in value.items():
                found = identity_items(inner, f"{prefix}{name}.{key}.")
                items += [(path, said) for path, said in found if said is not None]
        else:
            items.append((f"{prefix}{name}", section.model_dump(mode="json", include={name})[name]))
    return items


def _maps_to_sections(annotation: Any) -> bool:
    inner = get_args(annotation)[1] if get_origin(annotation) is dict else None
    return isinstance(inner, type) and issubclass(inner, BaseModel)
