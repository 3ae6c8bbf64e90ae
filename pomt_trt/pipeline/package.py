"""From what was measured to what is deployed: the selection, its bundle, its figure and its curve.

Makes these from a work folder's records; what is there already and would be the same is left. Any machine. Leaves out
how numbers came about (stages.py), and who wins (core/choice/selection).
"""

import contextlib
import json
import os
from typing import Dict, List, Sequence

from pomt_trt.core.choice import selection
from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.data import class_order
from pomt_trt.core.errors import InputError, PomtError, StaleArtifact
from pomt_trt.core.metrics.accuracy import doubt
from pomt_trt.core.records import Bundle, Candidate, DeviceSpec, Engine, LatencyProfile, Row, Selection
from pomt_trt.core.search.steps import significant_steps
from pomt_trt.core.statistics import stability, stats
from pomt_trt.core.storage import experiment, store
from pomt_trt.core.storage.bundle import open_bundle, pack
from pomt_trt.core.storage.workfolder import WEIGHTS, WorkFolder
from pomt_trt.device.engines.contract import layers_of
from pomt_trt.device.engines.tensorrt.layer_info import shortfall
from pomt_trt.device.engines.tensorrt.plugin_files import beside
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.profiling import Settings
from pomt_trt.pipeline.options import Choice
from pomt_trt.pipeline.stages import Stage, point, rows


def select(
    stage: Stage, device: DeviceSpec, settings: Settings, choice: Choice, notes: Sequence[str] = ()
) -> Selection:
    """The winner among what is known, written to the work folder.

    Args:
        notes: on how it was measured; they stand in the selection.
    """
    chosen = choose(stage, device, settings, choice)
    told = [*_doubt_notes(stage, chosen), *_class_notes(stage), *_precision_notes(stage, device)]
    told += [*_pace_notes(stage, chosen, device, settings), *_removed_notes(stage, chosen, settings)]
    told += _fusion_notes(stage, chosen, device, settings) + _board_notes(stage, chosen, device, settings)
    chosen = chosen._replace(notes=chosen.notes + tuple(told) + tuple(notes))
    if not _is_written(stage.work.selection(device.id), chosen):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(stage.work.figure(device.id))  # of another choice; first, so that none is left if we are killed
        store.write_record(stage.work.selection(device.id), chosen)
    return chosen


def choose(stage: Stage, device: DeviceSpec, settings: Settings, choice: Choice) -> Selection:
    """The winner among what is known. Steps are those of the grid's curve; searched candidates are no points of it."""
    found = rows(stage, device, settings)
    _check_timed_so(stage, found[0], device, settings)
    curve = [row for row in found if row.status == "measured" and row.schedule is None]
    points = {row.tokens_after: point(stage, row, device, settings) for row in curve}
    steps = significant_steps(points, found[0].tokens_after)
    return selection.select(
        found,
        Goal(*choice),
        steps,
        device_id=device.id,
        accuracy=selection.AccuracySource(stage.experiment.accuracy_kind, "host-fp32", stage.experiment.images),
    )


def _class_notes(stage: Stage) -> List[str]:
    """How classes in the data were read, where it names any."""
    order = stage.experiment.class_order
    return [] if order is None else [class_order.describe(order, stage.experiment.model.labels)]


def _doubt_notes(stage: Stage, chosen: Selection) -> List[str]:
    """What the accuracy of the unreduced model says against data or weights."""
    estimate = experiment.accuracy_of(stage.work, stage.family, chosen.unreduced.id)
    note = None if estimate is None else doubt(estimate)
    return [] if note is None else [note]


def _precision_notes(stage: Stage, device: DeviceSpec) -> List[str]:
    """That fp16 gains no time where it is asked for on a CPU."""
    if device.engine != "onnxruntime" or stage.family.precision != "fp16":
        return []
    return [
        "On most CPUs ONNX Runtime computes fp16 by casts to fp32 and back, which takes longer than fp32: compare with "
        "--precision fp32."
    ]


def _fusion_notes(stage: Stage, chosen: Selection, device: DeviceSpec, settings: Settings) -> List[str]:
    """Of the unreduced model and the winner: where attention is not fused that could be."""
    schedules = {candidate.id: candidate.schedule for candidate in stage.candidates}
    notes = []
    for name in sorted({chosen.unreduced.id, chosen.chosen.id}):
        engine = profiling.engine_of(stage.work, stage.family, name, device, settings)
        if engine is not None:
            notes.append(shortfall(engine, schedules[name], stage.family.reads_attention))
    return [note for note in notes if note is not None]


