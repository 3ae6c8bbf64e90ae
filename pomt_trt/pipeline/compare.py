"""Several methods of one model under one measurement: each compiled in a folder of its own, all tied to one R = 0.

Fills WORK/METHOD/ as compile does, and writes the Comparison and its figure beside them. On the workstation, since
graphs are exported and eager PyTorch is timed. Leaves out how a comparison is made of selections
(core/choice/comparison).
"""

import contextlib
import importlib.util
import os
import sys
from typing import Callable, Dict, List, Optional, Sequence

from pomt_trt.core.choice import comparison
from pomt_trt.core.errors import BuildFailed, ConstraintUnmet, InputError, PomtError, UsageError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Comparison, EagerLatencies, Selection
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.core.storage import experiment as known
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS, WorkFolder, locked
from pomt_trt.device.timing import child_turns
from pomt_trt.pipeline import run_stages
from pomt_trt.pipeline.options import Options

OF_ONE_METHOD = (UsageError, InputError, ConstraintUnmet, BuildFailed)  # the others can still be compared
EAGER_COUNTS = 4  # candidates of a method that are timed in eager: each is a process with torch in it
EAGER_S = 30.0  # wall time for the eager candidates of one method, all together


def compare(
    root: str, methods: Sequence[str], asked: Callable[[str], Options], against: Sequence[str] = ("eager",)
) -> Comparison:
    """Compiles a model by each method and puts them side by side.

    Args:
        asked: what compile takes for a method, with WORK/METHOD as its work folder; may raise what it lacks.
        against: ("eager",) times a few candidates of each method in PyTorch eager too; () does not.
    Raises: what the last method raised, where none could be compiled; UsageError for an unknown baseline.
    """
    for name in against:
        if name != "eager":
            raise UsageError("there is no baseline '{}'. Choose --against eager or none.".format(name))
    options: Dict[str, Options] = {}
    selections: Dict[str, Selection] = {}
    reasons: Dict[str, PomtError] = {}
    with locked(root):
        for name in methods:
            sys.stderr.write("{}:\n".format(name))
            try:
                options[name] = asked(name)
                run_stages.export(options[name])
                _share_unreduced([options[done].work for done in selections], options[name].work)
                selections[name] = run_stages.compile_all(options[name])
            except OF_ONE_METHOD as error:
                reasons[name] = error
        if not selections:
            raise list(reasons.values())[-1]
        eager = {name: _eager(options[name], selections[name]) for name in (selections if against else ())}
        request = options[next(iter(selections))].request
        told = {name: str(error) for name, error in reasons.items()}
        found = comparison.compared(selections, eager, told, request.batch_size)
        store.write_record(_path(root, found, "json"), found)
        _draw(root, found, request.model)
    return found


def _share_unreduced(others: Sequence[str], root: str) -> None:
    """Gives a work folder the engine and the profile of R = 0 that an earlier method's folder has, where graph and
    weights are the same: all groups of candidates are tied to that profile, and so to one another.
    """
    target = WorkFolder(root)
    for family in known.families(target):
        for source in map(WorkFolder, others):
            if family.form not in source.forms():
                continue
            there = known.family_of(source, family.form)
            same = there.graph_sha256["r000"] == family.graph_sha256["r000"]
            if same and there.weights_sha256 == family.weights_sha256:
                _share_files(source, target)
                break


def _share_files(source: WorkFolder, target: WorkFolder) -> None:
    """What a device has of R = 0; what the target has already stays. Records go last: they vouch for the files."""
    for folder in ("engines", "latency"):
        for device_id in sorted(_listed(os.path.join(source.root, folder))):
            here, there = (os.path.join(one.root, folder, device_id) for one in (source, target))
            names = [name for name in _listed(here) if name.startswith("r000.") or name == WEIGHTS]
            for name in sorted(names, key=lambda name: name.endswith(".json")):
                path = os.path.join(there, name)
                if not os.path.exists(path):
                    os.makedirs(there, exist_ok=True)
                    (store.copy if name == WEIGHTS else store.hard_link)(os.path.join(here, name), path)


def _listed(folder: str) -> List[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _eager(options: Options, selection: Selection) -> EagerLatencies:
    """R = 0 and a few candidates of one method in PyTorch eager, timed in turn; kept in the method's work folder."""
    work, settings = WorkFolder(options.work), options.settings
    ids = ["r000", *_spread([row.id for row in selection.rows if row.removed and row.status == "measured"])]
    inputs = {"candidates": " ".join(ids), "threads": str(settings.threads), "waiting": settings.waiting}
    inputs.update(known.family_inputs(work))
    there = store.read_matching(work.eager(selection.device_id), EagerLatencies, inputs)
    if there is not None:
        return there
    program = ("pomt_trt.baselines.timm_eager", "--work", work.root, "--candidate")
    with contextlib.ExitStack() as stack, Progress("eager", 1) as progress:
        how = (settings.threads, settings.waiting)
        members = [child_turns.started(stack, name, (*program, name), *how) for name in ids]
        timings, _ = child_turns.time_in_turn(members, StoppingRule(max_s=EAGER_S), progress.show)
        progress.step()
    found = EagerLatencies(
        torch=str(members[0].about.get("torch")),
        threads=settings.threads,
        waiting=settings.waiting,
        latency_ms={name: timing.latency_ms for name, timing in timings.items()},
        latency_ci_ms={name: timing.latency_ci_ms for name, timing in timings.items()},
        doubt="; ".join(sorted({timing.doubt for timing in timings.values() if timing.doubt})),
    )
    store.write_record(work.eager(selection.device_id), found, inputs)
    return found


def _spread(ids: Sequence[str]) -> List[str]:
    """At most EAGER_COUNTS of them, the ends among them and the rest evenly between."""
    count, last = min(EAGER_COUNTS, len(ids)), len(ids) - 1
    return [ids[round(place * last / max(1, count - 1))] for place in range(count)]


def _draw(root: str, found: Comparison, model: str) -> Optional[str]:
    """The figure, where it can be drawn; returns its path."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from pomt_trt.report import comparison as figure

    path = _path(root, found, "png")
    figure.draw(found, path, title="{}, batch {}".format(model, found.batch_size))
    return path


def _path(root: str, found: Comparison, extension: str) -> str:
    return os.path.join(root, "comparison-{}.{}".format(found.device_id, extension))
