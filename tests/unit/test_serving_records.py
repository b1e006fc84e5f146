"""Records while they cannot be written."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentark_ray.serving import records
from agentark_ray.serving.records import Recorder


class Broken(Recorder):
    """Writes into a list, after some failures."""

    def __init__(self, folder: str, failures: list[Exception]) -> None:
        super().__init__(folder)
        self.failures, self.written = failures, list[Any]()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.written += rows

    def __del__(self) -> None: ...  # type: ignore[override]


def test_the_latest_records_are_kept_until_they_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "KEPT_ROWS", 3)
    monkeypatch.setattr(records, "FLUSH_S", 0.02)

    async def work() -> list[Any]:
        recorder = Broken(str(tmp_path), [OSError("full"), ValueError("not a table")])
        await recorder.add([{"n": n} for n in range(5)], [])
        async with asyncio.timeout(30):
            while not recorder.written:
                await asyncio.sleep(0.01)
        recorder._flushing.cancel()
        return recorder.written

    assert asyncio.run(work()) == [{"n": 2}, {"n": 3}, {"n": 4}]
