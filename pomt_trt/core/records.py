"""The vocabulary: every record on one page, frozen, without logic beyond properties.

A record is what a stage writes and the next one reads (core/storage/store). Units are in the names: *_ms, *_s, *_bytes,
*_mhz; a count called tokens includes the prefix; accuracies are fractions; intervals are (low, high).
"""

import hashlib
from typing import Any, Dict, NamedTuple, Optional, Tuple

Interval = Tuple[float, float]
GRID, SEARCHED, CHAIN = "grid", "searched", "chain"  # kinds of candidates
CLASSIFICATION, SEGMENTATION = "classification", "segmentation"  # tasks: a class an image, or one a pixel
TOP1, AGREEMENT = "top1", "agreement"  # kinds of accuracy: of images with labels, or with the unreduced model
MIOU, PIXEL_AGREEMENT = "miou", "pixel-agreement"  # the same, of pixels
ACCURACY_TITLES = {
    TOP1: "top-1",
    AGREEMENT: "agreement with R = 0",
    MIOU: "mIoU",
    PIXEL_AGREEMENT: "pixel agreement with R = 0",
}


class Preprocessing(NamedTuple):
    """How an image file becomes the array the model was trained on (timm's data config).

    mean and std are per channel, on values scaled to 0..1.
    """

    height: int
    width: int
    channels: int  # 3: RGB, 1: grey
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    interpolation: str = "bicubic"  # nearest, bilinear, bicubic, lanczos
    crop_pct: float = 1.0
    crop_mode: str = "center"  # center, squash, border


class ModelSpec(NamedTuple):
    """A vision transformer, as far as counts and files are concerned."""

    name: str  # what the user asked for: a timm name, local-dir:PATH, digits or scenes
    architecture: str
    weights: str  # where they came from: random (seed 0), pretrained, checkpoint, local-dir
    depth: int
    width: int
    heads: int
    patch_tokens: int
    prefix_tokens: int
    classes: int
    preprocessing: Preprocessing
    head: Optional[str] = None  # file of a separate linear head (DINOv2), or None for the model's own
    labels: Tuple[str, ...] = ()  # names of the classes, where known
    task: str = CLASSIFICATION  # or segmentation: logits (B, classes, rows, columns), one a patch

    @property
    def tokens(self) -> int:
        """Tokens entering block 0, prefix included."""
        return self.patch_tokens + self.prefix_tokens

    @property
    def random_weights(self) -> bool:
        """True where nothing was trained, so that accuracy can only mean agreement."""
        return self.weights.startswith("random")


class Schedule(NamedTuple):
    """Tokens entering each block, then leaving the last: depth + 1 integers, prefix included."""

    tokens: Tuple[int, ...]
    prefix_tokens: int
    merged: Tuple[int, ...] = ()  # of what each block removes, how many become part of others; (): its method knows

    @property
    def tokens_before(self) -> int:
        """Tokens entering block 0."""
        return self.tokens[0]

    @property
    def tokens_after(self) -> int:
        """Tokens where they are fewest: leaving the last block, but where a method brings all back for that one."""
        return min(self.tokens)

    @property
    def removed(self) -> int:
        """R, the net reduction: tokens before minus tokens after."""
        return self.tokens_before - self.tokens_after

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.tokens) - 1


class Candidate(NamedTuple):
    """One way to run the model: what is removed where, and for which batch and precision."""

    method: str
    schedule: Schedule
    batch_size: int
    precision: str = "fp32"
    kind: str = GRID  # SEARCHED: no R tells its schedule; CHAIN: times blocks (schedules/block_costs)

    @property
    def id(self) -> str:
        """r056 for R = 56, s3fa9c1 by the hash of a searched schedule: the name of every file about this candidate."""
        if self.kind == GRID:
            return "r{:03d}".format(self.schedule.removed)
        counts = " ".join(str(count) for count in self.schedule.tokens)
        return self.kind[0] + hashlib.sha256(counts.encode()).hexdigest()[:6]


class ClassOrder(NamedTuple):
    """How the names of classes in the data became indices of the model's outputs (core/data/class_order)."""

    reading: str  # labels, wnids, numbers, natural, string, file
    kind: str  # of names: folder, CSV label
    in_data: int  # how many different names the data have
    names: Tuple[str, ...]  # in the model's order; those of natural, string and file are all that the model has


