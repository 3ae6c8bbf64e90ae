"""Times the engines of one group beside each other, in this process.

Makes LatencyProfiles from Engines, on the machine that runs them. Leaves out how a run is timed
(device/timing/latency), and where profiles go (device/timing/worker).
"""

import contextlib
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import Energy, Engine, LatencyProfile
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.device.board import board, energy, sensors
from pomt_trt.device.engines import contract, engine, registry
from pomt_trt.device.timing import latency
from pomt_trt.device.timing.worker_protocol import Request

REPORT_EVERY_S = 1.0


def profiles(
    request: Request,
    engines: Sequence[Engine],
    known: Sequence[Tuple[Engine, LatencyProfile]],
    told: Callable[[str], None],
) -> List[Tuple[Engine, LatencyProfile]]:
    """Times engines together, and with them known ones, whose profiles they are tied to; else to the first's.

    Args:
        told: hears how far it is, seldom.
    """
    shared = request.waiting == "default" and registry.share_threads(request.device.engine, request.threads)
    waiting = "default" if shared else "passive"  # engines that spin pools of their own slow each other down
    modes = latency.Modes(request.threads, waiting, request.max_s, request.pace_fps)
    clocks = latency.Clocks(time.perf_counter, time.process_time, time.sleep)
    with contextlib.ExitStack() as stack:
        runners, members = [], []
        for number, record in enumerate([record for record, _ in known] + list(engines)):
            runner = engine.open_engine(record, request.engines, request.threads, waiting, shared)
            runners.append(stack.enter_context(runner))
            name = "{}.{}".format(record.candidate_id, number)  # rebuilt, it runs beside the one it may replace
            members.append(latency.new_member(name, _call(runner), sensors.Sampler()))
        before = board.read(clocks.wall)
        rule = StoppingRule(max_s=request.max_s)
        beside = [latency.Known(member, found.latency_ms) for member, (_, found) in zip(members, known)]
        timed = members[len(known) :]
        stopped = latency.time_group(timed, beside, rule, clocks, modes.pace_fps, Seldom(clocks.wall, told))
        seen = board.contention(before, board.read(clocks.wall))
        on_gpu = [_on_gpu(runner) for runner in runners[len(known) :]]
    results, ties = [], beside
    for member, record, extra in zip(timed, engines, on_gpu):
        why = stopped[member.candidate_id]
        found = latency.profile(member, record, modes, known=ties, group=members, stopped=why, contention=seen)
        results.append((record, found._replace(candidate_id=record.candidate_id, **extra)))
        ties = ties or [latency.Known(member, found.latency_ms)]  # where nothing is known, the first is by now
    return results


def energy_of(request: Request, record: Engine) -> Optional[Energy]:
    """What a run of an engine costs, which runs alone and waits as it will in use; None where no rail can be read."""
    meter = sensors.power_meter()
    if meter is None:
        return None
    with engine.open_engine(record, request.engines, request.threads, request.waiting) as runner:
        run = _call(runner)
        run()  # the first is slower than any other
        return energy.measure(run, meter, runner.input_shape[0])


def _on_gpu(runner: contract.Runner) -> Dict[str, Any]:
    """What a profile says besides where a GPU takes part."""
    times = runner.gpu_times(_image(runner))
    found: Dict[str, Any] = {"modes": runner.modes()}
    if times is not None:
        found.update(gpu_ms=times.compute_ms, transfers_ms=times.copy_in_ms + times.copy_out_ms)
    return found


class Seldom:
    """Tells how far something is, but seldom: each report wakes the parent, which takes a processor from the engine."""

    def __init__(self, clock: Callable[[], float], told: Callable[[str], None]) -> None:
        self._clock, self._last_s, self._told = clock, clock(), told

    def __call__(self, text: str) -> None:
        if self._clock() - self._last_s >= REPORT_EVERY_S:
            self._last_s = self._clock()
            self._told(text)


def _call(runner: contract.Runner) -> Any:
    image = _image(runner)
    return lambda: runner.run(image)


def _image(runner: contract.Runner) -> np.ndarray:
    return np.random.RandomState(0).rand(*runner.input_shape).astype(np.float32)
