"""One work folder as its stages see it: the experiment, one graph set, and one device's records of its engines."""

import contextlib
import copy
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.choice.variant import Variant, variants_by_id
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import (
    GRID,
    SEARCHED,
    AccuracyEstimate,
    Candidate,
    DeviceSpec,
    Engine,
    Experiment,
    Failure,
    Family,
    LatencyProfile,
    Row,
)
from pomt_trt.core.search.search_state import Point
from pomt_trt.core.storage import experiment as experiments
from pomt_trt.core.storage.workfolder import WorkFolder, locked
from pomt_trt.core.targets import PRECISIONS, of_engine
from pomt_trt.device.board import board
from pomt_trt.device.engines.tensorrt import plugin_files
from pomt_trt.device.timing import settling
from pomt_trt.device.timing.engine_records import EngineRecords
from pomt_trt.device.timing.worker_protocol import Settings


class Scope(NamedTuple):
    """Which part of a work folder a command is about."""

    root: str
    tokens: Optional[str] = None  # START:STOP:STEP; None: all that was exported
    only: Optional[Sequence[str]] = None  # ids, to which R = 0 is added; None: all
    precision: Optional[str] = None  # fp32, fp16 or bf16; None: the one that the folder holds
    engine: str = "auto"  # onnxruntime, tensorrt, tensorrt-rtx, or auto: what is here, see registry.chosen


