"""The stages in their order, on one machine or one at a time on an experiment that exists.

What `pomt-trt compile`, and `export | accuracy | build | profile | select | bundle | report`, call. Any machine;
accuracy belongs to the workstation. Decides nothing: core/search/search says what is measured, core/choice/selection
who wins.
"""

import contextlib
import functools
import importlib.util
import os
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.progress import Progress, Silent
from pomt_trt.core.records import AccuracyEstimate, DeviceSpec, Energy, Family, Row, Selection
from pomt_trt.core.storage import experiment as known
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder, locked
from pomt_trt.core.targets import PRECISIONS, has_plugin, named, of_engine
from pomt_trt.device.board import board, sensors
from pomt_trt.device.board.energy import check_meter
from pomt_trt.device.engines import ahead, registry
from pomt_trt.device.engines.tensorrt import plugin_files
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.profiling import Settings
from pomt_trt.pipeline import package, stages
from pomt_trt.pipeline.adaptive import measure
from pomt_trt.pipeline.options import Budget, Choice, Options
from pomt_trt.pipeline.schedules import search
from pomt_trt.pipeline.stages import Stage


def compile_all(options: Options, module: Any = None) -> Selection:
    """All stages on one machine; the work folder then holds the selection, its figure and its bundle.

    Args:
        module: the model itself, where options.request.model is only its name.
    """
    if module is not None:
        options = options._replace(request=stages.request_for(module, options.request))
    if options.energy:
        check_meter()
    work = WorkFolder(options.work)
    workstation = stages.workstation(options, module)
    with locked(work.root):
        if options.schedule == "search":
            search.check(work, options.request)
        stage = stages.export(work, options, workstation)
        settings, choice = options.settings, options.choice
        device = _device(options.engine)
        plugin_files.needed(stage.family.form, device, settings.plugin_library)
        device = board.in_form(device, stage.family.form, options.precision)
        stages.forget_damaged(stage, device)
        stages.forget_unsettled(stage, device, sensors.read().clocks)
        notes = measure(stage, device, settings, choice, options.budget, workstation)
        if options.schedule == "search":
            searched = search.search(stage, device, settings, choice, workstation)
            stage, notes = searched.stage, notes + searched.notes
        chosen = _chosen(stage, device, settings, choice, notes)
        if options.energy:
            named = _narrowed(stage, [chosen.chosen.id]).candidates
            profiling.measure_energy(stage.work, stage.family, named, device, settings)
            chosen = package.select(stage, device, settings, choice, notes)
        package.make_bundle(stage, chosen, device, settings)
        if not options.keep_engines:
            package.remove_losers(work, chosen)
        if importlib.util.find_spec("matplotlib") is not None:
            package.draw(stage, chosen)
    return chosen


def _chosen(stage: Stage, device: DeviceSpec, settings: Settings, choice: Choice, notes: Sequence[str]) -> Selection:
    """The winner, which has an engine: one whose file was removed, since an earlier choice did not name it, is built
    again.
    """
    while True:
        chosen = package.select(stage, device, settings, choice, notes)
        if not _built_again(_narrowed(stage, [chosen.chosen.id]), device, settings):
            return chosen


def _built_again(stage: Stage, device: DeviceSpec, settings: Settings) -> bool:
    """Whether engine files had been removed: they are built again, and timed again unless they are the same to the
    byte.
    """
    is_there = functools.partial(profiling.is_done, device=device, settings=settings, timed=False)
    lost = [one for one in stage.candidates if not is_there(stage.work, stage.family, one.id)]
    if lost:
        with Progress("build", len(lost)) as progress:
            stages.profile(stage._replace(candidates=lost), device, settings, progress, timed=False)
        stages.profile(stage._replace(candidates=lost), device, settings, Silent())
    return bool(lost)


def export(options: Options) -> Family:
    """The experiment and its graphs; see stages.export."""
    work = WorkFolder(options.work)
    with locked(work.root):
        return stages.export(work, options, stages.workstation(options)).family


