"""What is kept of requests: rows for monitoring, in files, and the latest ones for charts.

No text of a question or an answer is kept.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentark_ray.location import locate, make_folder
from agentark_ray.monitoring import MONITORING_SCHEMA

RECENT = 500  # requests in memory
FLUSH_ROWS = 1_000
FLUSH_S = 30.0
KEPT_ROWS = 100_000  # while they cannot be written; older ones are dropped
LOGGER = logging.getLogger("ray.serve")


class Recorder:
    """One for an application. Loses at most the last FLUSH_S seconds when it is killed.

    Args:
        folder: where files of monitoring rows go; a local path or a URI.
    """

    def __init__(self, folder: str) -> None:
        self._filesystem, self._folder = locate(folder)
        self._rows: list[dict[str, Any]] = []
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._flushing = asyncio.get_running_loop().create_task(self._flush_sometimes())

    async def add(
        self, rows: Sequence[Mapping[str, Any]], recent: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take rows of MONITORING_SCHEMA, and figures of requests for the charts."""
        self._rows += [dict(row) for row in rows]
        self._recent.extend(dict(one) for one in recent)
        if len(self._rows) >= FLUSH_ROWS:
            await self.flush()

    async def recent(self) -> list[dict[str, Any]]:
        """Figures of the latest requests, the oldest first."""
        return list(self._recent)

    async def flush(self) -> None:
        """Write what is in memory; the latest KEPT_ROWS stay there if that fails."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            await asyncio.to_thread(self._write, rows)
        except Exception:
            kept = (rows + self._rows)[-KEPT_ROWS:]
            dropped = len(rows) + len(self._rows) - len(kept)
            LOGGER.exception("records: %s rows not written yet, %s dropped", len(kept), dropped)
            self._rows = kept

    def _write(self, rows: list[dict[str, Any]]) -> None:
        make_folder(self._filesystem, self._folder)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        name = f"{self._folder}/{stamp}-{uuid.uuid4().hex[:8]}.parquet"
        table = pa.Table.from_pylist(rows, schema=MONITORING_SCHEMA)
        pq.write_table(table, name + ".tmp", filesystem=self._filesystem, compression="zstd")
        self._filesystem.move(name + ".tmp", name)

    async def _flush_sometimes(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def __del__(self) -> None:
        self._flushing.cancel()
        await self.flush()


def figures(
    *, arm: str, latency_s: float, tokens: int, path: str | None, agreement: bool | None
) -> dict[str, Any]:
    """What the charts know of a request."""
    return {
        "time": time.time(),
        "arm": arm,
        "path": path,
        "latency_ms": round(1000 * latency_s, 1),
        "tokens": tokens,
        "agreement": agreement,
    }
