"""Chooses the host memory for images and logits: page-locked or pageable.

Page-locked memory is usually faster, since the GPU copies it directly. But below compute capability 7.2 (TX2, Nano) the
GPU does not see the processor's caches, so the processor does not cache page-locked memory and accesses it slowly.
There both are timed, without the engine, and the faster one is used.

Source: NVIDIA, CUDA for Tegra, memory management, read 2026-11.
"""

import statistics
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from pomt_trt.device.engines.tensorrt.cuda import Buffer, Session

COHERENT_FROM = (7, 2)  # compute capability
TIMES = 15  # of each, in turns; the medians are compared
PAGE_LOCKED, PAGEABLE = "page-locked", "pageable"

Buffers = Tuple[Buffer, Buffer]  # input, output


class Staging(NamedTuple):
    """The buffers of a run."""

    input: Buffer
    output: Buffer
    description: str  # for Runner.modes


def chosen(session: Session, page_locked: Buffers, wait: Callable[[], None], asked: Optional[str] = None) -> Staging:
    """Page-locked staging, or pageable staging if that is measured to be faster. The session must be current.

    Args:
        page_locked: input and output.
        wait: waits for the stream as a run does.
        asked: PAGE_LOCKED or PAGEABLE to use that one without timing; None: the faster one.
    """
    if asked is None and session.compute_capability >= COHERENT_FROM:
        asked = PAGE_LOCKED
    pairs = {PAGE_LOCKED: page_locked, PAGEABLE: (session.pageable(page_locked[0]), session.pageable(page_locked[1]))}
    if asked is not None:
        return Staging(*pairs[asked], asked + " staging")
    samples_ms: Dict[str, List[float]] = {name: [] for name in pairs}
    for _ in range(TIMES):
        for name, buffers in pairs.items():
            samples_ms[name].append(_copies_ms(session, buffers, wait))
    ms = {name: statistics.median(values) for name, values in samples_ms.items()}
    faster, slower = sorted(ms, key=lambda name: ms[name])
    text = "{} staging: its copies take {:.3f} ms a run, through {} memory {:.3f} ms"
    return Staging(*pairs[faster], text.format(faster, ms[faster], slower, ms[slower]))


def _copies_ms(session: Session, buffers: Buffers, wait: Callable[[], None]) -> float:
    """Milliseconds of all copies of one run, on the host and to the device and back."""
    given, result = buffers
    image = np.ones_like(given.host)
    began_s = time.perf_counter()
    np.copyto(given.host, image)
    session.copy_in(given)
    session.copy_out(result)
    wait()
    result.host.copy()
    return (time.perf_counter() - began_s) * 1e3
