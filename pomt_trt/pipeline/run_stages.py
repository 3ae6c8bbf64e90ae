"""The commands of a work folder: all stages in their order, or one stage of an experiment that exists."""

import copy
import glob
import importlib.util
import os
from typing import Any, Dict, List, Sequence, Tuple

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.errors import InputError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import AccuracyEstimate, Candidate, DeviceSpec, Energy, Family, Row, Selection
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder, locked
from pomt_trt.core.targets import has_plugin, named
from pomt_trt.device.board import sensors
from pomt_trt.device.board.energy import check_meter
from pomt_trt.device.engines import ahead, registry
from pomt_trt.device.timing import profiling, settling
from pomt_trt.device.timing.engine_records import Action
from pomt_trt.device.timing.worker_protocol import Settings
from pomt_trt.pipeline import package, session
from pomt_trt.pipeline.accuracy import estimate
from pomt_trt.pipeline.export import GraphKind, Workstation, export_graphs, request_for, workstation_for
from pomt_trt.pipeline.options import Budget, Options
from pomt_trt.pipeline.profile import build_lost, forget_damaged, forget_unsettled
from pomt_trt.pipeline.refine import refine
from pomt_trt.pipeline.search import schedules
from pomt_trt.pipeline.search.adaptive import measure
from pomt_trt.pipeline.select import select_winner
from pomt_trt.pipeline.session import Scope, Session

MOST_PASSES = 4  # of measuring; the second mostly asks for nothing


def compile_all(options: Options, module: Any = None) -> Selection:
    """All stages on one machine; the work folder then holds the selection, its figure and its bundle.

    Args:
        module: the model itself, where options.request.model is only its name.
    """
    if module is not None:
        options = options._replace(request=request_for(module, options.request))
    if options.energy:
        check_meter()
    work, workstation = WorkFolder(options.work), workstation_for(options, module)
    with locked(work.root):
        if options.schedule == "search":
            schedules.check(work, options.request)
        here = export_graphs(work, options, workstation).on(_device(options.engine), options.settings)
        forget_damaged(here)
        forget_unsettled(here, sensors.read().clocks)
        here, notes = _measured(here, options, workstation)
        chosen = _selected(here, options, notes)
        package.make_bundle(here, chosen)
        if not options.keep_engines:
            package.remove_losers(work, chosen)
        if importlib.util.find_spec("matplotlib") is not None:
            package.draw(work, options.request, chosen)
    return chosen


def _measured(exported: Session, options: Options, workstation: Workstation) -> Tuple[Session, Sequence[str]]:
    """Measures and refines, until nothing more is asked for; the session with searched candidates, and the notes.

    Why again: what is timed later changes the latencies that the search has seen. Each pass starts as a new run would,
    so that a run on what is finished changes nothing.
    """
    for _ in range(MOST_PASSES):
        here = copy.copy(exported)
        notes = measure(here, options.choice, options.budget, workstation)
        groups = len(settling.groups_of(here.engines))
        if options.schedule == "search":
            notes += schedules.search(here, options.choice, workstation)
        refine(here, options.choice)
        if len(settling.groups_of(here.engines)) == groups:
            break
    return here, notes


def _selected(here: Session, options: Options, notes: Sequence[str]) -> Selection:
    """The winner. Its engine file, removed since an earlier choice did not name it, is built and timed again."""
    chosen = select_winner(here, options.choice, notes)
    while build_lost(here, _with_unreduced(here, chosen)):
        chosen = select_winner(here, options.choice, notes)
    if options.energy:
        profiling.measure_energy(here.engines, _with_unreduced(here, chosen))
        chosen = select_winner(here, options.choice, notes)
    return chosen


def _with_unreduced(here: Session, chosen: Selection) -> Sequence[Candidate]:
    return here.narrowed([chosen.chosen.id]).candidates


def export(options: Options) -> Family:
    """The experiment and its graphs; see pipeline/export."""
    work = WorkFolder(options.work)
    with locked(work.root):
        return export_graphs(work, options, workstation_for(options)).graph_set


