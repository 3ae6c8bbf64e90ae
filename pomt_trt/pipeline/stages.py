"""The stages that measure, each a function from a work folder's files to new ones: export, estimate, profile.

What is there already with matching inputs is left. Any machine; what belongs to the workstation is imported when it is
due. Leaves out the order of stages (run_stages), the search (adaptive) and the choice (package).
"""

import contextlib
import glob
import os
import shutil
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.command import on_workstation
from pomt_trt.core.data.class_order import say_classes
from pomt_trt.core.errors import PomtError
from pomt_trt.core.metrics.accuracy import kind_of
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import (
    GRID,
    SEARCHED,
    Candidate,
    DeviceSpec,
    Engine,
    Experiment,
    Family,
    LatencyProfile,
    Request,
    Row,
)
from pomt_trt.core.search.search_state import Point
from pomt_trt.core.storage import experiment as known
from pomt_trt.core.storage import store
from pomt_trt.core.storage.learned import record_of
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.core.targets import Target, named
from pomt_trt.device.board.sensors import Clock, floating
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.profiling import Settings
from pomt_trt.device.timing.worker_process import Worker
from pomt_trt.pipeline.options import Options

UNSETTLED = ("floating", "throttled")  # verdicts of profiles that locked clocks would change


class Stage(NamedTuple):
    """What the stages after export share."""

    work: WorkFolder
    experiment: Experiment
    family: Family
    candidates: Sequence[Candidate]  # R = 0 first


class Workstation:
    """The model and its images, loaded when a stage first needs them: a resumed run may need neither."""

    def __init__(
        self, request: Request, target: Target, precision: str, plugin: bool = False, module: Any = None
    ) -> None:
        self._request, self._target, self._precision, self._module = request, target, precision, module
        self._plugin = plugin
        self._loaded: Any = None
        self._estimator: Any = None

    def load(self) -> Any:
        """(plan, spec, images) of host/graphs/export, host/models/loading and host/data/image_batches."""
        if self._loaded is None:
            with on_workstation():
                from pomt_trt.host import threads
                from pomt_trt.host.data import image_batches
                from pomt_trt.host.graphs import export
                from pomt_trt.host.models import loading
                from pomt_trt.host.reducers import learned

            threads.limit_torch()
            asked = self._request
            loaded = loading.asked_for(asked, self._module)
            plan = export.Plan(
                loaded.module,
                asked.method,
                asked.layer,
                asked.batch_size,
                asked.seed,
                self._target,
                self._precision,
                learned.asked_for(asked, loaded.spec),
                self._plugin,
            )
            images = image_batches.load(
                asked.data, loaded.spec, asked.samples, asked.seed, class_order=asked.class_order
            )
            self._loaded = plan, loaded.spec, images
        return self._loaded

    def estimator(self, unreduced: Candidate, kind: str) -> Any:
        """host/accuracy's Estimator; one for all candidates, since what they share is computed once."""
        if self._estimator is None:
            with on_workstation():
                from pomt_trt.host import accuracy

            plan, _, images = self.load()
            self._estimator = accuracy.Estimator(plan, unreduced, images, kind)
        return self._estimator


def workstation(options: Options, module: Any = None) -> Workstation:
    """The workstation's part of a compile; `module`: the model itself, where the request has only its name."""
    return Workstation(options.request, named(options.target), options.precision, options.plugin, module)


def request_for(module: Any, request: Request) -> Request:
    """The request with the weights of a module that the user made: another module is another experiment."""
    with on_workstation():
        from pomt_trt.host.models import loading

    return request._replace(checkpoint_sha256=loading.fingerprint(module))


def export(work: WorkFolder, options: Options, workstation: Workstation) -> Stage:
    """The graphs of the asked candidates; made unless they are there and whole."""
    experiment = known.checked_experiment(work, options.request)
    form = named(options.target).form(options.precision, options.plugin)
    family = None
    if experiment is not None:
        wanted = known.counts(experiment.model, options.request.method, options.tokens)
        family = known.whole_family(work, form, wanted)
    if family is None:
        family = _export(work, options, workstation)
    experiment = known.experiment_of(work)
    say_classes(experiment.class_order, experiment.model.labels)
    grid = known.grid(experiment, family, options.tokens)
    return Stage(work, experiment, family, [candidate for candidate in grid if candidate.kind == GRID])


def _export(work: WorkFolder, options: Options, workstation: Workstation) -> Family:
    with on_workstation():
        from pomt_trt.baselines import plain_weights
        from pomt_trt.host.graphs import export as exporting

    plan, spec, images = workstation.load()
    known.check_class_order(work, images.class_order)
    asked = known.counts(spec, options.request.method, options.tokens)
    form = named(options.target).form(options.precision, options.plugin)
    counts = sorted({*asked, *known.counts_there(work, form)}, reverse=True)  # what was made of those stays
    removed = [spec.tokens - count for count in counts]
    candidates = exporting.candidates(plan, spec.tokens, spec.depth, spec.prefix_tokens, removed)
    with Progress("export", len(candidates)) as progress:
        family = exporting.export(plan, candidates, images, Path(work.root), progress.step)
    exporting.write_golden(plan, candidates[0].schedule, images, Path(work.golden()))
    plain_weights.write(plan.module, Path(work.graph(family.form, candidates[0].id)), Path(work.plain(family.form)))
    record = record_of(options.request.model, options.request.method)
    if record is not None:
        shutil.copyfile(record, work.training())
    # Only now is the folder about something: what cannot be exported must not stand in the way of the next attempt.
    kind = kind_of(spec, images.labels is not None)
    made = Experiment(options.request, spec, images.kind, kind, len(images), images.class_order)
    known.write_experiment(work, made)
    family = known.with_searched(work, family)
    store.write_record(work.family(family.form), family, known.family_inputs(work))
    return family