class Request(NamedTuple):
    """What the user asked a work folder to be about. Paths are absolute."""

    model: str
    checkpoint: Optional[str]
    checkpoint_sha256: Optional[str]
    pretrained: bool
    head: Optional[str]
    labels: Optional[str]
    image_size: Optional[int]
    method: str
    layer: Optional[int]
    batch_size: int
    data: Optional[str]  # folder or CSV file; None: the bundled model's own pictures, or random ones
    samples: int  # at most this many images
    seed: int
    learned_sha256: Optional[str] = None  # of the file with what the method learned, see core/storage/learned
    class_order: Optional[str] = None  # natural, string, or a file of class names; None: as the names themselves say
    class_order_sha256: Optional[str] = None  # of that file


class Experiment(NamedTuple):
    """What a work folder is about; fixed once made, and the same for every device."""

    request: Request
    model: ModelSpec
    data_kind: str  # labelled, unlabelled, random
    accuracy_kind: str  # top1, agreement, miou or pixel-agreement
    images: int  # that accuracy is estimated on
    class_order: Optional[ClassOrder] = None  # as classes were read; None: there were none, or 0.2 read them


class Family(NamedTuple):
    """All candidates' graphs of one form, sharing one weights file."""

    form: str  # op17-fp32
    target: str  # the target it was exported for; others of the same form read it as well
    opset: int
    ir_version: int
    weights_sha256: str
    weights_bytes: int
    candidates: Tuple[Candidate, ...]
    graph_sha256: Dict[str, str]  # candidate id -> hash of its .onnx
    precision: str = "fp32"  # that engines of these graphs compute in: fp32, fp16, bf16
    fp32_nodes: Tuple[str, ...] = ()  # names of nodes that a weakly typed build pins to fp32; () in mixed graphs
    model_sha256: str = ""  # of the fp32 model that all forms are made of, as host/models/loading has it
    reads_attention: bool = True  # blocks drop tokens by weights of their attention, which a fused kernel hides


class DeviceSpec(NamedTuple):
    """The machine and engine a latency belongs to. What is unknown is None."""

    id: str  # short and fit for a folder name
    machine: str
    engine: str  # one of core/targets.ENGINES
    engine_version: str
    processor: str  # what kernels are made for: the CPU, or the GPU with the Jetson's module
    cores: int
    memory_bytes: int
    power_mode: Optional[str] = None
    l4t: Optional[str] = None
    jetpack: Optional[str] = None
    compute_capability: Optional[str] = None


class Finding(NamedTuple):
    """One thing about a machine, see device/board/doctor."""

    name: str
    state: str  # ok, missing (something needed), warning
    value: str
    remedy: str = ""


class Engine(NamedTuple):
    """The compiled artefact of one candidate on one device."""

    candidate_id: str
    device: DeviceSpec
    file: str  # name beside the record
    sha256: str
    bytes: int
    weights_sha256: Optional[str]  # of weights.bin beside it, where the engine reads one
    input_shape: Tuple[int, int, int, int]  # batch, channels, height, width
    threads: int
    build_s: float
    precision: str = "fp32"
    details: Optional[Dict[str, Any]] = None  # what the build really did: typing, TF32, fused attention, cache, gate


class Energy(NamedTuple):
    """What one run costs in energy beyond what the board draws when it idles (device/board/energy).

    One engine ran back to back, alone; idle_w was measured just before.
    """

    energy_mj: float  # (busy_w - idle_w) * run_ms
    energy_ci_mj: Interval
    idle_w: float
    busy_w: float
    run_ms: float  # wall time of a run meanwhile
    runs: int
    images: int  # in a run


