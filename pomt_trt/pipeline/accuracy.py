"""The accuracies of candidates, estimated with PyTorch in fp32 on the workstation.

A device measures the accuracy of its engines by itself (`pomt-trt evaluate`).
"""

from pathlib import Path
from typing import Sequence

from pomt_trt.core.command import on_workstation
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Candidate
from pomt_trt.core.storage import experiment as experiments
from pomt_trt.core.storage import store
from pomt_trt.core.targets import named
from pomt_trt.pipeline.export import Workstation
from pomt_trt.pipeline.session import Session


def estimate(session: Session, candidates: Sequence[Candidate], workstation: Workstation, progress: Progress) -> None:
    """Estimates the accuracy of each candidate that has none, and holds its graphs of all forms against PyTorch."""
    todo = [candidate for candidate in candidates if session.accuracy(candidate.id) is None]
    if not todo:
        return
    with on_workstation():
        from pomt_trt.host import accuracy
        from pomt_trt.host.graphs import export as exporting

    work = session.work
    plan, _, images = workstation.load()
    experiments.check_class_order(work, images.class_order)
    estimator = workstation.estimator(session.unreduced, session.experiment.accuracy_kind)
    graph_sets = experiments.families(work)
    for done in estimator.estimate(todo, progress.show):
        name = done.candidate.id
        for graph_set in graph_sets:
            if name in graph_set.graph_sha256:
                own_plan = plan._replace(target=named(graph_set.target), precision=graph_set.precision)
                accuracy.verify(own_plan, done, images, Path(work.onnx(graph_set.form)))
        arrays = Path(work.accuracy_arrays(name))
        exporting.save_arrays(arrays, logits=done.golden_logits, margins=done.golden_margins)
        inputs = experiments.accuracy_inputs(session.graph_set, name)
        store.write_record(work.accuracy(name), done.estimate, inputs)
        session.renew([name])
        progress.step(name)
