"""What an actor makes of its rows."""

import pyarrow as pa
import pytest

from agentark_ray.traces.asking import ROWS_AT_ONCE, table

SCHEMA = pa.schema([("a", pa.int32())])


@pytest.mark.parametrize("rows", [0, 1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 1])
async def test_a_table_has_every_row_in_order(rows: int) -> None:
    found = await table([{"a": i} for i in range(rows)], SCHEMA)
    assert found.schema == SCHEMA
    assert found["a"].to_pylist() == list(range(rows))
    assert found["a"].num_chunks <= 1
