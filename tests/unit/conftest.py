"""Fixtures of the unit tests."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def one_worker() -> Iterator[None]:
    """torch.distributed with this process alone."""
    import torch.distributed
    from torch._C._distributed_c10d import HashStore

    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
