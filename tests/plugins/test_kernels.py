"""The kernels' bodies on this processor: right in ordinary and hard cases, and clean under ASan and UBSan."""

import ctypes
import itertools
import os
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.plugins import cases, compilers
from tests.plugins.kernels import Kernels

pytestmark = compilers.needs_gxx


@pytest.fixture(scope="module")
def kernels():
    return Kernels(compilers.host_kernels())


@pytest.mark.parametrize("shape", cases.SHAPES + cases.WIDE, ids=str)
def test_prune_gives_prefix_kept_by_score_and_the_mean_of_the_others(kernels, shape):
    cases.check_prune(kernels, shape, least=1e-7 if shape in cases.WIDE else 1e-5)


@pytest.mark.parametrize("shape", cases.SHAPES + cases.WIDE, ids=str)
def test_topk_gives_prefix_and_kept_by_score(kernels, shape):
    cases.check_topk(kernels, shape)


@pytest.mark.parametrize("kinds", list(itertools.product(cases.KINDS, repeat=3)), ids=str)
def test_prune_takes_any_types(kernels, kinds):
    cases.check_prune(kernels, (2, 2, 33, 8, 24, 1, 12), kinds, 1e-5)


@pytest.mark.parametrize("kinds", list(itertools.product(cases.KINDS, repeat=2)), ids=str)
def test_topk_takes_any_types(kernels, kinds):
    cases.check_topk(kernels, (2, 2, 33, 8, 24, 1, 12), kinds)


@pytest.mark.parametrize("name", cases.hard())
def test_ties_nans_and_extremes_still_give_each_row_once(kernels, name):
    cases.check_hard(kernels, name)


def test_equal_class_attention_is_ranked_by_position(kernels):
    x = np.arange(9, dtype=np.float32).reshape(1, 9, 1)
    row = np.full((1, 2, 1, 9), 0.5, np.float32)
    assert kernels.topk(row, x, 1, 3)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_an_image_does_not_depend_on_its_neighbours(kernels):
    attention, values, x = cases.inputs((3, 2, 20, 4, 6, 1, 5))
    together = kernels.prune(attention, values, x, 1, 5)
    alone = [kernels.prune(attention[i : i + 1], values[i : i + 1], x[i : i + 1], 1, 5) for i in range(3)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_possible_shape_gives_what_the_reference_gives(kernels, data):
    draw = data.draw
    tokens, prefix = draw(st.integers(3, 80)), draw(st.integers(0, 6))
    prefix = min(prefix, tokens - 3)
    removed = draw(st.integers(1, tokens - prefix - 2))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), tokens, draw(st.integers(1, 9)))
    cases.check_prune(kernels, shape + (draw(st.integers(1, 40)), prefix, removed), least=1e-7)


@pytest.mark.parametrize(
    "tokens, prefix, removed", [(3, 0, 0), (3, 0, 2), (3, 1, 1), (4097, 0, 1), (8, -1, 1), (8, 9, 1), (2, 0, 1)]
)
def test_what_cannot_be_is_refused_before_anything_is_written(kernels, tokens, prefix, removed):
    attention = np.zeros((1, 1, tokens, tokens), np.float16)
    with pytest.raises(ValueError, match="status 1"):
        kernels.prune(attention, attention[..., :1], np.zeros((1, tokens, 2), np.float32), prefix, removed)


def test_the_test_build_widens_every_fp16_number_as_numpy_does(kernels):
    bits = np.arange(1 << 16, dtype=np.uint16)
    widen = kernels.library.pomtWiden
    widen.restype = ctypes.c_float
    found = np.array([widen(ctypes.c_ushort(each)) for each in bits.tolist()], np.float32)
    np.testing.assert_array_equal(found, bits.view(np.float16).astype(np.float32))


@given(st.floats(width=32) | st.floats(-70000, 70000, width=32) | st.floats(-(2**-13), 2**-13, width=32))
@example(65519.99609375)
@example(65520.0)
@example(2.9802322387695312e-08)
@example(6.103515625e-05)
def test_the_test_build_rounds_to_fp16_as_numpy_does(kernels, value):
    narrow = kernels.library.pomtNarrow
    narrow.restype = ctypes.c_ushort
    found = np.array([narrow(ctypes.c_float(value))], np.uint16).view(np.float16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, np.array([value], np.float32).astype(np.float16))


def test_no_case_reads_or_writes_outside_its_arrays():
    library = compilers.host_kernels("asan")
    preloaded = compilers.command(["g++", "-print-file-name=libasan.so"]).strip()
    environment = dict(os.environ, LD_PRELOAD=preloaded, ASAN_OPTIONS="detect_leaks=0", OMP_NUM_THREADS="1")
    program = os.path.join(compilers.HERE, "cases.py")
    assert "all cases hold" in compilers.command([sys.executable, program, library], env=environment)
