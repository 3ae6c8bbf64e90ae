"""Files of learned parameters: what they must hold, and what is said of those that do not."""

import pytest
import torch
from safetensors.torch import save_file

from pomt_trt.core.errors import InputError
from pomt_trt.host.reducers.common import learned

THRESHOLDS = {name: torch.tensor([0.5, 0.25, 0.0]) for name in learned.Thresholds._fields}


def written(folder, method, tensors, **metadata):
    path = str(folder / f"{method}.safetensors")
    save_file(tensors, path, {"format": "pomt-trt", "method": method, "version": "1", **metadata})
    return path


def test_thresholds_and_scorers_are_read_back(tmp_path):
    found = learned.read("ltmp", written(tmp_path, "ltmp", THRESHOLDS), 3, 8)
    assert found == learned.Thresholds(*[(0.5, 0.25, 0.0)] * 6)
    vectors = torch.randn(2, 8)
    for llf, depth in (("1", 4), ("0", 3)):
        scorers = learned.read("cropr", written(tmp_path, "cropr", {"scorers": vectors}, llf=llf), depth, 8)
        assert torch.equal(scorers.vectors, vectors) and scorers.llf == (llf == "1")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"merge": torch.tensor([0.5, 1.5, 0.0])}, "merge from 0 to 1.5; finite values from 0 to 1 were expected"),
        ({"prune": torch.tensor([0.5, -0.1, 0.0])}, "prune from -0.1 to 0.5"),
        ({"merge": torch.tensor([0.5, torch.nan, 0.0])}, "merge from nan to nan"),
        ({"merged_mean": torch.tensor([1.0, torch.inf, 0.0])}, "merged_mean from 0 to inf; finite values from 0 on"),
        ({"prune": torch.ones(4)}, r"is of another model: prune has shape \(4,\), the model 3 blocks"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message + ".*Train it for this model: pomt-trt train ltmp"):
        learned.read("ltmp", written(tmp_path, "ltmp", {**THRESHOLDS, **change}), 3, 8)


@pytest.mark.parametrize(
    "vectors, llf, message",
    [
        (torch.ones(3, 8), "1", r"of shape \(3, 8\), the model needs \(2, 8\): one for each block but the last 2"),
        (torch.ones(2, 9), "1", r"shape \(2, 9\)"),
        (torch.full((2, 8), torch.inf), "1", "not finite"),
        (torch.ones(2, 8), "yes", "llf yes, not 0 or 1"),
    ],
)
def test_scorers_of_another_model_are_refused(tmp_path, vectors, llf, message):
    with pytest.raises(InputError, match=message):
        learned.read("cropr", written(tmp_path, "cropr", {"scorers": vectors}, llf=llf), 4, 8)


def test_a_file_of_another_method_or_version_or_program_is_refused(tmp_path):
    for method, metadata in (("cropr", {}), ("ltmp", {"version": "2"}), ("ltmp", {"format": "pt"})):
        path = written(tmp_path, method, THRESHOLDS, **metadata)
        with pytest.raises(InputError, match=f"{path} holds parameters of {method} .* not of ltmp"):
            learned.read("ltmp", path, 3, 8)


def test_damaged_files_are_refused_in_a_line(tmp_path):
    path = tmp_path / "ltmp.safetensors"
    path.write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="cannot be read: .*Fetch or train it again"):
        learned.read("ltmp", str(path), 3, 8)
    with pytest.raises(InputError, match="lacks merge, prune, .*Fetch or train it again"):
        learned.read("ltmp", written(tmp_path, "ltmp", {"scorers": torch.ones(2)}), 3, 8)