def _board_notes(stage: Stage, chosen: Selection, device: DeviceSpec, settings: Settings) -> List[str]:
    """What a run of R = 0 and of the winner costs in energy, and how images reach the GPU, where it was measured."""
    named = [one for one in stage.candidates if one.id in (chosen.unreduced.id, chosen.chosen.id)]
    found = profiling.energies(stage.work, stage.family, named, device, settings)
    notes = ["{}: {}.".format(one.id, stability.energy(found[one.id])) for one in named if one.id in found]
    winner = profiling.latency_of(stage.work, stage.family, chosen.chosen.id, device, settings)
    memory = str((winner.modes or {}).get("memory", "")) if winner is not None else ""
    return notes + (["{}: {}.".format(chosen.chosen.id, memory)] if " ms " in memory else [])


def _removed_notes(stage: Stage, chosen: Selection, settings: Settings) -> List[str]:
    """What to do where the winner's engine file was removed, since another rule had not named it."""
    name = chosen.chosen.id
    if os.path.isfile(os.path.join(stage.work.engines(chosen.device_id), name + ".engine")):
        return []
    return [
        "the engine file of {1} was removed after it was profiled, since no rule named it then; have it back with: "
        "pomt-trt build {0} --only {1} --threads {2}".format(stage.work.root, name, settings.threads)
    ]


def _check_timed_so(stage: Stage, unreduced: Row, device: DeviceSpec, settings: Settings) -> None:
    """Raises InputError where engines were timed on this device, but in another way than is asked for."""
    path = stage.work.latency(device.id, unreduced.id)
    if unreduced.status != "not-built" or not os.path.isfile(path):
        return
    there: LatencyProfile = store.read_record(path, LatencyProfile).record
    asked = (settings.threads, settings.waiting, settings.pace_fps)
    if (there.threads, there.waiting, there.pace_fps) != asked:
        flags = "--threads {} --waiting {}".format(there.threads, there.waiting)
        wanted = "{} and {}".format(settings.threads, settings.waiting)
        if there.pace_fps is not None:
            flags += " --pace {:g}".format(there.pace_fps)
        if there.pace_fps != settings.pace_fps:
            wanted += " and no --pace" if settings.pace_fps is None else " and --pace {:g}".format(settings.pace_fps)
        raise InputError(
            "R = 0 was timed with {}, you ask for {}. Give the former, or profile again: pomt-trt profile {}.".format(
                flags, wanted, stage.work.root
            )
        )


def _pace_notes(stage: Stage, chosen: Selection, device: DeviceSpec, settings: Settings) -> List[str]:
    """That latencies are paced, and whether the unreduced model and the winner kept up; none where they are not."""
    if settings.pace_fps is None:
        return []
    notes = ["Latencies were {}, with idle gaps as a camera makes them.".format(stability.paced(settings.pace_fps))]
    for candidate_id in sorted({chosen.unreduced.id, chosen.chosen.id}):
        found = profiling.latency_of(stage.work, stage.family, candidate_id, device, settings)
        missed = found.contention["missed"] if found else 0.0
        if missed:
            notes.append("{:.0%} of the runs of {} lasted until the next was due.".format(missed, candidate_id))
    return notes


def _is_written(path: str, chosen: Selection) -> bool:
    there = store.read_matching(path, Selection, {})
    return there is not None and store.to_json(there) == store.to_json(chosen)


def make_bundle(stage: Stage, chosen: Selection, device: DeviceSpec, settings: Settings) -> str:
    """Packs the chosen engine for deployment; returns the bundle's folder.

    Raises: StaleArtifact where its engine file was removed after profiling, and says how to have it back.
    """
    work, family = stage.work, stage.family
    by_id = {candidate.id: candidate for candidate in family.candidates}
    winner, unreduced = by_id[chosen.chosen.id], by_id[chosen.unreduced.id]
    engines = [_engine(stage, candidate, device, settings) for candidate in (winner, unreduced)]
    manifest = Bundle(
        model=stage.experiment.model,
        method=stage.experiment.request.method,
        layer=stage.experiment.request.layer,
        candidate=winner,
        unreduced=unreduced,
        engine=engines[0],
        unreduced_engine=engines[1],
        form=family.form,
        selection=chosen,
        files={},
        fp32_nodes=family.fp32_nodes,
        class_order=stage.experiment.class_order,
    )
    sources = {WEIGHTS: work.weights(family.form), "golden.npz": work.golden()}
    for engine in engines:
        graph = work.graph(family.form, engine.candidate_id)
        sources[os.path.basename(graph)] = graph
        path = os.path.join(work.engines(device.id), engine.file)
        sources.update({os.path.basename(one): one for one in (path, layers_of(path)) if os.path.isfile(one)})
        told = (engine.details or {}).get("kernels")
        if told is not None:
            sources[told["file"]] = os.path.join(work.engines(device.id), told["file"])
        plugins = beside(engine, work.engines(device.id))
        if plugins is not None:
            sources[os.path.basename(plugins.path)] = plugins.path
    sources.update(_evidence(stage, winner))
    if not _is_packed(work.bundle(device.id), manifest, sources):
        pack(work.bundle(device.id), manifest, sources)
    return work.bundle(device.id)


