"""A checkpoint gives back exactly what it took, and refuses what it did not write."""

import pytest
import torch
from safetensors.torch import save_file

from pomt_trt.core.errors import CorruptArtifact
from pomt_trt.host.training import checkpoint


def trained(seed, steps=3):
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    module[1].requires_grad_(False)
    optimizer = torch.optim.AdamW(module[0].parameters(), lr=0.1)
    for _ in range(steps):
        step(module, optimizer)
    return module, optimizer


def step(module, optimizer):
    optimizer.zero_grad()
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()


def test_training_goes_on_as_if_nothing_had_happened(tmp_path):
    path = str(tmp_path / "checkpoint.safetensors")
    module, optimizer = trained(0)
    checkpoint.save(path, module, optimizer, {"epoch": 2})
    other, fresh = trained(0, steps=0)
    state, tensors = checkpoint.load(path)
    checkpoint.restore(tensors, other, fresh)
    step(module, optimizer)
    step(other, fresh)
    assert state == {"epoch": 2} and torch.equal(module[0].weight, other[0].weight)


def test_what_is_frozen_is_not_kept(tmp_path):
    path = str(tmp_path / "checkpoint.safetensors")
    checkpoint.save(path, *trained(0), {})
    names = set(checkpoint.load(path)[1])
    assert {"model.0.weight", "optimizer.0.exp_avg"} <= names and not any("model.1" in name for name in names)


def test_none_where_there_is_none(tmp_path):
    assert checkpoint.load(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_says_what_to_do(tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(str(path), *trained(0), {})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        save_file({"x": torch.ones(1)}, str(path))
    with pytest.raises(CorruptArtifact, match="Delete it and run the same command again"):
        checkpoint.load(str(path))