class LatencyProfile(NamedTuple):
    """Latency of one engine, raw samples kept.

    latency_ms is the wall time of Runner.run: host array in, host logits out, waiting as `infer` waits. Paced, runs
    begin as a camera's images come, and idle gaps, which slow clocks down and cool caches, lie between them.
    """

    candidate_id: str
    device_id: str
    engine_sha256: str
    threads: int
    waiting: str  # default or passive
    pace_fps: Optional[float]  # runs began at this rate; None: back to back
    latency_ms: float
    latency_ci_ms: Interval
    cpu_ms: float  # CPU time of the process a run, all threads, what they spin while they wait included
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    rounds_ms: Tuple[Tuple[float, ...], ...]  # one row a round, as timed
    drift: Tuple[float, ...]  # by how much the machine was slower in each round than in its fast state: 1.0 is none
    tie: float  # latency_ms over the location of these rounds by themselves: what samples are multiplied by
    stopped: str  # why sampling ended: settled, time cap
    max_s: float  # the cap: wall time that its runs might take
    verdict: str  # stable, drifting, contended, throttled, floating (clocks were free to move, or did)
    contention: Dict[str, Any]  # what was seen: steal, involuntary switches, drift; paced, missed: share of
    # the runs that were still going when the next one was due; what a board's sensors said, see sensors.Sampler
    gpu_ms: Optional[float] = None  # of latency_ms, between events around the enqueue, as trtexec's GPU compute time
    transfers_ms: Optional[float] = None  # the copies to and from the device, likewise
    modes: Optional[Dict[str, Any]] = None  # how the engine ran: memory, waiting, CUDA graph or why none
    energy: Optional[Energy] = None  # None: not asked for, or no rail could be read


class BlockLatency(NamedTuple):
    """What one block costs that removes nothing, as its share of a whole model with this count in every block."""

    tokens: int
    ms: float
    ci_ms: Interval


class ReductionLatency(NamedTuple):
    """What it costs a block to remove tokens, beyond its attention at the count before and its MLP at the one after."""

    tokens: float  # entering the blocks of its chain that remove, on average
    ms: float
    chain: Tuple[int, ...]  # tokens by block of the engine that it was measured in


class BlockLatencies(NamedTuple):
    """What the blocks of a model cost on one device: predicts the latency of any schedule (schedules/block_costs).

    Embedding and head are in it, in equal shares.
    """

    device_id: str
    engine: str  # one of core/targets.ENGINES
    engine_version: str
    form: str
    method: str
    batch_size: int
    depth: int
    plain: Tuple[BlockLatency, ...]  # by descending tokens
    attention_share: float  # of a block: the part that sees the count before a cut in it
    reducing: Tuple[ReductionLatency, ...]  # by descending tokens


class Sensitivity(NamedTuple):
    """What it costs to keep fewer tokens from one block on: mean KL(unreduced || reduced) over a few images, nats."""

    method: str
    images: int
    counts: Tuple[int, ...]  # kept, descending
    removable: Tuple[int, ...]  # what the method can remove in one block at most, by tokens entering it, from 0 on
    kl: Tuple[Tuple[float, ...], ...]  # a row a block, a value a count; NaN: the method cannot get there from here


class AccuracyEstimate(NamedTuple):
    """Accuracy of one candidate, paired with the unreduced model on the same images."""

    candidate_id: str
    kind: str  # of accuracy
    samples: int
    accuracy: float
    accuracy_ci: Interval
    drop: float  # unreduced minus this
    drop_ci: Interval
    kl_divergence: float  # mean over images (and patches, in segmentation) of KL(unreduced || this), nats
    source: str = "host-fp32"
    constant_accuracy: Optional[float] = None  # of the commonest label for all; None: no labels, or one class


class Builds(NamedTuple):
    """Latency of the engines that were built for one candidate and not kept, where builds differ; NaN: it failed."""

    candidate_id: str
    device_id: str
    others_ms: Tuple[float, ...]


class Failure(NamedTuple):
    """A candidate that could not be had, and why: data, not an accident."""

    candidate_id: str
    stage: str  # build, or gate: it was built and computes something else
    reason: str


class Step(NamedTuple):
    """A drop in the latency curve that trend and noise do not explain."""

    edge_tokens: int  # the first count past the drop
    from_tokens: int  # the measured count before it
    drop_ms: float
    drop_ci_ms: Interval
    p_value: float
    valley: bool = False  # cheaper than both its neighbours


class Row(NamedTuple):
    """One candidate in a selection; what is not known is None."""

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
    status: str = "not-built"  # measured, built (build alone says so), not-built, failed, over-budget
    verdict: Optional[str] = None  # of its latency profile
    why: str = ""  # why it was chosen, or why not
    schedule: Optional[Tuple[int, ...]] = None  # of a searched candidate: tokens entering each block, leaving the last