def accuracy(root: str, tokens: Optional[str]) -> List[AccuracyEstimate]:
    """Accuracy of every candidate of the grid."""
    with _opened(root, tokens, _largest) as stage:
        family = stage.family
        workstation = stages.Workstation(
            stage.experiment.request, named(family.target), family.precision, has_plugin(family.form)
        )
        with Progress("accuracy", len(stage.candidates)) as progress:
            stages.estimate(stage, workstation, progress)
        found = [known.accuracy_of(stage.work, stage.family, c.id) for c in stage.candidates]
    return [estimate for estimate in found if estimate is not None]


def build(
    root: str,
    settings: Settings,
    tokens: Optional[str],
    only: Optional[Sequence[str]],
    precision: Optional[str] = None,
    engine: str = "auto",
) -> Tuple[Row, ...]:
    """Engines of the grid, or of the candidates named in `only`, without timing them.

    Args:
        settings: with `gpu`, engines are built ahead of time for such GPUs (device/engines/ahead); a library that can
        does so
            too where there is no GPU.
        precision: fp32, fp16 or bf16; None: what the folder holds.
        engine: onnxruntime, tensorrt, tensorrt-rtx, or auto: what is here, see device/engines/registry.chosen.
    Raises: UsageError for a name that the experiment does not have.
    """
    device, gpu = ahead.building_device(registry.chosen(engine), settings.gpu)
    if gpu is not None:
        settings = settings._replace(gpu=gpu, plugin="off" if settings.plugin == "auto" else settings.plugin)
    with _on_device(root, tokens, precision, device, settings) as (stage, device):
        stage = _narrowed(stage, only)
        stages.forget_damaged(stage, device)
        with Progress("build", len(stage.candidates)) as progress:
            stages.profile(stage, device, settings, progress, timed=False)
        found = stages.rows(stage, device, settings)
        return tuple(row._replace(status="built") if row.status == "not-built" else row for row in found)


def profile(
    root: str,
    settings: Settings,
    choice: Choice,
    budget: Budget,
    tokens: Optional[str],
    only: Optional[Sequence[str]],
    precision: Optional[str] = None,
    engine: str = "auto",
    energy: bool = False,
) -> Tuple[Tuple[Row, ...], Dict[str, Energy]]:
    """Engines and latencies: what the search asks for, or all candidates named in `only`.

    The search asks by rule and accuracy, so it needs all accuracies beforehand; without them it measures everything.

    Args:
        energy: measure what a run of each costs, too.
    Returns: what is known of each, and the energy of a run, where that was measured.
    Raises: UsageError for a name that the experiment does not have, and for energy where no rail can be read.
    """
    if energy:
        check_meter()
    with _on_device(root, tokens, precision, _device(engine), settings) as (stage, device):
        stage = _narrowed(stage, only)
        blind = any(known.accuracy_of(stage.work, stage.family, c.id) is None for c in stage.candidates)
        if only is not None or blind:
            budget = budget._replace(search="exhaustive")
        stages.forget_damaged(stage, device)
        stages.forget_unsettled(stage, device, sensors.read().clocks)
        measure(stage, device, settings, choice, budget)
        if energy:
            _built_again(stage, device, settings)
            profiling.measure_energy(stage.work, stage.family, stage.candidates, device, settings)
        found = profiling.energies(stage.work, stage.family, stage.candidates, device, settings)
        return stages.rows(stage, device, settings), found


def select(
    root: str,
    settings: Settings,
    choice: Choice,
    tokens: Optional[str],
    precision: Optional[str] = None,
    engine: str = "auto",
) -> Selection:
    """The choice among what is known on this device."""
    with _on_device(root, tokens, precision, _device(engine), settings) as (stage, device):
        return package.select(stage, device, settings, choice)


def bundle(root: str, settings: Settings, precision: Optional[str] = None, engine: str = "auto") -> str:
    """The deployment folder of this device's selection.

    Raises: InputError if nothing was selected yet.
    """
    with _on_device(root, None, precision, _device(engine), settings) as (stage, device):
        chosen = store.read_record(stage.work.selection(device.id), Selection).record
        return package.make_bundle(stage, chosen, device, settings)


