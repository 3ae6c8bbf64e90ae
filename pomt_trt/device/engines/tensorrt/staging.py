"""Through which memory of the host images and logits go: page-locked, or where that is slower, pageable.

Chooses between the two for one engine's buffers, on the machine that runs engines. Boards whose GPU does not see the
processor's caches (compute capability below 7.2: TX2, Nano) do not cache page-locked memory for the processor either,
so that filling and reading it is slow; but the copies from pageable memory take a detour. Both are timed there, without
the engine. Leaves out managed and mapped memory: see cuda.

Source: NVIDIA, CUDA for Tegra, memory management, read 2026-11.
"""

import statistics
import time
from typing import Callable, Dict, List, NamedTuple, Optional

import numpy as np

from pomt_trt.device.engines.tensorrt.cuda import Buffer, Session

COHERENT_FROM = (7, 2)  # compute capability
TIMES = 15  # each, in turn; the medians are compared
PAGE_LOCKED, PAGEABLE = "page-locked", "pageable"


class Staging(NamedTuple):
    """The buffers that a run uses, and what is told of them."""

    given: Buffer
    result: Buffer
    told: str


def chosen(
    session: Session, given: Buffer, result: Buffer, wait: Callable[[], None], asked: Optional[str] = None
) -> Staging:
    """Page-locked staging, or pageable where it is measured to be faster. Call it with the session's context current.

    Args:
        given, result: page-locked input and output.
        wait: until the stream has done what was enqueued, as runs will wait.
        asked: PAGE_LOCKED or PAGEABLE, to compare them; None: the faster one.
    """
    if asked is None and session.compute_capability >= COHERENT_FROM:
        return Staging(given, result, PAGE_LOCKED + " staging")
    pairs = {
        PAGE_LOCKED: (given, result),
        PAGEABLE: (session.pageable(given), session.pageable(result)),
    }
    if asked is not None:
        return Staging(*pairs[asked], asked + " staging")
    seen_ms: Dict[str, List[float]] = {name: [] for name in pairs}
    image = np.zeros_like(given.host)
    for _ in range(TIMES):
        for name, pair in pairs.items():
            seen_ms[name].append(_copies_ms(session, pair[0], pair[1], image, wait))
    ms = {name: statistics.median(values) for name, values in seen_ms.items()}
    faster, slower = sorted(ms, key=lambda name: ms[name])
    told = "{} staging: its copies take {:.3f} ms a run, through {} memory {:.3f} ms"
    return Staging(*pairs[faster], told.format(faster, ms[faster], slower, ms[slower]))


def _copies_ms(session: Session, given: Buffer, result: Buffer, image: np.ndarray, wait: Callable[[], None]) -> float:
    """What a run does besides running, in milliseconds."""
    began_s = time.perf_counter()
    np.copyto(given.host, image)
    session.copy_in(given)
    session.copy_out(result)
    wait()
    result.host.copy()
    return (time.perf_counter() - began_s) * 1e3
