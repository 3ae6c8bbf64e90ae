"""The engines of one group, timed in turn in this process with one pool of threads: Engines -> LatencyProfiles.

Why one process and one pool: idle threads of several pools spin, and would slow the engine down that runs.
"""

import contextlib
import math
import statistics
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import Energy, Engine, LatencyProfile, TimedGroup, TimedMember
from pomt_trt.core.statistics import across_groups, stats, within_group
from pomt_trt.core.statistics.drift import Rounds
from pomt_trt.core.statistics.estimate import Estimate, estimate
from pomt_trt.core.statistics.stability import Bounds, verdict
from pomt_trt.core.statistics.stats import Location, StoppingRule
from pomt_trt.core.timing_protocol import timed_ms
from pomt_trt.device.board import energy, sensors
from pomt_trt.device.engines import contract, engine, registry
from pomt_trt.device.timing.turns.round_watch import RoundWatch
from pomt_trt.device.timing.turns.sampler import Member, Sampling, fitting_runs, rounds_of, sample
from pomt_trt.device.timing.worker_protocol import Request

BURST_MS = 10.0
NARROW = 0.012  # relative width within a group; below it the difference between groups is the larger error
UNIT_WIDTH = 0.25  # relative width of R = 0's interval above which it is called contended
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
) -> Tuple[TimedGroup, List[Tuple[Engine, LatencyProfile]]]:
    """Times engines beside reference engines of known latency; without references, beside the first of them.

    Args:
        references: R = 0 first; without references, it is the first engine.
        told: hears now and then how far it is.
    Returns: the group, and the profile of each engine as far as this group and the references tell.
    Raises: what opening an engine raises; UnstableMeasurement if the clock is unusable.
    """
    settings = request.settings
    shared = settings.waiting == "default" and registry.share_threads(request.device.engine, settings.threads)
    waiting = "default" if shared else "passive"  # pools that spin slow each other down
    modes, clocks = Modes(settings.threads, waiting, settings.max_s, settings.pace_fps), Clocks()
    records = [record for record, _ in references] + list(engines)
    with contextlib.ExitStack() as stack:
        runners, members = [], []
        for number, record in enumerate(records):
            runner = engine.open_engine(record, request.engines, settings.threads, waiting, shared)
            runners.append(stack.enter_context(runner))
            name = "{}.{}".format(record.candidate_id, number)  # a rebuilt engine runs beside the one it may replace
            members.append(EngineMember(name, _call(runner), clocks, modes.pace_fps, sensors.Sampler()))
        watch, timed = RoundWatch(), members[len(references) :]
        rule = StoppingRule(narrow=NARROW, max_s=settings.max_s)
        sampling = Sampling(rule, within_group.quick, clocks.wall, watch, progress=Seldom(clocks.wall, told))
        stopped = sample(members[: len(references)], timed, sampling)
        on_gpu = [_on_gpu(runner) for runner in runners[len(references) :]]
    known = {member.name: profile for member, (_, profile) in zip(members, references)}
    found, clean = located(members, known, watch.disturbed)
    results = []
    for member, record, extra in zip(timed, engines, on_gpu):
        made = profile(member, record, modes, found[member.name], stopped[member.name])
        shown, is_unit = dict(watch.contention(), **member.seen()), member is members[0]
        results.append((record, judged(made, shown, clean, is_unit)._replace(**extra)))
    parts = zip(records, members)
    rows = [TimedMember(one.candidate_id, one.sha256, _rows(member.rounds_ms)) for one, member in parts]
    return TimedGroup(tuple(rows), len(references), tuple(watch.disturbed)), results


class Found(NamedTuple):
    """What a group says of one member."""

    latency: Location
    own: Estimate  # by its own times, from the rounds that count
    rounds: Tuple[Tuple[float, ...], ...]  # those


def located(
    members: Sequence[Member], references: Mapping[str, LatencyProfile], disturbed: Sequence[bool]
) -> Tuple[Dict[str, Found], bool]:
    """The latency of each member by name, relative to the first one and to references; whether the group is clean.

    Args:
        references: profiles by the name of the member.
        disturbed: of each round.
    Raises: UnstableMeasurement if a member has no usable time.
    """
    group = rounds_of(members)
    used = within_group.counted(group, disturbed)
    counting = {name: used.rounds(name, rounds) for name, rounds in group.items()}
    own = {name: estimate(name, counting) for name in counting}
    unit = members[0].name
    unit_ms = references[unit].latency_ms if unit in references else own[unit].latency.value
    known = {name: known_ratio(profile, unit_ms) for name, profile in references.items() if name != unit}
    logs = within_group.group_logs(group, disturbed)
    fitted = across_groups.fit([logs], unit, known)
    found = {name: Found(fitted.location(name, unit_ms), own[name], _rows(counting[name])) for name in own}
    return {**found, unit: found[unit]._replace(latency=own[unit].latency)}, logs.clean


def known_ratio(profile: LatencyProfile, unit_ms: float) -> Tuple[float, float]:
    """The log of a profile's latency relative to R = 0, and its variance: what across_groups.fit takes as known."""
    low, high = profile.latency_ci_ms
    return math.log(profile.latency_ms / unit_ms), (math.log(high / low) / (2 * 1.96)) ** 2


def profile(member: EngineMember, record: Engine, modes: Modes, found: Found, stopped: str) -> LatencyProfile:
    """The profile of a member that was timed; its verdict and what the machine showed are filled in afterwards."""
    percentiles = stats.percentiles(member.rounds_ms)
    return LatencyProfile(
        candidate_id=record.candidate_id,
        device_id=record.device.id,
        engine_sha256=record.sha256,
        threads=modes.threads,
        waiting=modes.waiting,
        pace_fps=modes.pace_fps,
        latency_ms=found.latency.value,
        latency_ci_ms=(found.latency.low, found.latency.high),
        cpu_ms=statistics.median(member.cpu_ms),
        p50_ms=percentiles.p50,
        p90_ms=percentiles.p90,
        p95_ms=percentiles.p95,
        p99_ms=percentiles.p99,
        rounds_ms=found.rounds,
        drift=tuple(found.own.drift),
        tie=found.latency.value / found.own.latency.value,
        stopped=stopped,
        max_s=modes.max_s,
        verdict="",
        contention={},
    )


def judged(made: LatencyProfile, shown: Dict[str, Any], clean: bool, is_unit: bool = False) -> LatencyProfile:
    """A profile with its verdict.

    Args:
        shown: what the machine's counters and sensors showed meanwhile.
        clean: whether the engine was timed in undisturbed rounds.
        is_unit: R = 0. Its interval is that of the machine's speed, which no ratio depends on.
    """
    low, high = made.latency_ci_ms
    bounds = Bounds(relative_width=UNIT_WIDTH) if is_unit else Bounds()
    word = verdict((high - low) / made.latency_ms, clean, shown, bounds)
    clocks = shown.get("clocks")
    if clocks == sensors.FLOATING or clocks == sensors.MOVING and word != "throttled":
        word = "floating"
    return made._replace(verdict=word, contention=dict(shown, drift=max(made.drift) - 1.0))


def energy_of(request: Request, record: Engine) -> Optional[Energy]:
    """What a run of an engine costs, which runs alone and waits as it will in use; None if no rail can be read."""
    meter = sensors.power_meter()
    if meter is None:
        return None
    with engine.open_engine(record, request.engines, request.settings.threads, request.settings.waiting) as runner:
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


def _rows(rounds: Rounds) -> Tuple[Tuple[float, ...], ...]:
    return tuple(tuple(row) for row in rounds)
