"""Records that jetson/field_kit collects on a board, and `pomt-trt field-report` reads. Units are in the names."""

from typing import Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.records import DeviceSpec, Engine, Failure, Finding, Interval, LatencyProfile

KIT_FILE = "kit.json"  # the record Kit in a kit's folder
PRECISIONS = ("fp16", "fp32")  # fp16 first: boards run it, and the time may run out
DONE, FAILED, SKIPPED = "done", "failed", "skipped"  # how a step ended
DEFAULT, NO_GRAPH, OTHER_STAGING = "default", "no CUDA graph", "other staging"  # ways to run an engine
HELD, NOT, UNKNOWN = "held", "not", "?"  # states of a Line
SENSORS, CLOCKS, DOCTOR, BUILD, TIME, TRTEXEC = "sensors", "clocks", "doctor", "build", "time", "trtexec"  # kinds


class Kit(NamedTuple):
    """A folder that a workstation made for a board, with one work folder for each model."""

    target: str  # whose parser reads the graphs
    models: Tuple[str, ...]  # names of the work folders


class KitStep(NamedTuple):
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
    """The sensors of a board at one moment; `unknown` says why a sensor could not be read."""

    clocks_mhz: Dict[str, Tuple[float, float, float]]  # now, least, cap
    temperatures_c: Dict[str, float]
    rails_w: Dict[str, float]
    unknown: Dict[str, str]
    over_current: Dict[str, int]  # events by counter since the board started


class Watched(NamedTuple):
    """The lowest and highest readings of the sensors between the first and the last step under locked clocks."""

    readings: int
    clocks_mhz: Dict[str, Interval]
    temperatures_c: Dict[str, Interval]
    rails_w: Dict[str, Interval]


class Gate(NamedTuple):
    """The result of an engine's golden check; see core/metrics/parity."""

    error: float  # median over images, relative to an image's largest logit
    allowed: float
    compared: int  # images whose cut is clear


class Built(NamedTuple):
    """The result of building one engine."""

    model: str
    precision: str
    candidate_id: str
    removed: int
    engine: Optional[Engine] = None
    failure: Optional[Failure] = None
    gate: Optional[Gate] = None  # None: there are no expected logits, or no engine
    layers: int = 0  # in the inspector's output
    fused_attention: Optional[int] = None  # blocks whose attention is one kernel; None: unknown
    shortfall: str = ""  # why attention is not fused where it could be


class BuildResult(NamedTuple):
    """The output of a step that builds."""

    device: DeviceSpec
    built: Tuple[Built, ...]
    layer_files: Dict[str, str]  # name, such as digits-fp16-r000 -> file in the kit


class Timed(NamedTuple):
    """The latency of one engine run in one way. All ways of a model and a precision are interleaved."""

    model: str
    precision: str
    removed: int
    way: str
    cuda_graph: str  # on, or off with the reason
    memory: str  # of staging
    profile: LatencyProfile


class Ratio(NamedTuple):
    """GPU time of an engine of R = 0, measured by us and by trtexec."""

    model: str
    device_id: str
    ours_ms: float
    theirs_ms: float


class Collected(NamedTuple):
    """Everything of one run, except the inspector's layers, which are separate files in the archive."""

    version: str  # of pomt-trt
    date: str  # UTC
    minutes: float  # time limit of the run
    seconds: float  # duration of the run
    kit: Kit
    machine: str  # such as 'NVIDIA Jetson TX2, L4T 32.7.6, JetPack 4.6.6'
    steps: Tuple[KitStep, ...]
    interrupted: bool = False
    device: Optional[DeviceSpec] = None
    clocks_held: bool = False  # by jetson/with_clocks
    findings: Tuple[Finding, ...] = ()  # of doctor
    moments: Dict[str, Moment] = {}  # before, locked, after
    watched: Optional[Watched] = None
    built: Tuple[Built, ...] = ()
    timed: Tuple[Timed, ...] = ()
    ratios: Tuple[Ratio, ...] = ()

    def step(self, kind: str, about: str = "") -> Optional[KitStep]:
        """The step of that kind, or None."""
        return next((step for step in self.steps if (step.kind, step.about) == (kind, about)), None)

    def why(self, kind: str, about: str = "") -> str:
        """Why a step gave no result."""
        step = self.step(kind, about)
        return "no such step" if step is None else step.error or "the step found nothing"


class Line(NamedTuple):
    """One property that a board should have, and whether it has it."""

    state: str  # HELD, NOT or UNKNOWN
    what: str  # the property
    found: str  # the observation, or why there is none