class Session:
    """The variants of one work folder and all that is known of them. Each record is read once.

    Whoever writes records calls `renew` afterwards. The methods that take an id raise UsageError where the session has
    no such variant. Engines, latencies and failures need a session on a device, see `on`.
    """

    def __init__(
        self, work: WorkFolder, experiment: Experiment, graph_set: Family, candidates: Sequence[Candidate]
    ) -> None:
        """candidates: R = 0 first."""
        self.work, self.experiment, self.graph_set = work, experiment, graph_set
        self._engines: Optional[EngineRecords] = None
        self._accuracies: Dict[str, Optional[AccuracyEstimate]] = {}
        self.variants = _variants(candidates, graph_set.precision, "")

    def on(self, device: DeviceSpec, settings: Settings) -> "Session":
        """The session with the records of a device, whose id becomes that of its engines of this form.

        Raises: MissingDependency where engines of these graphs need plugins that are not here.
        """
        other = copy.copy(self)
        named = board.in_form(device, self.graph_set.form, self.graph_set.precision)
        other._engines = EngineRecords(self.work, self.graph_set, named, settings)
        other.variants = _variants(self.candidates, self.graph_set.precision, device.engine)
        return other

    @property
    def engines(self) -> EngineRecords:
        """The device's records of the graph set's engines."""
        assert self._engines is not None, "this session is on no device"
        return self._engines

    @property
    def device(self) -> DeviceSpec:
        """The device that runs the engines."""
        return self.engines.device

    @property
    def settings(self) -> Settings:
        """How engines are built and timed."""
        return self.engines.settings

    @property
    def candidates(self) -> List[Candidate]:
        """All of them, R = 0 first."""
        return [variant.candidate for variant in self.variants.values()]

    @property
    def unreduced(self) -> Candidate:
        """R = 0."""
        return next(iter(self.variants.values())).candidate

    def add(self, candidates: Sequence[Candidate], graph_set: Family) -> None:
        """Adds candidates, whose graphs are in this graph set."""
        self.graph_set, self._engines = graph_set, self.engines.of(graph_set)
        self.variants = _variants([*self.candidates, *candidates], graph_set.precision, self.device.engine)

    def narrowed(self, ids: Optional[Sequence[str]]) -> "Session":
        """The session with these variants and R = 0 alone; None: with all. Raises: UsageError for an unknown id."""
        if ids is None:
            return self
        part = copy.copy(self)
        wanted = {self.unreduced.id, *(self.candidate(each).id for each in ids)}
        part.variants = {name: one for name, one in self.variants.items() if one.candidate.id in wanted}
        return part

    def candidate(self, variant_id: str) -> Candidate:
        """The candidate of a variant."""
        if variant_id not in self.variants:
            raise UsageError(
                "candidate '{}' is not in {}. It has {} to {}.".format(
                    variant_id, self.work.root, min(self.variants), max(self.variants)
                )
            )
        return self.variants[variant_id].candidate

    def renew(self, ids: Optional[Iterable[str]] = None) -> None:
        """Reads records anew when they are next asked for: those of these variants, or all."""
        candidate_ids = [self.candidate(each).id for each in (self.variants if ids is None else ids)]
        for candidate_id in candidate_ids:
            self._accuracies.pop(candidate_id, None)
        if self._engines is not None:
            self._engines.renew(None if ids is None else candidate_ids)

    def accuracy(self, variant_id: str) -> Optional[AccuracyEstimate]:
        """A variant's accuracy, if it was estimated for today's model."""
        candidate_id = self.candidate(variant_id).id
        if candidate_id not in self._accuracies:
            self._accuracies[candidate_id] = experiments.accuracy_of(self.work, self.graph_set, candidate_id)
        return self._accuracies[candidate_id]

    def engine(self, variant_id: str) -> Optional[Engine]:
        """The record of a variant's engine, if it was built from today's graph."""
        return self.engines.engine(self.candidate(variant_id).id)

    def failure(self, variant_id: str) -> Optional[Failure]:
        """Why a variant has no engine, where a build was tried."""
        return self.engines.failure(self.candidate(variant_id).id)

    def latency(self, variant_id: str) -> Optional[LatencyProfile]:
        """The profile of a variant's engine under these settings."""
        return self.engines.latency(self.candidate(variant_id).id)

    def builds_ms(self, variant_id: str) -> Tuple[float, ...]:
        """Latency in ms of each engine that was built for a variant; see EngineRecords.builds_ms."""
        return self.engines.builds_ms(self.candidate(variant_id).id)

    def rows(self) -> Tuple[Row, ...]:
        """All that is known of every variant."""
        return tuple(map(self.row, self.variants))

    def row(self, variant_id: str) -> Row:
        """All that is known of one variant."""
        candidate, accuracy = self.candidate(variant_id), self.accuracy(variant_id)
        schedule = candidate.schedule
        blocks = schedule.tokens if candidate.kind == SEARCHED else None
        row = Row(variant_id, schedule.tokens_before, schedule.tokens_after, schedule.removed, schedule=blocks)
        if accuracy is not None:
            row = row._replace(
                accuracy=accuracy.accuracy,
                accuracy_ci=accuracy.accuracy_ci,
                accuracy_drop=accuracy.drop,
                accuracy_drop_ci=accuracy.drop_ci,
            )
        failure, latency = self.failure(variant_id), self.latency(variant_id)
        if failure is not None:
            return row._replace(status="failed", why=failure.reason)
        if latency is None:
            return row
        return row._replace(
            latency_ms=latency.latency_ms,
            latency_ci_ms=latency.latency_ci_ms,
            verdict=latency.verdict,
            status="measured",
        )

    def point(self, variant_id: str) -> Point:
        """A measured or failed variant as a point of the curve of latency over tokens."""
        row = self.row(variant_id)
        if row.latency_ms is None or row.latency_ci_ms is None:
            return Point(row.tokens_after)
        return Point(row.tokens_after, row.latency_ms, row.latency_ci_ms, self.builds_ms(variant_id))

    def curve(self) -> Dict[int, Point]:
        """The measured candidates of the grid by tokens, but for contended ones, which support no step."""
        rows = (self.row(name) for name, one in self.variants.items() if one.candidate.kind == GRID)
        usable = (row for row in rows if row.status == "measured" and row.verdict != "contended")
        return {row.tokens_after: self.point(row.id) for row in usable}

    def clean_groups(self) -> Optional[List[Dict[int, Tuple[float, float]]]]:
        """What each clean group says of the grid's candidates, see settling.clean_groups; by tokens, without R = 0."""
        groups = settling.clean_groups(self.engines, self.unreduced.id)
        if groups is None:
            return None
        tokens = {one.id: one.schedule.tokens_after for one in self.candidates if one.kind == GRID}
        del tokens[self.unreduced.id]
        return [{tokens[name]: pair for name, pair in group.items() if name in tokens} for group in groups]