def estimate(stage: Stage, workstation: Workstation, progress: Progress) -> None:
    """Accuracy of every candidate that has none yet; its graphs, in all forms, are compared with PyTorch on the way.

    Accuracies are those of the fp32 model, whatever engines compute in: the board measures its own (evaluate).
    """
    work, family = stage.work, stage.family
    todo = [c for c in stage.candidates if known.accuracy_of(work, family, c.id) is None]
    if not todo:
        return
    with on_workstation():
        from pomt_trt.host import accuracy
        from pomt_trt.host.graphs import export as exporting

    plan, _, images = workstation.load()
    known.check_class_order(work, images.class_order)
    estimator = workstation.estimator(stage.candidates[0], stage.experiment.accuracy_kind)
    families = known.families(work)
    for done in estimator.estimate(todo, progress.show):
        for made in families:
            if done.candidate.id in made.graph_sha256:
                asked = plan._replace(target=named(made.target), precision=made.precision)
                accuracy.verify(asked, done, images, Path(work.onnx(made.form)))
        arrays = Path(work.accuracy_arrays(done.candidate.id))
        exporting.save_arrays(arrays, logits=done.golden_logits, margins=done.golden_margins)
        inputs = known.accuracy_inputs(family, done.candidate.id)
        store.write_record(work.accuracy(done.candidate.id), done.estimate, inputs)
        progress.step(done.candidate.id)


def profile(
    stage: Stage,
    device: DeviceSpec,
    settings: Settings,
    progress: Progress,
    timed: bool = True,
    again: bool = False,
    worker: Optional[Worker] = None,
    rebuild: bool = False,
) -> None:
    """Builds and times every candidate that is not done, R = 0 first.

    Args:
        timed: otherwise only built.
        again: time also what has a profile, which the new one replaces.
        worker: kept from one call to the next; None: each group has a process of its own.
        rebuild: build anew what has a profile, where builds vary.
    """
    profiling.profile(
        stage.work, stage.family, stage.candidates, device, settings, progress, timed, again, worker, rebuild
    )


def forget_damaged(stage: Stage, device: DeviceSpec) -> None:
    """Deletes engines that are not the files that their records describe, so that they are built and timed anew."""
    folder = stage.work.engines(device.id)
    for candidate in stage.candidates:
        path, record = os.path.join(folder, candidate.id + ".engine"), stage.work.engine_record(device.id, candidate.id)
        if os.path.isfile(path) and os.path.isfile(record) and not _describes(record, path):
            os.unlink(record)
            os.unlink(path)


def forget_unsettled(stage: Stage, device: DeviceSpec, clocks: Dict[str, Clock]) -> None:
    """Deletes profiles that were taken under floating clocks or in throttling, where the clocks are locked by now.

    All are tied to that of R = 0, those of searched candidates and chains too: where it goes, they go.

    Args:
        clocks: the board's, as they are now.
    """
    if floating(clocks) is not False:
        return
    paths = glob.glob(os.path.join(glob.escape(stage.work.latencies(device.id)), "*.json"))
    unsettled = [path for path in paths if _is_unsettled(path)]
    for path in paths if stage.work.latency(device.id, stage.candidates[0].id) in unsettled else unsettled:
        for each in (path, path[: -len(".json")] + ".builds.json"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)


def _is_unsettled(path: str) -> bool:
    try:
        profile: LatencyProfile = store.read_record(path, LatencyProfile).record
    except PomtError:  # damaged, which profiling says; or no profile
        return False
    return profile.verdict in UNSETTLED


def _describes(record: str, path: str) -> bool:
    try:
        engine: Engine = store.read_record(record, Engine).record
    except PomtError:
        return False
    return engine.sha256 == store.sha256_of(path)


def rows(stage: Stage, device: DeviceSpec, settings: Settings) -> Tuple[Row, ...]:
    """Everything that is known of every candidate."""
    return tuple(_row(stage, candidate, device, settings) for candidate in stage.candidates)


def _row(stage: Stage, candidate: Candidate, device: DeviceSpec, settings: Settings) -> Row:
    """Everything that is known of one candidate."""
    work, family, tokens = stage.work, stage.family, candidate.schedule
    shown = tokens.tokens if candidate.kind == SEARCHED else None
    row = Row(candidate.id, tokens.tokens_before, tokens.tokens_after, tokens.removed, schedule=shown)
    accuracy = known.accuracy_of(work, family, candidate.id)
    if accuracy is not None:
        row = row._replace(
            accuracy=accuracy.accuracy,
            accuracy_ci=accuracy.accuracy_ci,
            accuracy_drop=accuracy.drop,
            accuracy_drop_ci=accuracy.drop_ci,
        )
    failure = profiling.failure_of(work, family, candidate.id, device, settings)
    if failure is not None:
        return row._replace(status="failed", why=failure.reason)
    latency = profiling.latency_of(work, family, candidate.id, device, settings)
    if latency is None:
        return row
    return row._replace(
        latency_ms=latency.latency_ms,
        latency_ci_ms=latency.latency_ci_ms,
        verdict=latency.verdict,
        status="measured",
    )


def point(stage: Stage, row: Row, device: DeviceSpec, settings: Settings) -> Point:
    """A measured or failed row as the search and the step finder see it, with all builds of its candidate."""
    if row.latency_ms is None or row.latency_ci_ms is None:
        return Point(row.tokens_after)
    builds_ms = profiling.builds_of(stage.work, stage.family, row.id, device, settings)
    return Point(row.tokens_after, row.latency_ms, row.latency_ci_ms, builds_ms)
