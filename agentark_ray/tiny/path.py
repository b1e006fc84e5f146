"""Where the shipped weights are. Imports nothing heavy."""

from pathlib import Path


def tiny_model_path() -> Path:
    """The folder of the tiny model, in Hugging Face format."""
    return Path(__file__).parent / "weights"
