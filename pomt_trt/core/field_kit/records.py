"""What a run of the field kit on a board collects: the records between jetson/field_kit and `pomt-trt field-report`.

Any machine. Leaves out how they are collected (device/field_kit/main), the archive's format
(core/field_kit/archive_file), and what they mean (core/field_kit/judgement). Units are in the names, as in
core/records.
"""

from typing import Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.records import DeviceSpec, Engine, Failure, Finding, Interval, LatencyProfile

KIT_FILE = "kit.json"  # the record Kit in a kit's folder
PRECISIONS = ("fp16", "fp32")  # fp16 first: it is what boards are bought for, and the time may run out
DONE, FAILED, SKIPPED = "done", "failed", "skipped"  # how a step ended
DEFAULT, NO_GRAPH, OTHER_STAGING = "default", "no CUDA graph", "other staging"  # ways to run an engine
HELD, NOT, UNKNOWN = "held", "not", "?"  # states of a Line
SENSORS, CLOCKS, DOCTOR, BUILD, TIME, TRTEXEC = "sensors", "clocks", "doctor", "build", "time", "trtexec"  # kinds


class Kit(NamedTuple):
    """A folder that a workstation made for a board: one work folder for each model."""

    target: str  # whose parser reads the graphs
    models: Tuple[str, ...]  # names of the work folders


class Step(NamedTuple):
    """One step of a run, and how it ended."""

    kind: str
    about: str  # such as 'digits fp16' or 'before'
    status: str
    seconds: float
    error: str = ""  # why it failed or was skipped

    @property
    def name(self) -> str:
        """Such as 'build digits fp16'."""
        return " ".join([self.kind, self.about]).strip()


class Moment(NamedTuple):
    """The sensors of a board at one moment; what could not be read is in `unknown` with the reason."""

    clocks_mhz: Dict[str, Tuple[float, float, float]]  # now, least, cap
    temperatures_c: Dict[str, float]
    rails_w: Dict[str, float]
    unknown: Dict[str, str]
    over_current: Dict[str, int]  # events by counter since the board was started


class Watched(NamedTuple):
    """The lowest and highest readings of the sensors between the first and the last step under locked clocks."""

    readings: int
    clocks_mhz: Dict[str, Interval]
    temperatures_c: Dict[str, Interval]
    rails_w: Dict[str, Interval]


class Gate(NamedTuple):
    """What the golden gate found of an engine; see core/metrics/parity."""

    error: float  # median over images, relative to an image's largest logit
    allowed: float
    compared: int  # images whose cut is clear


class Built(NamedTuple):
    """One engine that was to be built."""

    model: str
    precision: str
    candidate_id: str
    removed: int
    engine: Optional[Engine] = None
    failure: Optional[Failure] = None
    gate: Optional[Gate] = None  # None: no expected logits were there, or there is no engine
    layers: int = 0  # that the inspector tells
    fused_attention: Optional[int] = None  # blocks whose attention is one kernel; None: the layers do not tell
    shortfall: str = ""  # why attention runs unfused where it could be fused


class BuildResult(NamedTuple):
    """What a step that builds prints."""

    device: DeviceSpec
    built: Tuple[Built, ...]
    layer_files: Dict[str, str]  # name, such as digits-fp16-r000 -> file in the kit


class Timed(NamedTuple):
    """The latency of one engine, run in one way; all ways of a model and a precision were timed in turn."""

    model: str
    precision: str
    removed: int
    way: str
    cuda_graph: str  # on, or off with the reason
    memory: str  # of staging
    profile: LatencyProfile


class Ratio(NamedTuple):
    """The GPU's time of an engine of R = 0: ours beside trtexec's."""

    model: str
    device_id: str
    ours_ms: float
    theirs_ms: float


class Collected(NamedTuple):
    """Everything of one run but the inspector's layers, which are files of their own in the archive."""

    version: str  # of pomt-trt
    date: str  # UTC
    minutes: float  # that the run might take
    seconds: float  # that it took
    kit: Kit
    machine: str  # such as 'NVIDIA Jetson TX2, L4T 32.7.6, JetPack 4.6.6'
    steps: Tuple[Step, ...]
    interrupted: bool = False
    device: Optional[DeviceSpec] = None
    clocks_held: bool = False  # by jetson/with_clocks
    findings: Tuple[Finding, ...] = ()  # of doctor
    moments: Dict[str, Moment] = {}  # before, locked, after
    watched: Optional[Watched] = None
    built: Tuple[Built, ...] = ()
    timed: Tuple[Timed, ...] = ()
    ratios: Tuple[Ratio, ...] = ()

    def step(self, kind: str, about: str = "") -> Optional[Step]:
        """How a step ended; None where there was no such step."""
        return next((step for step in self.steps if (step.kind, step.about) == (kind, about)), None)

    def why(self, kind: str, about: str = "") -> str:
        """Why nothing is known that a step should have found."""
        step = self.step(kind, about)
        return "no such step" if step is None else step.error or "the step found nothing"


class Line(NamedTuple):
    """One thing that was to be shown of a board."""

    state: str  # HELD, NOT or UNKNOWN
    what: str  # as it should be
    found: str  # what was seen, or why nothing was