def _variants(candidates: Sequence[Candidate], precision: str, engine: str) -> Dict[str, Variant]:
    return variants_by_id([Variant(candidate, precision, engine) for candidate in candidates])


def _largest(work: WorkFolder) -> Family:
    """The graph set with the most candidates."""
    usable = experiments.families(work) or [experiments.family_of(work, form) for form in work.forms()]  # which raises
    return max(usable, key=lambda graph_set: len(graph_set.candidates))


@contextlib.contextmanager
def opened(scope: Scope, choose: Callable[[WorkFolder], Family] = _largest) -> Iterator[Session]:
    """A work folder for what needs no device. Holds the folder's lock.

    Args:
        choose: which of its graph sets.
    Raises: InputError where the folder holds no experiment or no graphs; UsageError for tokens or an id that it lacks.
    """
    work = WorkFolder(scope.root)
    experiments.experiment_of(work)  # before the lock, which would make the folder
    with locked(work.root):
        experiment = experiments.experiment_of(work)
        if not work.forms():
            raise InputError("{0} holds no graphs. Make them: pomt-trt export MODEL --work {0}.".format(work.root))
        graph_set = choose(work)
        candidates = experiments.grid(experiment, graph_set, scope.tokens)
        yield Session(work, experiment, graph_set, candidates).narrowed(scope.only)


@contextlib.contextmanager
def opened_on(scope: Scope, device: DeviceSpec, settings: Settings) -> Iterator[Session]:
    """A work folder on a device, with the graph set that this device runs best. Holds the folder's lock.

    Raises: as `opened`; UsageError where the device reads none of the graphs; MissingDependency, see Session.on.
    """
    kinds = plugin_files.forms(settings.plugin, device, settings.plugin_library)

    def choose(work: WorkFolder) -> Family:
        return experiments.family_of(work, form_for(work.forms(), device, scope.precision, kinds))

    with opened(scope, choose) as session:
        yield session.on(device, settings)


def form_for(
    forms: Sequence[str],
    device: DeviceSpec,
    precision: Optional[str] = None,
    plugins: Sequence[bool] = (False,),
) -> str:
    """The exported form that a device runs best.

    Args:
        precision: fp32, fp16 or bf16; None: the one there is.
        plugins: whether with plugins' nodes, the preferred kind first.
    Raises: UsageError where the device reads none of them, has no engines of that precision, or where several
        precisions are there and none is named.
    """
    target = of_engine(device.engine, device.engine_version)
    target.check(precision or "fp32")
    precisions = [one for one in PRECISIONS if precision in (None, one) and not target.lacks(one)]
    readable = {
        one: next(filter(None, (target.form_among(forms, one, kind) for kind in plugins)), None) for one in precisions
    }
    usable = {one: form for one, form in readable.items() if form is not None}
    if not usable:
        wanted, flag = [target.form(one, plugins[0]) for one in precisions], " --plugin on" * (plugins == (True,))
        raise UsageError(
            "there are graphs of form {}, and {} reads {}. Export them: pomt-trt export MODEL --target {} --precision "
            "{}{}.".format(
                ", ".join(forms), target.name, " or ".join(wanted), target.name, " or ".join(precisions), flag
            )
        )
    if len(usable) > 1:
        raise UsageError(
            "there are graphs of forms {}. Say which are meant: --precision {}.".format(
                " and ".join(usable.values()), " or ".join(usable)
            )
        )
    return next(iter(usable.values()))
