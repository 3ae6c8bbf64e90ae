"""The bootstrap over images: how often each image is drawn in each resample, and intervals from the statistics."""

from typing import Callable

import numpy as np

from pomt_trt.core.records import Interval

RESAMPLES = 2000  # the error of an interval's ends is then a few per cent of its width
BLOCK = 1 << 21  # weights that are made at a time


def resampled(statistic: Callable[[np.ndarray], np.ndarray], images: int, resamples: int = RESAMPLES) -> np.ndarray:
    """The statistic of all images, and then of each resample: (1 + resamples, ...).

    The images that are drawn depend on their number alone, so that two models are compared on the same ones.

    Args:
        statistic: weights (m, images), how often each image counts in each of m resamples -> (m, ...).
    """
    random = np.random.RandomState(0)  # its stream is frozen (NEP 19)
    share, at_once = np.full(images, 1 / images), max(1, BLOCK // images)
    parts = [statistic(np.ones((1, images)))]
    for start in range(0, resamples, at_once):
        drawn = random.multinomial(images, share, size=min(at_once, resamples - start))
        parts.append(statistic(drawn.astype(float)))
    return np.concatenate(parts)


def interval(values: np.ndarray) -> Interval:
    """The 95 % percentile interval of resampled values (n,); where a resample has no value (NaN), it is left out."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
