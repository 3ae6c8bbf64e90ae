"""Ordinary and hard cases for the kernels, and a run through all of them: python cases.py KERNELS.so

Scores of ordinary cases lie so far apart that no rounding can swap two; then rows must come out in the same order.
"""

import sys

import numpy as np

if __package__:
    from . import kernels
else:  # run as a program, in a process with a sanitizer
    import kernels

# batch, heads, tokens, head width, channels, prefix, removed: R at its limits, every prefix, few and many tokens
SHAPES = [
    (1, 1, 3, 1, 1, 0, 1),
    (2, 3, 4, 5, 7, 1, 1),
    (1, 2, 5, 4, 8, 2, 1),
    (2, 2, 8, 3, 17, 5, 1),
    (1, 3, 17, 8, 24, 1, 1),
    (1, 3, 17, 8, 24, 1, 14),
    (3, 2, 33, 16, 40, 0, 31),
    (1, 6, 197, 64, 384, 1, 56),
    (2, 3, 198, 64, 48, 2, 99),
    (1, 4, 261, 64, 96, 5, 60),
    (1, 2, 257, 33, 33, 1, 254),
    (1, 1, 577, 8, 12, 1, 100),
]
WIDE = [(1, 1, 1370, 4, 16, 1, 274), (1, 1, 4096, 2, 5, 0, 4094), (1, 1, 4096, 2, 4, 5, 819)]
KINDS = [np.float32, np.float16]


def inputs(shape, kinds=(np.float32, np.float32, np.float32), seed=0):
    """attention, values and x whose scores are far apart: each column of attention is a multiple of its rank."""
    batch, heads, tokens, head_width, channels, _, _ = shape
    random = np.random.RandomState(seed)
    columns = np.stack([1 + random.permutation(tokens) for _ in range(batch)])  # (B, N)
    rows = 0.5 + 0.5 * random.rand(batch, heads, tokens, 1)
    attention = rows * columns[:, None, None] / (2 * columns.sum(1)[:, None, None, None])
    values = random.randn(batch, heads, tokens, head_width) / (4 * head_width)
    x = random.randn(batch, tokens, channels)
    return [array.astype(kind) for array, kind in zip((attention, values, x), kinds)]


def clear(attention, values, prefix, least=1e-5):
    """Whether no two scores of an image are nearer than rounding."""
    ordered = np.sort(kernels.prune_scores(attention, values, prefix))
    return ordered.shape[1] < 2 or bool((np.diff(ordered) > least).all())


def check_prune(built, shape, kinds=(np.float32, np.float32, np.float32), least=1e-5):
    """Raises where pomtPrune differs from the reference by more than rounding."""
    attention, values, x = inputs(shape, kinds)
    prefix, removed = shape[5:]
    assert clear(attention, values, prefix, least), shape
    found = built.prune(attention, values, x, prefix, removed)
    compare(found, kernels.pruned(attention, values, x, prefix, removed))


def check_topk(built, shape, kinds=(np.float32, np.float32)):
    """Raises where pomtTopK differs from the reference; rows are copied, so it may not differ at all."""
    attention, _, x = inputs(shape, (kinds[0], np.float32, kinds[1]))
    row, (prefix, removed) = np.ascontiguousarray(attention[:, :, :1]), shape[5:]
    expected = kernels.topped(row, x, prefix, removed)
    np.testing.assert_array_equal(built.topk(row, x, prefix, removed), expected.astype(x.dtype))


def compare(found, expected):
    """fp32 within 1e-5, fp16 within 2e-3, of the largest value; all rows but the mean are copies."""
    tolerance = 1e-5 if found.dtype == np.float32 else 2e-3
    np.testing.assert_array_equal(found[:, :-1], expected[:, :-1].astype(found.dtype))
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def hard(tokens=65, prefix=1, heads=2, channels=9):
    """name -> attention, values, x whose scores are no ordinary numbers."""
    random = np.random.RandomState(1)
    x = random.randn(1, tokens, channels).astype(np.float32)
    flat = np.full((1, heads, tokens, tokens), 1 / tokens, np.float32)
    still = np.zeros((1, heads, tokens, 4), np.float32)
    pairs = np.repeat(np.arange(1, tokens + 1), 2)[:tokens].astype(np.float32)
    nan_column, infinite = flat * pairs, still.copy()
    nan_column[:, :, :, prefix + 3] = np.nan
    infinite[:, :, prefix + 5] = np.inf
    nan_value = still.copy()
    nan_value[:, 0, prefix + 2, 1] = np.nan
    return {
        "constant": (flat, still, x),
        "pairs": (flat * pairs, still, x),
        "zero": (flat * 0, still, x),
        "minus zero": (flat * 0 - np.float32(0), still, x),
        "nan in a column": (nan_column, still, x),
        "nan everywhere": (flat * np.nan, still, x),
        "nan in a value": (flat * pairs, nan_value, x),
        "infinite value": (flat * pairs, infinite, x),
        "huge values": (flat * pairs, still + np.float32(3e37), x),
        "subnormal": (flat * np.float32(1e-42), still, x),
    }


def check_hard(built, name, removed=20, prefix=1):
    """Raises unless a permutation comes out: rows of x once each, best first by the contract, and the others' mean."""
    attention, values, x = hard()[name]
    found = built.prune(attention, values, x, prefix, removed)
    kept = x.shape[1] - prefix - removed - 1
    order = [int(np.flatnonzero((x[0] == row).all(1))[0]) for row in found[0, : prefix + kept]]
    assert order[:prefix] == list(range(prefix))
    with np.errstate(all="ignore"):
        score = np.nan_to_num(kernels.prune_scores(attention, values, prefix)[0], nan=-np.inf)
    if name == "nan in a column":  # the reference's maximum is NaN there; the kernel's is that of the numbers
        score = attention[0, 0, 0, prefix:].astype(np.float64)
        score[3] = -np.inf
    assert order[prefix:] == list(prefix + np.argsort(-score, kind="stable")[:kept])
    dropped = np.setdiff1d(np.arange(x.shape[1]), order)
    assert len(dropped) == removed + 1
    np.testing.assert_allclose(found[0, -1], x[0, dropped].astype(np.float64).mean(0), atol=1e-6)


def check_all(built):
    """Everything, but for one more type and the widest shapes."""
    for shape in SHAPES:
        check_prune(built, shape)
        check_topk(built, shape)
    for name in hard():
        check_hard(built, name)
    check_prune(built, SHAPES[4], (np.float16,) * 3, 1e-4)
    check_topk(built, SHAPES[1], (np.float16, np.float16))


if __name__ == "__main__":
    check_all(kernels.Kernels(sys.argv[1]))
    print("all cases hold")
