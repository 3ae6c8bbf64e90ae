"""device/deploy/feature_file: numpy reads what was written row by row, and nothing is left of what was not finished."""

import os

import numpy as np
import pytest

from pomt_trt.core.errors import UsageError
from pomt_trt.device.deploy.feature_file import FeatureFile


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_numpy_reads_the_rows(rows, tmp_path):
    features = np.random.RandomState(0).normal(size=(rows, 5)).astype(np.float32)
    path = str(tmp_path / "f.npy")
    with FeatureFile(path, 5) as file:
        assert [file.append(row) for row in features] == list(range(rows))
    read = np.load(path, allow_pickle=False)
    assert read.dtype == np.float32 and read.shape == (rows, 5) and np.array_equal(read, features)


def test_what_was_not_finished_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.npy"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), FeatureFile(str(path), 2) as file:
        file.append(np.zeros(2, np.float32))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(str(tmp_path)) == ["f.npy"]


def test_another_ending_is_refused():
    with pytest.raises(UsageError, match="--out f.csv is not the name of a .npy file"):
        FeatureFile("f.csv", 2)
