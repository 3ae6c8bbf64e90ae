"""A family of graphs that is there and more candidates -> the family with both.

Makes graphs beside others, on the same weights. On the workstation. Leaves out how graphs are made
(host/graphs/export).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from pomt_trt.core.records import Candidate, Family
from pomt_trt.host.data.image_batches import Images
from pomt_trt.host.graphs import graph_set
from pomt_trt.host.graphs.export import Make, Plan, write


def extend(
    plan: Plan,
    there: Family,
    more: Sequence[Candidate],
    images: Images,
    work: Path,
    progress: Callable[[str], None] = lambda id: None,
    make: Make | None = None,
) -> Family:
    """The family with the graphs of more candidates, written beside those that are there; weights.bin stays.

    Args:
        make: see export.write.
    Raises: VerificationFailed, as export does.
    """
    folder = work / "onnx" / there.form
    located = graph_set.located_in(folder / f"{there.candidates[0].id}.onnx")
    written = write(plan, more, images, folder, progress, located, make)
    return there._replace(
        candidates=there.candidates + tuple(more),
        graph_sha256={**there.graph_sha256, **written.graph_sha256},
        fp32_nodes=tuple(dict.fromkeys(there.fp32_nodes + written.fp32_nodes)),
    )