class Selection(NamedTuple):
    """Which candidate, by which rule, and why not the others."""

    rule: str  # as asked for
    rule_used: str  # fastest-within where the step rule found no edge that it may choose
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
    accuracy_images: Optional[int] = None  # that accuracies were estimated on


class EagerLatencies(NamedTuple):
    """Candidates of one method in PyTorch eager, timed in turn in one run."""

    torch: str
    threads: int
    waiting: str
    latency_ms: Dict[str, float]  # candidate id -> wall time of a run; R = 0 is always among them
    latency_ci_ms: Dict[str, Interval]
    doubt: str  # why they are not to be quoted, or empty


class Contender(NamedTuple):
    """One candidate of one method in a comparison."""

    method: str
    row: Row  # of the method's own selection, as an engine
    eager_ms: Optional[float] = None  # in PyTorch eager, in units of the comparison's eager R = 0
    eager_ci_ms: Optional[Interval] = None

    @property
    def name(self) -> str:
        """pomt r056: unlike a candidate's id, one name among all methods."""
        return "{} {}".format(self.method, self.row.id)


class Comparison(NamedTuple):
    """Methods under one measurement on one device."""

    device_id: str
    batch_size: int
    accuracy_kind: str
    unreduced: Contender
    contenders: Tuple[Contender, ...]  # reduced and measured
    chosen: Dict[str, str]  # method -> id of the candidate that its selection chose
    pareto: Tuple[str, ...]  # names of contenders, R = 0 as `none r000`, fastest first
    eager_pareto: Tuple[str, ...]  # likewise, by eager latency
    not_compared: Dict[str, str]  # method -> why
    notes: Tuple[str, ...]
    eager_torch: Optional[str] = None  # version; None: eager was not timed
    eager_doubt: Dict[str, str] = {}  # method -> why its eager latencies are not to be quoted


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
    files: Dict[str, Dict[str, Any]]  # name -> {"sha256", "bytes"}; every file but the manifest itself
    fp32_nodes: Tuple[str, ...] = ()  # of its graphs, see Family
    class_order: Optional[ClassOrder] = None  # of the data that it was compiled with, see Experiment


class StoredTensor(NamedTuple):
    """Where weights.bin holds one parameter of the model."""

    offset: int  # bytes
    shape: Tuple[int, ...]  # as it lies there
    dtype: str  # float32, float16 or bfloat16
    transposed: bool  # the parameter is its transpose


class PlainModel(NamedTuple):
    """What a ModelSpec leaves out of a vision transformer, so that torch alone can run its weights (board_eager).

    What the parameters' names and shapes say is not said again: patch size, LayerScale, registers, norms, biases.
    """

    weights_sha256: str  # of the weights.bin that `tensors` points into
    norm_eps: float  # of every LayerNorm
    activation: str  # gelu, gelu_tanh, quick_gelu
    pooling: str  # token, avg, avgmax, max, token_and_avg; "": none, the head reads every patch
    pools_prefix: bool  # avg, avgmax and max include the prefix tokens
    tensors: Dict[str, StoredTensor]  # by timm's parameter name


class TrainingEpoch(NamedTuple):
    """One pass over the training images."""

    losses: Dict[str, float]  # the loss and its terms, means over the steps
    accuracy: float  # of the validation images, the model running as it will


class Training(NamedTuple):
    """How the parameters of a learned method came about."""

    method: str
    model: str  # what the user asked for
    model_sha256: str  # of the model that training began with, as host/models/loading has it
    data: str  # folder or CSV file, or the name of a bundled model
    data_sha256: str  # of names, labels and sizes of its files; of bundled pictures themselves
    images: int  # trained on
    validation_images: int
    seed: int
    settings: Dict[str, Any]  # the method's own, and the loop's
    processes: int
    epochs: Tuple[TrainingEpoch, ...]
    unreduced_accuracy: float  # of the validation images, with all tokens, before training
    accuracy_before: float  # with the method's parameters as they are drawn or set at first
    accuracy_after: float
    seconds: float
    versions: Dict[str, str]
    accuracy_kind: str = TOP1
    class_order: Optional[ClassOrder] = None  # as classes were read; None: there were none, or 0.2 read them
