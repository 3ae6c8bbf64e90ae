"""Torch on a workstation that is a container with a CPU quota."""

import pytest
import torch

from pomt_trt.core import cpus
from pomt_trt.host import threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("quota, expected", [(None, 2), (1.0, 1), (0.5, 1), (8.0, 2)])
def test_torch_never_has_more_threads_than_the_process_may_use(two_threads, monkeypatch, quota, expected):
    monkeypatch.setattr(cpus, "usable", lambda: cpus.Cpus(8, 8, quota))
    threads.limit_torch()
    assert torch.get_num_threads() == expected
