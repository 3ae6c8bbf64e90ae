"""The choice among what was measured, and the notes that a selection carries."""

import contextlib
import os
from typing import List, Sequence

from pomt_trt.core.choice import selection
from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.data import class_order
from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.accuracy import doubt
from pomt_trt.core.records import LatencyProfile, Row, Selection
from pomt_trt.core.search.held_steps import held_steps
from pomt_trt.core.statistics import stability
from pomt_trt.core.storage import store
from pomt_trt.device.engines.tensorrt.layer_info import shortfall
from pomt_trt.device.timing import profiling
from pomt_trt.pipeline.session import Session


def select_winner(session: Session, choice: Goal, notes: Sequence[str] = ()) -> Selection:
    """The winner among what is known, written to the work folder.

    Args:
        notes: sentences on how it was measured; they stand in the selection.
    """
    chosen = choose_winner(session, choice)
    chosen = chosen._replace(notes=chosen.notes + tuple(_notes(session, chosen)) + tuple(notes))
    path = session.work.selection(session.device.id)
    if not _is_written(path, chosen):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(
                session.work.figure(session.device.id)
            )  # first, so that a kill leaves no figure of another choice
        store.write_record(path, chosen)
    return chosen


def choose_winner(session: Session, choice: Goal) -> Selection:
    """The winner among what is known. Steps are those of the grid's curve that hold within a group."""
    rows = session.rows()
    _check_settings(session, rows[0])
    return selection.select(
        rows,
        choice,
        held_steps(session.curve(), rows[0].tokens_after, session.clean_groups()),
        device_id=session.device.id,
        accuracy=selection.AccuracySource(session.experiment.accuracy_kind, "host-fp32", session.experiment.images),
    )


def _check_settings(session: Session, unreduced: Row) -> None:
    """Raises InputError where engines were timed on this device, but in another way than is asked for."""
    path = session.work.latency(session.device.id, unreduced.id)
    if unreduced.status != "not-built" or not os.path.isfile(path):
        return
    profile: LatencyProfile = store.read_record(path, LatencyProfile).record
    settings = session.settings
    if (profile.threads, profile.waiting, profile.pace_fps) == (settings.threads, settings.waiting, settings.pace_fps):
        return
    flags = "--threads {} --waiting {}".format(profile.threads, profile.waiting)
    wanted = "{} and {}".format(settings.threads, settings.waiting)
    if profile.pace_fps is not None:
        flags += " --pace {:g}".format(profile.pace_fps)
    if profile.pace_fps != settings.pace_fps:
        wanted += " and no --pace" if settings.pace_fps is None else " and --pace {:g}".format(settings.pace_fps)
    raise InputError(
        "R = 0 was timed with {}, you ask for {}. Give the former, or profile again: pomt-trt profile {}.".format(
            flags, wanted, session.work.root
        )
    )


def _is_written(path: str, chosen: Selection) -> bool:
    written = store.read_matching(path, Selection, {})
    return written is not None and store.to_json(written) == store.to_json(chosen)


def _notes(session: Session, chosen: Selection) -> List[str]:
    """What a selection says besides who won."""
    notes = [*_doubt_notes(session, chosen), *_class_notes(session), *_precision_notes(session)]
    notes += [*_pace_notes(session, chosen), *_removed_notes(session, chosen)]
    return notes + [*_fusion_notes(session, chosen), *_board_notes(session, chosen)]


def _doubt_notes(session: Session, chosen: Selection) -> List[str]:
    """Why the accuracy of the unreduced model makes data or weights doubtful."""
    estimate = session.accuracy(chosen.unreduced.id)
    note = None if estimate is None else doubt(estimate)
    return [] if note is None else [note]


def _class_notes(session: Session) -> List[str]:
    """How class names in the data were read, where there are any."""
    order = session.experiment.class_order
    return [] if order is None else [class_order.describe(order, session.experiment.model.labels)]


def _precision_notes(session: Session) -> List[str]:
    """That fp16 gains no time on a CPU."""
    if session.device.engine != "onnxruntime" or session.graph_set.precision != "fp16":
        return []
    return [
        "On most CPUs ONNX Runtime computes fp16 by casts to fp32 and back, which takes longer than fp32: compare with "
        "--precision fp32."
    ]


def _pace_notes(session: Session, chosen: Selection) -> List[str]:
    """That latencies are paced, and whether the unreduced model and the winner kept up; none where they are not."""
    pace_fps = session.settings.pace_fps
    if pace_fps is None:
        return []
    notes = ["Latencies were {}, with idle gaps as a camera makes them.".format(stability.paced(pace_fps))]
    for name in sorted({chosen.unreduced.id, chosen.chosen.id}):
        profile = session.latency(name)
        missed = profile.contention["missed"] if profile else 0.0
        if missed:
            notes.append("{:.0%} of the runs of {} lasted until the next was due.".format(missed, name))
    return notes


def _removed_notes(session: Session, chosen: Selection) -> List[str]:
    """What to do where the winner's engine file was removed, since an earlier choice had not named it."""
    name = chosen.chosen.id
    if os.path.isfile(os.path.join(session.engines.engines_folder, name + ".engine")):
        return []
    return [
        "the engine file of {1} was removed after it was profiled, since no rule named it then; have it back with: "
        "pomt-trt build {0} --only {1} --threads {2}".format(session.work.root, name, session.settings.threads)
    ]


def _fusion_notes(session: Session, chosen: Selection) -> List[str]:
    """Of the unreduced model and the winner: where attention is not fused that could be."""
    notes = []
    for name in sorted({chosen.unreduced.id, chosen.chosen.id}):
        engine = session.engine(name)
        if engine is not None:
            notes.append(shortfall(engine, session.candidate(name).schedule, session.graph_set.reads_attention))
    return [note for note in notes if note is not None]


def _board_notes(session: Session, chosen: Selection) -> List[str]:
    """The energy of a run of R = 0 and of the winner, and how images reach the GPU, where these were measured."""
    named = {chosen.unreduced.id, chosen.chosen.id}
    energies = profiling.energies(session.engines, [one for one in session.candidates if one.id in named])
    notes = ["{}: {}.".format(name, stability.energy(energy)) for name, energy in energies.items()]
    winner = session.latency(chosen.chosen.id)
    memory = str((winner.modes or {}).get("memory", "")) if winner is not None else ""
    return notes + (["{}: {}.".format(chosen.chosen.id, memory)] if " ms " in memory else [])