def _evidence(stage: Stage, winner: Candidate) -> Dict[str, str]:
    """What tells whether the engine is right, runs its weights without it, and says how they were learned; if known."""
    work, form = stage.work, stage.family.form
    known = {"plain.json": work.plain(form), "training.json": work.training()}
    found = {name: path for name, path in known.items() if os.path.isfile(path)}
    if experiment.accuracy_of(work, stage.family, winner.id) is not None:
        found[winner.id + ".npz"] = work.accuracy_arrays(winner.id)
    return found


def _is_packed(folder: str, manifest: Bundle, sources: Dict[str, str]) -> bool:
    """True where the bundle that is there is whole and the one that would be made."""
    try:
        there = open_bundle(folder)
    except PomtError:
        return False
    if store.to_json(there._replace(files={})) != store.to_json(manifest) or set(there.files) != set(sources):
        return False
    return all(store.sha256_of(path) == there.files[name]["sha256"] for name, path in sources.items())


def _engine(stage: Stage, candidate: Candidate, device: DeviceSpec, settings: Settings) -> Engine:
    engine = profiling.engine_of(stage.work, stage.family, candidate.id, device, settings)
    if engine is None:
        raise StaleArtifact(
            "{1} wins, but it has no engine for --threads {2} here. Name the threads that it was compiled for, or "
            "build it: pomt-trt build {0} --only {1} --threads {2}.".format(
                stage.work.root, candidate.id, settings.threads
            )
        )
    if not os.path.isfile(os.path.join(stage.work.engines(device.id), engine.file)):
        raise StaleArtifact(
            "{1} wins, but its engine file was removed after it was profiled, since no rule named it then. Have it "
            "back with: pomt-trt build {0} --only {1} --threads {2}; then run this again.".format(
                stage.work.root, candidate.id, settings.threads
            )
        )
    return engine


def remove_losers(work: WorkFolder, chosen: Selection) -> None:
    """Deletes the engine files that no rule would name: all but R = 0, edges, searched ones, Pareto set and winner."""
    edges = {step.edge_tokens for step in chosen.steps}
    kept = {chosen.unreduced.id, chosen.chosen.id, *chosen.pareto}
    kept.update(row.id for row in chosen.rows if row.tokens_after in edges or row.schedule is not None)
    for row in chosen.rows:
        for suffix in (".engine", ".kernels"):
            path = os.path.join(work.engines(chosen.device_id), row.id + suffix)
            if row.id not in kept and os.path.exists(path):
                os.unlink(path)


def draw(stage: Stage, chosen: Selection) -> str:
    """The selection as a PNG; returns its path.

    Raises: MissingDependency where matplotlib is not installed.
    """
    from pomt_trt.report import figure

    path = stage.work.figure(chosen.device_id)
    if os.path.exists(path):  # select removes the figure of another choice
        return path
    request = stage.experiment.request
    title = "{}, {}, batch {}".format(request.model, request.method, request.batch_size)
    figure.draw(chosen, path, title=title)
    return path


def record_curve(stage: Stage, chosen: Selection) -> str:
    """The device's measured points as CURVE.json, which `pomt-trt replay` reads; returns its path.

    Raises: StaleArtifact where some were timed at another pace since.
    """
    work, points, paces = stage.work, [], set()
    for row in chosen.rows:
        if row.status == "measured" and row.schedule is None:
            found: LatencyProfile = store.read_record(work.latency(chosen.device_id, row.id), LatencyProfile).record
            samples = [round(s * found.tie, 6) for s in stats.undrifted(found.rounds_ms, found.drift)]
            points.append({"tokens": row.tokens_after, "latency_ms": samples, "accuracy": row.accuracy})
            paces.add(found.pace_fps)
    if len(paces) > 1:
        raise StaleArtifact(
            "some candidates of {0} were timed at another pace than the others, which makes no curve. Profile all "
            "alike: pomt-trt profile {0} [--pace FPS], then pomt-trt select.".format(work.root)
        )
    curve = {"batch_size": stage.experiment.request.batch_size, "device": chosen.device_id, "points": points}
    if paces != {None}:
        curve["pace_fps"] = paces.pop()
    store.write_bytes(work.curve(chosen.device_id), json.dumps(curve).encode())
    return work.curve(chosen.device_id)
