"""Records of a choice: selections, comparisons and the bundle that is deployed."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.records.candidates import Candidate
from pomt_trt.core.records.engines import Engine
from pomt_trt.core.records.measurements import Interval
from pomt_trt.core.records.models import ClassOrder, ModelSpec


class Step(NamedTuple):
    """A drop of the latency curve that trend and noise do not explain."""

    edge_tokens: int  # the first count after the drop
    from_tokens: int  # the measured count before it
    drop_ms: float
    drop_ci_ms: Interval
    p_value: float
    valley: bool = False  # cheaper than both its neighbours


class Row(NamedTuple):
    """One candidate in a selection; unknown values are None."""

    id: str
    tokens_before: int
    tokens_after: int
    removed: int
    latency_ms: Optional[float] = None
    latency_ci_ms: Optional[Interval] = None
    accuracy: Optional[float] = None
    accuracy_ci: Optional[Interval] = None
    accuracy_drop: Optional[float] = None
    accuracy_drop_ci: Optional[Interval] = None
    utility: Optional[float] = None
    status: str = "not-built"  # measured, built (after `build` only), not-built, failed, over-budget
    verdict: Optional[str] = None  # of its latency profile
    why: str = ""  # why it was chosen, or why not
    schedule: Optional[Tuple[int, ...]] = None  # of a searched candidate: tokens entering each block, leaving the last


class Selection(NamedTuple):
    """The chosen candidate, the rule, and why the others were not chosen."""

    rule: str  # as given
    rule_used: str  # fastest-within where the step rule has no edge to choose
    device_id: str
    accuracy_kind: str
    accuracy_source: str
    constraints: Dict[str, Optional[float]]
    unreduced: Row
    chosen: Row
    steps: Tuple[Step, ...]
    rows: Tuple[Row, ...]
    pareto: Tuple[str, ...]
    notes: Tuple[str, ...]
    accuracy_images: Optional[int] = None  # on which accuracies were estimated


class Contender(NamedTuple):
    """One candidate of one method in a comparison."""

    method: str
    row: Row  # of the method's own selection, as an engine
    eager_ms: Optional[float] = None  # in PyTorch eager, in units of the comparison's eager R = 0
    eager_ci_ms: Optional[Interval] = None

    @property
    def name(self) -> str:
        """Such as `pomt r056`: unique among all methods, unlike a candidate's id."""
        return "{} {}".format(self.method, self.row.id)


class Comparison(NamedTuple):
    """Several methods on one device."""

    device_id: str
    batch_size: int
    accuracy_kind: str
    unreduced: Contender
    contenders: Tuple[Contender, ...]  # reduced and measured
    chosen: Dict[str, str]  # method -> id of the candidate that its selection chose
    pareto: Tuple[str, ...]  # names of contenders, fastest first; R = 0 is `none r000`
    eager_pareto: Tuple[str, ...]  # the same by eager latency
    not_compared: Dict[str, str]  # method -> why
    notes: Tuple[str, ...]
    eager_torch: Optional[str] = None  # version; None: eager was not timed
    eager_doubt: Dict[str, str] = {}  # method -> why its eager latencies must not be quoted


class Bundle(NamedTuple):
    """The manifest of a deployment folder."""

    model: ModelSpec
    method: str
    layer: Optional[int]
    candidate: Candidate
    unreduced: Candidate
    engine: Engine
    unreduced_engine: Engine
    form: str
    selection: Selection
    files: Dict[str, Dict[str, Any]]  # name -> {"sha256", "bytes"}; every file except the manifest
    fp32_nodes: Tuple[str, ...] = ()  # of its graphs, see Family
    class_order: Optional[ClassOrder] = None  # of the data that it was compiled with, see Experiment
