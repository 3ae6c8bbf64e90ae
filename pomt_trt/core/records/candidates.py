"""Records of an experiment: the request, the candidates and their graphs."""

import hashlib
from typing import Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.records.models import ClassOrder, ModelSpec

GRID, SEARCHED, CHAIN = "grid", "searched", "chain"  # kinds of candidates


class Schedule(NamedTuple):
    """Tokens entering each block, then leaving the last: depth + 1 integers, prefix included."""

    tokens: Tuple[int, ...]
    prefix_tokens: int
    merged: Tuple[int, ...] = ()  # how many of the tokens that each block removes are merged; (): as the method does

    @property
    def tokens_before(self) -> int:
        """Tokens entering block 0."""
        return self.tokens[0]

    @property
    def tokens_after(self) -> int:
        """The fewest tokens: those that leave the last block, unless the method restores all tokens for that block."""
        return min(self.tokens)

    @property
    def removed(self) -> int:
        """R: tokens before minus tokens after."""
        return self.tokens_before - self.tokens_after

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.tokens) - 1


class Candidate(NamedTuple):
    """One way to run the model: method, schedule, batch and precision."""

    method: str
    schedule: Schedule
    batch_size: int
    precision: str = "fp32"
    kind: str = GRID  # SEARCHED: R alone does not give its schedule; CHAIN: a block probe (schedules/block_costs)

    @property
    def id(self) -> str:
        """The name of its files: r056 for R = 56, s3fa9c1 for a searched schedule (by its hash)."""
        if self.kind == GRID:
            return "r{:03d}".format(self.schedule.removed)
        counts = " ".join(str(count) for count in self.schedule.tokens)
        return self.kind[0] + hashlib.sha256(counts.encode()).hexdigest()[:6]


class Request(NamedTuple):
    """What the user asked for when the work folder was made. Paths are absolute."""

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
    data: Optional[str]  # folder or CSV file; None: the bundled model's images, or random ones
    samples: int  # at most this many images
    seed: int
    learned_sha256: Optional[str] = None  # of the method's learned parameters, see core/storage/learned
    class_order: Optional[str] = None  # natural, string, or a file of class names; None: the first reading that fits
    class_order_sha256: Optional[str] = None  # of that file
    ema: str = "auto"  # auto, on, off: whether averaged weights of the checkpoint are read
    image_width: Optional[int] = None  # where it is not image_size, which is then the height
    exif: bool = False  # pictures are turned by their EXIF orientation
    task: str = "auto"  # what the outputs mean; auto: as the configuration and their number say


class Experiment(NamedTuple):
    """The experiment of a work folder; it never changes, and is the same for every device."""

    request: Request
    model: ModelSpec
    data_kind: str  # labelled, unlabelled, random
    accuracy_kind: str  # see core/metrics/accuracy
    images: int  # on which accuracy is estimated
    class_order: Optional[ClassOrder] = None  # None: the data have no names of classes, or release 0.2 made this


class Family(NamedTuple):
    """The graphs of all candidates in one form; they share one weights file."""

    form: str  # op17-fp32
    target: str  # it was exported for; other targets of the same form read it too
    opset: int
    ir_version: int
    weights_sha256: str
    weights_bytes: int
    candidates: Tuple[Candidate, ...]
    graph_sha256: Dict[str, str]  # candidate id -> hash of its .onnx
    precision: str = "fp32"  # of engines of these graphs: fp32, fp16, bf16
    fp32_nodes: Tuple[str, ...] = ()  # nodes that a weakly typed build keeps in fp32; () in mixed graphs
    model_sha256: str = ""  # of the fp32 model of which all forms are made, see host/models/loading
    reads_attention: bool = True  # the method needs attention weights, which a fused kernel does not give
