"""The kernels on a GPU, where there is one: the same cases as on a processor, through the same C functions."""

import os
import shutil

import numpy as np
import pytest

from tests.plugins import cases, compilers
from tests.plugins.kernels import Kernels
from tests.plugins.test_kernels import (  # noqa: F401  run here too, on the kernels of this module
    test_prune_gives_prefix_kept_by_score_and_the_mean_of_the_others,
    test_prune_takes_any_types,
    test_ties_nans_and_extremes_still_give_each_row_once,
    test_topk_gives_prefix_and_kept_by_score,
    test_topk_takes_any_types,
)

torch = pytest.importorskip("torch", reason="brings arrays to the GPU")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not here"),
]


class GpuKernels(Kernels):
    """The library that nvcc builds, on arrays in the GPU's memory."""

    def placed(self, array):
        return torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def pointer(self, placed):
        return placed.data_ptr()

    def fetched(self, placed):
        return placed.cpu().numpy()


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    capability = "{}{}".format(*torch.cuda.get_device_capability())
    compilers.command(["make", "-C", compilers.PLUGINS, "kernels", f"BUILD={folder}", f"SM={capability}"])
    return GpuKernels(os.path.join(folder, "libpomt_kernels.so"))


def test_the_same_call_gives_the_same_bits(kernels):
    arrays = cases.inputs((2, 6, 197, 64, 384, 1, 56), (np.float16,) * 3)
    np.testing.assert_array_equal(*(kernels.prune(*arrays, 1, 56) for _ in range(2)))
