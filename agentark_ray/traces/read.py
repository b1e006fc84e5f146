"""Find and read stored traces, lazily; knows neither Ray nor a run's stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import dataset

from agentark_ray.config import ConfigError
from agentark_ray.run_folder import RunFolder

NEEDED = {"debate_id", "question", "turns", "votes"}


def trace_dataset(folder: RunFolder, out: str) -> dataset.Dataset:
    """The traces of a folder, to be read lazily; pending files are ignored."""
    return dataset.dataset(folder.inner(out), filesystem=folder.filesystem, format="parquet")


def open_traces(uri: str) -> dataset.Dataset:
    """The traces of a run folder, or of a folder of trace files; local or e.g. s3://.

    Raises:
        ConfigError: there are no traces.
    """
    with readable(uri):
        folder = RunFolder(uri)
        out = next((name for name in ("traces", "") if folder.exists(name)), None)
        found = None if out is None else trace_dataset(folder, out)
    if found is None or NEEDED - set(found.schema.names):
        raise ConfigError(
            f"{uri}: no traces; expected a run folder with traces/ in it,"
            " or a folder of trace Parquet files"
        )
    return found


def read_manifest(uri: str) -> dict[str, Any] | None:
    """The manifest of a run folder, or None for a folder of trace files."""
    with readable(uri):
        folder = RunFolder(uri)
        return folder.read_json("manifest.json") if folder.exists("manifest.json") else None


@contextmanager
def readable(uri: str) -> Iterator[None]:
    """What pyarrow cannot make sense of becomes a ConfigError that names the folder."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{uri}: cannot be read: {error}") from None
