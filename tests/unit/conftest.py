"""Fixtures of the unit tests."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def without_ray() -> Iterator[None]:
    """A unit test that starts Ray, which calls of its libraries do by themselves, is an error.

    Whatever runs after it would be on that Ray, or end with it.
    """
    yield
    if "ray" in sys.modules:
        import ray

        assert not ray.is_initialized(), "a test of this module has started Ray"


@pytest.fixture(scope="module")
def one_worker() -> Iterator[None]:
    """torch.distributed with this process alone."""
    import torch.distributed
    from torch._C._distributed_c10d import HashStore

    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
