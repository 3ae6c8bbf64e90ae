"""The first stage: the model and its images on the workstation, and the graphs of the candidates.

What belongs to the workstation is imported when it is needed: a resumed run may need none of it.
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from pomt_trt.core.command import on_workstation
from pomt_trt.core.data.class_order import names_of_outputs, say_classes
from pomt_trt.core.metrics.accuracy import kind_of
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import BINARY, CLASSIFICATION, GRID, Candidate, Experiment, Family, Request
from pomt_trt.core.storage import experiment as experiments
from pomt_trt.core.storage import store
from pomt_trt.core.storage.learned import record_of
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.core.targets import Target, named
from pomt_trt.pipeline.options import Options
from pomt_trt.pipeline.session import Session


class GraphKind(NamedTuple):
    """For which parser and precision graphs are exported."""

    target: Target
    precision: str
    plugin: bool  # whether plugins' nodes remove tokens

    @property
    def form(self) -> str:
        """Name of such graphs."""
        return self.target.form(self.precision, self.plugin)


class Workstation:
    """The model and its images, loaded when a stage first needs them."""

    def __init__(self, request: Request, kind: GraphKind, module: Any = None) -> None:
        """module: the model itself, where the request has only its name."""
        self.kind = kind
        self._request, self._module = request, module
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
                from pomt_trt.host.reducers.common import learned

            threads.limit_torch()
            request = self._request
            model = loading.asked_for(request, self._module)
            plan = export.Plan(
                model.module,
                request.method,
                request.layer,
                request.batch_size,
                request.seed,
                self.kind.target,
                self.kind.precision,
                learned.asked_for(request, model.spec),
                self.kind.plugin,
            )
            images = image_batches.load(
                request.data, model.spec, request.samples, request.seed, class_order=request.class_order
            )
            self._loaded = plan, model.spec, images
        return self._loaded

    def estimator(self, unreduced: Candidate, accuracy_kind: str) -> Any:
        """host/accuracy's Estimator; one for all candidates, since what they share is computed once."""
        if self._estimator is None:
            with on_workstation():
                from pomt_trt.host import accuracy

            plan, _, images = self.load()
            self._estimator = accuracy.Estimator(plan, unreduced, images, accuracy_kind)
        return self._estimator


def workstation_for(options: Options, module: Any = None) -> Workstation:
    """What a compile needs of the workstation; see Workstation."""
    return Workstation(options.request, GraphKind(named(options.target), options.precision, options.plugin), module)


def request_for(module: Any, request: Request) -> Request:
    """The request with the weights of a module that the user made: another module is another experiment."""
    with on_workstation():
        from pomt_trt.host.models import loading

    return request._replace(checkpoint_sha256=loading.fingerprint(module))


def export_graphs(work: WorkFolder, options: Options, workstation: Workstation) -> Session:
    """The graphs of the candidates that the options name; exported unless they are there and whole."""
    experiment = experiments.checked_experiment(work, options.request)
    graph_set = None
    if experiment is not None:
        counts = experiments.counts(experiment.model, options.request.method, options.tokens)
        graph_set = experiments.whole_family(work, workstation.kind.form, counts)
    if graph_set is None:
        graph_set = _exported(work, options, workstation)
    experiment = experiments.experiment_of(work)
    say_classes(experiment.class_order, experiment.model.labels)
    candidates = experiments.grid(experiment, graph_set, options.tokens)
    return Session(work, experiment, graph_set, [candidate for candidate in candidates if candidate.kind == GRID])


def _exported(work: WorkFolder, options: Options, workstation: Workstation) -> Family:
    with on_workstation():
        from pomt_trt.baselines import plain_weights
        from pomt_trt.host.graphs import export as exporting

    plan, spec, images = workstation.load()
    experiments.check_class_order(work, images.class_order)
    if not spec.labels and spec.task in (CLASSIFICATION, BINARY):
        outputs = 2 if spec.task == BINARY else spec.classes
        spec = spec._replace(labels=names_of_outputs(images.class_order, outputs))
    wanted = experiments.counts(spec, options.request.method, options.tokens)
    # Counts that were exported before are exported again, so that what was measured of them stays usable.
    counts = sorted({*wanted, *experiments.counts_there(work, workstation.kind.form)}, reverse=True)
    removed = [spec.tokens - count for count in counts]
    candidates = exporting.candidates(plan, spec.tokens, spec.depth, spec.prefix_tokens, removed)
    with Progress("export", len(candidates)) as progress:
        graph_set = exporting.export(plan, candidates, images, Path(work.root), progress.step)
    exporting.write_golden(plan, candidates[0].schedule, images, Path(work.golden()))
    plain = Path(work.plain(graph_set.form))
    plain_weights.write(plan.module, Path(work.graph(graph_set.form, candidates[0].id)), plain)
    record = record_of(options.request.model, options.request.method)
    if record is not None:
        shutil.copyfile(record, work.training())
    # The experiment is written last: an export that fails leaves no experiment that refuses the next attempt.
    kind = kind_of(spec, images.labels is not None)
    experiment = Experiment(options.request, spec, images.kind, kind, len(images), images.class_order)
    experiments.write_experiment(work, experiment)
    graph_set = experiments.with_searched(work, graph_set)
    store.write_record(work.family(graph_set.form), graph_set, experiments.family_inputs(work))
    return graph_set
