"""Several methods of one model side by side: each compiled in WORK/METHOD/, all relative to one R = 0.

On the workstation, since graphs are exported and eager PyTorch is timed.
"""

import contextlib
import glob
import importlib.util
import itertools
import os
import sys
from typing import Callable, Dict, List, Sequence

from pomt_trt.core.choice import comparison
from pomt_trt.core.errors import BuildFailed, ConstraintUnmet, InputError, PomtError, UsageError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Comparison, EagerLatencies, Selection
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.core.storage import experiment as experiments
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS, WorkFolder, locked
from pomt_trt.device.timing.turns import child_turns
from pomt_trt.pipeline import run_stages
from pomt_trt.pipeline.options import Options

OF_ONE_METHOD = (UsageError, InputError, ConstraintUnmet, BuildFailed)  # the others can still be compared
EAGER_COUNTS = 4  # candidates of a method that are timed in eager: each is a process with torch in it
EAGER_S = 30.0  # wall time for the eager candidates of one method, all together


def compare(
    root: str, methods: Sequence[str], options_for: Callable[[str], Options], against: Sequence[str] = ("eager",)
) -> Comparison:
    """Compiles a model by each method and puts them side by side.

    Args:
        options_for: method -> the options of its compile, whose work folder is WORK/METHOD; may raise a PomtError.
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
                options[name] = options_for(name)
                run_stages.export(options[name])
                _share_unreduced([options[done].work for done in selections], options[name].work)
                selections[name] = run_stages.compile_all(options[name])
            except OF_ONE_METHOD as error:
                reasons[name] = error
        if not selections:
            raise list(reasons.values())[-1]
        eager = {name: _eager(options[name], selections[name]) for name in (selections if against else ())}
        request = options[next(iter(selections))].request
        errors = {name: str(error) for name, error in reasons.items()}
        compared = comparison.compared(selections, eager, errors, request.batch_size)
        store.write_record(_path(root, compared, "json"), compared)
        _draw(root, compared, request.model)
    return compared


def _share_unreduced(others: Sequence[str], root: str) -> None:
    """Gives a work folder the engine and the profile of R = 0 of an earlier method, where graph and weights are equal.

    All latencies are relative to that profile, so those of both methods can be compared.
    """
    target = WorkFolder(root)
    for graph_set in experiments.families(target):
        for source in map(WorkFolder, others):
            if graph_set.form in source.forms():
                earlier = experiments.family_of(source, graph_set.form)
                same_graph = earlier.graph_sha256["r000"] == graph_set.graph_sha256["r000"]
                if same_graph and earlier.weights_sha256 == graph_set.weights_sha256:
                    _share_files(source, target)
                    break


def _share_files(source: WorkFolder, target: WorkFolder) -> None:
    """The files of R = 0 that the target lacks. Records are copied last, since they say that the files are there."""
    kinds = itertools.product(("engines", "latency"), ("r000.*", WEIGHTS))
    patterns = [os.path.join(glob.escape(source.root), folder, "*", name) for folder, name in kinds]
    paths = [path for pattern in patterns for path in glob.glob(pattern)]
    for path in sorted(paths, key=lambda path: (path.endswith(".json"), path)):
        copy = os.path.join(target.root, os.path.relpath(path, source.root))
        if not os.path.exists(copy):
            (store.copy if os.path.basename(path) == WEIGHTS else store.hard_link)(path, copy)


def _eager(options: Options, selection: Selection) -> EagerLatencies:
    """R = 0 and a few candidates of one method in PyTorch eager, timed in turn; kept in the method's work folder."""
    work, settings = WorkFolder(options.work), options.settings
    ids = ["r000", *_spread([row.id for row in selection.rows if row.removed and row.status == "measured"])]
    inputs = {"candidates": " ".join(ids), "threads": str(settings.threads), "waiting": settings.waiting}
    inputs.update(experiments.family_inputs(work))
    recorded = store.read_matching(work.eager(selection.device_id), EagerLatencies, inputs)
    if recorded is not None:
        return recorded
    program = ("pomt_trt.baselines.timm_eager", "--work", work.root, "--candidate")
    with contextlib.ExitStack() as stack, Progress("eager", 1) as progress:
        how = (settings.threads, settings.waiting)
        members = [child_turns.started(stack, name, (*program, name), *how) for name in ids]
        timings, _ = child_turns.time_in_turn(members, StoppingRule(max_s=EAGER_S), progress.show)
        progress.step()
    latencies = EagerLatencies(
        torch=str(members[0].about.get("torch")),
        threads=settings.threads,
        waiting=settings.waiting,
        latency_ms={name: timing.latency_ms for name, timing in timings.items()},
        latency_ci_ms={name: timing.latency_ci_ms for name, timing in timings.items()},
        doubt="; ".join(sorted({timing.doubt for timing in timings.values() if timing.doubt})),
    )
    store.write_record(work.eager(selection.device_id), latencies, inputs)
    return latencies


def _spread(ids: Sequence[str]) -> List[str]:
    """At most EAGER_COUNTS of them, evenly spread, the first and the last among them."""
    count, last = min(EAGER_COUNTS, len(ids)), len(ids) - 1
    return [ids[round(place * last / max(1, count - 1))] for place in range(count)]


def _draw(root: str, compared: Comparison, model: str) -> None:
    """Draws the figure where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is not None:
        from pomt_trt.report import comparison as figure

        title = "{}, batch {}".format(model, compared.batch_size)
        figure.draw(compared, _path(root, compared, "png"), title=title)


def _path(root: str, compared: Comparison, extension: str) -> str:
    return os.path.join(root, "comparison-{}.{}".format(compared.device_id, extension))
