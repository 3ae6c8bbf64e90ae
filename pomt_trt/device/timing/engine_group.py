"""The engines of one group, timed in turn in this process with one pool of threads: Engines -> LatencyProfiles.

Why one process and one pool: idle threads of several pools spin, and would slow the engine down that runs.
"""

import contextlib
import statistics
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import Energy, Engine, LatencyProfile
from pomt_trt.core.statistics import stats
from pomt_trt.core.statistics.estimate import Estimate, Relative
from pomt_trt.core.statistics.stability import verdict
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.core.timing_protocol import timed_ms
from pomt_trt.device.board import board, energy, sensors
from pomt_trt.device.engines import contract, engine, registry
from pomt_trt.device.timing.sampler import Member, Sampling, fitting_runs, rounds_of, sample
from pomt_trt.device.timing.worker_protocol import Request

BURST_MS = 10.0
PACED_RUNS = 3  # in a burst; each costs an interval, in which the others of the group wait
REPORT_EVERY_S = 1.0


class Modes(NamedTuple):
    """How runs are made, which is part of what a latency means, and for how long at most."""

    threads: int
    waiting: str
    max_s: float  # idle gaps included
    pace_fps: Optional[float] = None  # a run begins every 1 / pace_fps seconds; None: when the one before has ended


class Clocks(NamedTuple):
    """What tells the time and lets it pass."""

    wall: Callable[[], float] = time.perf_counter  # seconds, monotonic
    cpu: Callable[[], float] = time.process_time  # seconds of CPU that this process has used, all threads
    sleep: Callable[[float], Any] = time.sleep  # takes seconds


class EngineMember(Member):
    """An engine in a group, whose runs follow back to back or at a camera's pace.

    Attributes: cpu_ms (one a burst: CPU time of a run), overran (one a run, paced only: it was still going when the
    next one was due).
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], Any],
        clocks: Clocks,
        pace_fps: Optional[float] = None,
        sampler: Optional[sensors.Sampler] = None,
    ) -> None:
        """
        Args:
            run: one inference, host array in, host logits out.
            sampler: reads the board's sensors after each burst.
        """
        super().__init__(name)
        self._run, self._clocks, self._pace_fps, self._sampler = run, clocks, pace_fps, sampler
        self.cpu_ms: List[float] = []
        self.overran: List[bool] = []

    def warm_up(self) -> int:
        """Runs it twice. A burst fills BURST_MS, or has PACED_RUNS."""
        self._run()
        run_ms = timed_ms(self._run, self._clocks.wall)
        return fitting_runs(run_ms, BURST_MS) if self._pace_fps is None else PACED_RUNS

    def burst(self, runs: int) -> List[float]:
        """Milliseconds of each of `runs` runs, after one that is not counted."""
        began_s = self._clocks.wall()
        self._run()
        cpu_s = self._clocks.cpu()  # before the first gap, so that as many gaps as runs are counted
        if self._pace_fps is None:
            samples = [timed_ms(self._run, self._clocks.wall) for _ in range(runs)]
        else:
            samples = [self._paced_ms(began_s, number, 1 / self._pace_fps) for number in range(1, runs + 1)]
        self.cpu_ms.append((self._clocks.cpu() - cpu_s) / runs * 1e3)
        return samples

    def rest(self) -> None:
        """Reads the board's sensors."""
        if self._sampler is not None:
            self._sampler.sample()

    def seen(self) -> Dict[str, Any]:
        """What the sensors showed, and the share of paced runs that overran."""
        shown = self._sampler.summary() if self._sampler is not None else {}
        return dict(shown, missed=sum(self.overran) / len(self.overran)) if self.overran else shown

    def _paced_ms(self, began_s: float, number: int, interval_s: float) -> float:
        """Run `number` begins when its image comes. Images do not wait for a run that overruns."""
        early_s = began_s + number * interval_s - self._clocks.wall()
        if early_s > 0:
            self._clocks.sleep(early_s)
        run_ms = timed_ms(self._run, self._clocks.wall)
        self.overran.append(self._clocks.wall() > began_s + (number + 1) * interval_s)
        return run_ms