def report(root: str) -> List[str]:
    """A figure and the measured curve for each device that has a selection; returns their paths.

    Raises: InputError if there is none.
    """
    with _opened(root, None, _largest) as stage:
        names = sorted(os.listdir(stage.work.root))
        devices = [name[len("selection-") : -len(".json")] for name in names if _is_selection(name)]
        if not devices:
            raise InputError("{0} holds no selection. Make one: pomt-trt select {0}.".format(stage.work.root))
        chosen = [store.read_record(stage.work.selection(device), Selection).record for device in devices]
        return [made for one in chosen for made in (package.draw(stage, one), package.record_curve(stage, one))]


def _device(engine: str) -> DeviceSpec:
    """This machine with the engine library that was asked for."""
    return ahead.running_device(registry.chosen(engine))


@contextlib.contextmanager
def _on_device(
    root: str, tokens: Optional[str], precision: Optional[str], device: DeviceSpec, settings: Settings
) -> Iterator[Tuple[Stage, DeviceSpec]]:
    """The candidates in the form that this device runs best, and the device as its engines of that form are named."""
    kinds = plugin_files.forms(settings.plugin, device, settings.plugin_library)

    def choose(work: WorkFolder) -> Family:
        form = form_for(work.forms(), device, precision, kinds)
        plugin_files.needed(form, device, settings.plugin_library)
        return known.family_of(work, form)

    with _opened(root, tokens, choose) as stage:
        yield stage, board.in_form(device, stage.family.form, stage.family.precision)


@contextlib.contextmanager
def _opened(root: str, tokens: Optional[str], choose: Callable[[WorkFolder], Family]) -> Iterator[Stage]:
    work = WorkFolder(root)
    known.experiment_of(work)  # before the lock, which would make the folder
    with locked(work.root):
        experiment = known.experiment_of(work)
        if not work.forms():
            raise InputError("{0} holds no graphs. Make them: pomt-trt export MODEL --work {0}.".format(work.root))
        family = choose(work)
        yield Stage(work, experiment, family, known.grid(experiment, family, tokens))


def _largest(work: WorkFolder) -> Family:
    """For what has nothing to do with forms: the one with the most candidates."""
    usable = known.families(work) or [known.family_of(work, form) for form in work.forms()]  # which says what is wrong
    return max(usable, key=lambda family: len(family.candidates))


def form_for(
    forms: Sequence[str],
    device: DeviceSpec,
    precision: Optional[str] = None,
    plugins: Sequence[bool] = (False,),
) -> str:
    """The form that a device runs best among those exported.

    Args:
        precision: fp32, fp16 or bf16; None: the one there is.
        plugins: whether with plugins' nodes, the preferred kind first.
    Raises: UsageError where it reads none of them, where it has no engines of that precision, or where it is not clear
        which is meant.
    """
    target = of_engine(device.engine, device.engine_version)
    target.check(precision or "fp32")
    asked = [one for one in PRECISIONS if precision in (None, one) and not target.lacks(one)]
    kinds = {one: [target.form_among(forms, one, kind) for kind in plugins] for one in asked}
    found = {one: next(filter(None, there), None) for one, there in kinds.items()}
    read = [form for form in found.values() if form is not None]
    if not read:
        wanted, flag = [target.form(one, plugins[0]) for one in asked], " --plugin on" if plugins == (True,) else ""
        raise UsageError(
            "there are graphs of form {}, and {} reads {}. Export them: pomt-trt export MODEL --target {} --precision "
            "{}{}.".format(", ".join(forms), target.name, " or ".join(wanted), target.name, " or ".join(asked), flag)
        )
    if len(read) > 1:
        raise UsageError(
            "there are graphs of forms {}. Say which are meant: --precision {}.".format(
                " and ".join(read), " or ".join(one for one in asked if found[one] is not None)
            )
        )
    return read[0]


def _narrowed(stage: Stage, only: Optional[Sequence[str]]) -> Stage:
    if only is None:
        return stage
    by_id = {candidate.id: candidate for candidate in stage.candidates}
    for name in only:
        if name not in by_id:
            raise UsageError(
                "candidate '{}' is not in {}. It has {} to {}.".format(name, stage.work.root, min(by_id), max(by_id))
            )
    wanted = {"r000", *only}
    return stage._replace(candidates=[c for c in stage.candidates if c.id in wanted])


def _is_selection(name: str) -> bool:
    return name.startswith("selection-") and name.endswith(".json")
