"""Records of measurements: accuracy, latency and energy."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

Interval = Tuple[float, float]  # low, high; 95 %
TOP1, AGREEMENT = "top1", "agreement"  # kinds of accuracy: with labels, or agreement with the unreduced model
MIOU, PIXEL_AGREEMENT = "miou", "pixel-agreement"  # the same for pixels
KNN, COSINE = "knn", "cosine"  # the same for features: of the nearest neighbours, or cosine to the unreduced model's
AUROC, SIDE_AGREEMENT = "auroc", "side-agreement"  # the same for labels of which several may hold
R2, FIDELITY = "r2", "fidelity"  # the same for values; fidelity is R2 with the unreduced model's values as the truth
F1, MAE = "f1", "mae"  # beside AUROC and R2
ACCURACY_TITLES = {
    TOP1: "top-1",
    AGREEMENT: "agreement with R = 0",
    MIOU: "mIoU",
    PIXEL_AGREEMENT: "pixel agreement with R = 0",
    KNN: "nearest neighbours' top-1",
    COSINE: "cosine to R = 0",
    AUROC: "AUROC",
    SIDE_AGREEMENT: "agreement with R = 0",
    R2: "R2",
    FIDELITY: "R2 of R = 0",
    F1: "F1",
    MAE: "mean absolute error",
}


class Metric(NamedTuple):
    """A metric beside the accuracy, and its drop against the unreduced model on the same images."""

    kind: str
    value: float
    value_ci: Interval
    drop: float  # unreduced minus this
    drop_ci: Interval


class AccuracyEstimate(NamedTuple):
    """Accuracy of one candidate, and its drop against the unreduced model on the same images."""

    candidate_id: str
    kind: str  # of accuracy
    samples: int
    accuracy: float
    accuracy_ci: Interval
    drop: float  # unreduced minus this
    drop_ci: Interval
    # Mean over images (and patches, in segmentation) of KL(unreduced || this), nats. Of features: 1 - cosine. Of
    # values: as if they were Gaussian.
    kl_divergence: float
    source: str = "host-fp32"
    constant_accuracy: Optional[float] = (
        None  # of one answer to all images, the best one; None: no labels, or one class
    )
    others: Tuple[Metric, ...] = ()


class Sensitivity(NamedTuple):
    """Accuracy cost of keeping fewer tokens from one block on: mean KL(unreduced || reduced) over images, in nats."""

    method: str
    images: int
    counts: Tuple[int, ...]  # kept, descending
    removable: Tuple[int, ...]  # the most that the method can remove in one block, by tokens entering it, from 0 on
    kl: Tuple[Tuple[float, ...], ...]  # a row a block, a value a count; NaN: the method cannot remove so many


class Energy(NamedTuple):
    """Energy of one run above the board's idle power (device/board/energy).

    The engine ran alone, back to back; idle_w was measured just before.
    """

    energy_mj: float  # (busy_w - idle_w) * run_ms
    energy_ci_mj: Interval
    idle_w: float
    busy_w: float
    run_ms: float  # wall time of a run meanwhile
    runs: int
    images: int  # in a run


class LatencyProfile(NamedTuple):
    """Latency of one engine, with its raw samples.

    latency_ms is the wall time of Runner.run: host array in, host logits out, waiting as `infer` does. With a pace,
    runs begin at a camera's rate; in the idle gaps between them, clocks slow down and caches are lost.
    """

    candidate_id: str
    device_id: str
    engine_sha256: str
    threads: int
    waiting: str  # default or passive
    pace_fps: Optional[float]  # runs began at this rate; None: back to back
    latency_ms: float
    latency_ci_ms: Interval
    cpu_ms: float  # CPU time of all threads a run, spinning included
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    rounds_ms: Tuple[Tuple[float, ...], ...]  # one row a round, as timed
    drift: Tuple[float, ...]  # slowdown of the machine in each round, relative to its fast state; 1.0: none
    tie: float  # latency_ms over the location of these rounds alone: the factor that samples are multiplied by
    stopped: str  # why sampling ended: settled, time cap
    max_s: float  # the time cap: wall time allowed for its runs
    verdict: str  # stable, contended, throttled, floating (clocks could move, or did)
    # Steal, involuntary switches, drift; a board's sensors, see sensors.Sampler. Paced: also `missed`, the share of
    # runs that had not ended when the next one was due.
    contention: Dict[str, Any]
    gpu_ms: Optional[float] = None  # between events around the enqueue, as trtexec's GPU compute time
    transfers_ms: Optional[float] = None  # of the copies to and from the device
    modes: Optional[Dict[str, Any]] = None  # memory, waiting, CUDA graph or why there is none
    energy: Optional[Energy] = None  # None: not requested, or no power rail could be read


class TimedMember(NamedTuple):
    """An engine's part in a group."""

    candidate_id: str
    engine_sha256: str
    rounds_ms: Tuple[Tuple[float, ...], ...]  # one row a round, from the group's first round on


class TimedGroup(NamedTuple):
    """Engines that took turns in one process: what latencies are estimated from, see core/statistics/across_groups."""

    members: Tuple[TimedMember, ...]  # R = 0 and other references first
    references: int  # how many of the members had a latency before
    disturbed: Tuple[bool, ...]  # of each round: whether other programs or the hypervisor took CPU time


class EagerLatencies(NamedTuple):
    """Latencies of one method's candidates in PyTorch eager, interleaved in one run."""

    torch: str
    threads: int
    waiting: str
    latency_ms: Dict[str, float]  # candidate id -> wall time of a run; always with R = 0
    latency_ci_ms: Dict[str, Interval]
    doubt: str  # why they must not be quoted, or empty


class BlockLatency(NamedTuple):
    """Latency of one block that removes nothing: its share of a whole model with this count in every block."""

    tokens: int
    ms: float
    ci_ms: Interval


class ReductionLatency(NamedTuple):
    """Latency of removing tokens in a block, beyond its attention before the cut and its MLP after it."""

    tokens: float  # entering the probe's blocks that remove, on average
    ms: float
    chain: Tuple[int, ...]  # schedule of the probe


class BlockLatencies(NamedTuple):
    """Latencies of a model's blocks on one device, which predict that of any schedule (schedules/block_costs).

    Embedding and head are included, in equal shares.
    """

    device_id: str
    engine: str  # one of core/targets.ENGINES
    engine_version: str
    form: str
    method: str
    batch_size: int
    depth: int
    plain: Tuple[BlockLatency, ...]  # by descending tokens
    attention_share: float  # of a block's latency: the part that depends on the count before a cut
    reducing: Tuple[ReductionLatency, ...]  # by descending tokens
