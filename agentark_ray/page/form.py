"""Figures as text for people."""

from typing import Any

MISSING = "not measured"


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal."""
    return MISSING if share is None else f"{share:.1%}"


def number(value: float | None) -> str:
    """A figure with three digits or more, thousands separated."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"


def fact(value: Any) -> str:
    """A value for people: numbers with separators, floats with four digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