def profiles(
    request: Request,
    engines: Sequence[Engine],
    references: Sequence[Tuple[Engine, LatencyProfile]],
    told: Callable[[str], None],
) -> List[Tuple[Engine, LatencyProfile]]:
    """Times engines beside reference engines of known latency; without references, beside the first of them.

    Args:
        told: hears now and then how far it is.
    Raises: what opening an engine raises; UnstableMeasurement if the clock is unusable.
    """
    shared = request.waiting == "default" and registry.share_threads(request.device.engine, request.threads)
    waiting = "default" if shared else "passive"  # pools that spin slow each other down
    modes, clocks = Modes(request.threads, waiting, request.max_s, request.pace_fps), Clocks()
    with contextlib.ExitStack() as stack:
        runners, members = [], []
        for number, record in enumerate([record for record, _ in references] + list(engines)):
            runner = engine.open_engine(record, request.engines, request.threads, waiting, shared)
            runners.append(stack.enter_context(runner))
            name = "{}.{}".format(record.candidate_id, number)  # a rebuilt engine runs beside the one it may replace
            members.append(EngineMember(name, _call(runner), clocks, modes.pace_fps, sensors.Sampler()))
        latencies_ms = {member.name: known.latency_ms for member, (_, known) in zip(members, references)}
        rule, estimator = StoppingRule(max_s=request.max_s), Relative(latencies_ms)
        sampling = Sampling(rule, estimator, clocks.wall, progress=Seldom(clocks.wall, told))
        before = board.read(clocks.wall)
        timed = members[len(references) :]
        stopped = sample(members[: len(references)], timed, sampling)
        contention = board.contention(before, board.read(clocks.wall))
        on_gpu = [_on_gpu(runner) for runner in runners[len(references) :]]
    results = []
    for member, record, extra in zip(timed, engines, on_gpu):
        estimate = estimator.of(member.name, rounds_of(members))
        made = profile(member, record, modes, estimate, stopped[member.name], contention)
        results.append((record, made._replace(**extra)))
    return results


def profile(
    member: EngineMember,
    record: Engine,
    modes: Modes,
    estimate: Estimate,
    stopped: str,
    contention: Dict[str, float],
) -> LatencyProfile:
    """The profile of a member that was timed.

    Args:
        estimate: what the rounds of its group say of it.
        contention: what the machine's counters showed meanwhile, see board.contention.
    """
    moved = max(max(estimate.drift) - 1.0, abs(estimate.scale - 1.0))
    tail = stats.tail_fraction(member.rounds_ms, estimate.drift, estimate.own)
    seen = dict(contention, drift=moved, tail=tail, **member.seen())
    percentiles = stats.percentiles(member.rounds_ms)
    return LatencyProfile(
        candidate_id=record.candidate_id,
        device_id=record.device.id,
        engine_sha256=record.sha256,
        threads=modes.threads,
        waiting=modes.waiting,
        pace_fps=modes.pace_fps,
        latency_ms=estimate.latency.value,
        latency_ci_ms=(estimate.latency.low, estimate.latency.high),
        cpu_ms=statistics.median(member.cpu_ms),
        p50_ms=percentiles.p50,
        p90_ms=percentiles.p90,
        p95_ms=percentiles.p95,
        p99_ms=percentiles.p99,
        rounds_ms=tuple(tuple(row) for row in member.rounds_ms),
        drift=tuple(estimate.drift),
        tie=estimate.scale,
        stopped=stopped,
        max_s=modes.max_s,
        verdict=_verdict(estimate.latency.relative_width, seen),
        contention=seen,
    )


def _verdict(relative_width: float, seen: Dict[str, Any]) -> str:
    """The word of core/statistics/stability, but 'floating' if clocks were free to move, or moved."""
    if seen.get("clocks") == sensors.FLOATING:
        return "floating"
    word = verdict(relative_width, seen["drift"], dict(seen, over_current=sum(seen.get("over_current", {}).values())))
    return "floating" if seen.get("clocks") == sensors.MOVING and word != "throttled" else word


def energy_of(request: Request, record: Engine) -> Optional[Energy]:
    """What a run of an engine costs, which runs alone and waits as it will in use; None if no rail can be read."""
    meter = sensors.power_meter()
    if meter is None:
        return None
    with engine.open_engine(record, request.engines, request.threads, request.waiting) as runner:
        run = _call(runner)
        run()  # the first is slower than any other
        return energy.measure(run, meter, runner.input_shape[0])


def _on_gpu(runner: contract.Runner) -> Dict[str, Any]:
    """The fields of a profile that a GPU fills."""
    times = runner.gpu_times(_image(runner))
    fields: Dict[str, Any] = {"modes": runner.modes()}
    if times is not None:
        fields.update(gpu_ms=times.compute_ms, transfers_ms=times.copy_in_ms + times.copy_out_ms)
    return fields


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
