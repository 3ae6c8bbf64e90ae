"""The energy of one run of an engine, above that of the idle board.

First the board idles, then one engine runs without pauses. A thread reads the power meter in both parts.
energy = (mean power while running - mean idle power) * time of a run.

A power chip averages over about half a second. So the first readings of each part are left out, the others are cut into
blocks that are longer than this average, and engines do not take turns.
"""

import math
import threading
import time
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Energy
from pomt_trt.device.board import sensors

STEP_S = 0.02  # between readings
SETTLE_S = 0.6  # left out at the start of each part
BLOCKS, BLOCK_S = 6, 0.6  # the lowest and highest of six blocks enclose the median with 97 % confidence

Meter = Callable[[], Optional[float]]  # watts now; None: not readable now
Reading = Tuple[float, float]  # time in seconds, watts


class Part(NamedTuple):
    """Power in one part of a measurement."""

    blocks_w: List[float]  # mean power in each block
    runs: int  # that started in these blocks
    seconds: float  # of these runs together


def check_meter() -> None:
    """Raises UsageError if energy cannot be measured."""
    if sensors.power_meter() is None:
        raise UsageError(
            "--energy needs a power sensor, and none can be read here (a Jetson's are below /sys). "
            "Leave it out, or run on the board; in a container /sys must show the board's."
        )


def measure(run: Callable[[], Any], meter: Meter, images: int) -> Optional[Energy]:
    """Measures the energy of one run; takes about 8 seconds.

    Args:
        run: runs a whole batch. It must be warmed up.
        images: in that batch.
    Returns: None if a block has no reading.
    """
    idle, busy = _part(lambda: time.sleep(STEP_S), meter), _part(run, meter)
    if idle is None or busy is None:
        return None
    run_s = busy.seconds / busy.runs
    idle_w, busy_w = _mean(idle.blocks_w), _mean(busy.blocks_w)
    least_w = min(busy.blocks_w) - max(idle.blocks_w)
    most_w = max(busy.blocks_w) - min(idle.blocks_w)
    return Energy(
        energy_mj=(busy_w - idle_w) * run_s * 1e3,
        energy_ci_mj=(least_w * run_s * 1e3, most_w * run_s * 1e3),
        idle_w=idle_w,
        busy_w=busy_w,
        run_ms=run_s * 1e3,
        runs=busy.runs,
        images=images,
    )


def _part(run: Callable[[], Any], meter: Meter) -> Optional[Part]:
    """Calls `run` without pauses for all blocks, and reads the meter; None if a block has no reading."""
    readings: List[Reading] = []
    done = threading.Event()
    reader = threading.Thread(target=_read, args=(meter, readings, done), daemon=True)
    reader.start()
    try:
        _repeat(run, SETTLE_S)
        began_s = time.perf_counter()
        runs = _repeat(run, BLOCKS * BLOCK_S)
        seconds = time.perf_counter() - began_s
    finally:
        done.set()
        reader.join()
    blocks: List[List[float]] = [[] for _ in range(BLOCKS)]
    for at_s, watts in readings:
        number = math.floor((at_s - began_s) / BLOCK_S)
        if 0 <= number < BLOCKS:
            blocks[number].append(watts)
    return Part([_mean(block) for block in blocks], runs, seconds) if all(blocks) else None


def _repeat(run: Callable[[], Any], seconds: float) -> int:
    """Calls `run` without pauses for that time; returns the number of runs."""
    until, runs = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        run()
        runs += 1
    return runs


def _read(meter: Meter, readings: List[Reading], done: threading.Event) -> None:
    """Reads the meter every STEP_S until `done`."""
    while not done.wait(STEP_S):
        watts = meter()
        if watts is not None:
            readings.append((time.perf_counter(), watts))


def _mean(values: List[float]) -> float:
    return sum(values) / len(values)