def accuracy(scope: Scope) -> List[AccuracyEstimate]:
    """The accuracy of every candidate."""
    with session.opened(scope) as here:
        graphs = here.graph_set
        kind = GraphKind(named(graphs.target), graphs.precision, has_plugin(graphs.form))
        with Progress("accuracy", len(here.candidates)) as progress:
            workstation = Workstation(here.experiment.request, kind)
            estimate(here, here.candidates, workstation, progress)
        return [one for one in map(here.accuracy, here.variants) if one is not None]


def build(scope: Scope, settings: Settings) -> Tuple[Row, ...]:
    """The engine of every candidate, without timing it.

    Args:
        settings: with `gpu`, engines are built ahead of time for such GPUs (device/engines/ahead). A library that can
            does so too where there is no GPU.
    Raises: UsageError for an id that the experiment does not have.
    """
    device, gpu = ahead.building_device(registry.chosen(scope.engine), settings.gpu)
    if gpu is not None:
        settings = settings._replace(gpu=gpu, plugin="off" if settings.plugin == "auto" else settings.plugin)
    with session.opened_on(scope, device, settings) as here:
        forget_damaged(here)
        with Progress("build", len(here.candidates)) as progress:
            profiling.profile(here.engines, here.candidates, progress, Action.BUILD)
        return tuple(row._replace(status="built") if row.status == "not-built" else row for row in here.rows())


def profile(
    scope: Scope, settings: Settings, choice: Goal, budget: Budget, energy: bool = False
) -> Tuple[Tuple[Row, ...], Dict[str, Energy]]:
    """Engines and latencies: of what the search asks for, or of all candidates in `scope.only`.

    The search asks by rule and accuracy, so it needs all accuracies beforehand; without them it measures everything.

    Args:
        energy: measure the energy of a run of each, too.
    Returns: what is known of each, and the energy of a run, where that was measured.
    Raises: UsageError for an id that the experiment does not have, and for energy where no rail can be read.
    """
    if energy:
        check_meter()
    with session.opened_on(scope, _device(scope.engine), settings) as here:
        lacks_accuracy = any(here.accuracy(name) is None for name in here.variants)
        if scope.only is not None or lacks_accuracy:
            budget = budget._replace(search="exhaustive")
        forget_damaged(here)
        forget_unsettled(here, sensors.read().clocks)
        measure(here, choice, budget)
        refine(here, choice, once=False)
        if energy:
            build_lost(here, here.candidates)
            profiling.measure_energy(here.engines, here.candidates)
        return here.rows(), profiling.energies(here.engines, here.candidates)


def select(scope: Scope, settings: Settings, choice: Goal) -> Selection:
    """The choice among what is known on this device."""
    with session.opened_on(scope, _device(scope.engine), settings) as here:
        return select_winner(here, choice)


def bundle(scope: Scope, settings: Settings) -> str:
    """The deployment folder of this device's selection.

    Raises: InputError if nothing was selected yet.
    """
    with session.opened_on(scope, _device(scope.engine), settings) as here:
        return package.make_bundle(here, store.read_record(here.work.selection(here.device.id), Selection).record)


def report(root: str) -> List[str]:
    """A figure and the measured curve for each device that has a selection; returns their paths.

    Raises: InputError if there is none.
    """
    with session.opened(Scope(root)) as here:
        work, request = here.work, here.experiment.request
        paths = sorted(glob.glob(os.path.join(glob.escape(work.root), "selection-*.json")))
        if not paths:
            raise InputError("{0} holds no selection. Make one: pomt-trt select {0}.".format(work.root))
        chosen = [store.read_record(path, Selection).record for path in paths]
        return [draw(work, request, one) for one in chosen for draw in (package.draw, package.write_curve)]


def _device(engine: str) -> DeviceSpec:
    """This machine with the engine library that was asked for."""
    return ahead.running_device(registry.chosen(engine))
