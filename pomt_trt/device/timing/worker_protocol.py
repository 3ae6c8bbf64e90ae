"""Requests to a worker (device/timing/worker), and the names and inputs of the files that it writes."""

import os
from typing import Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.records import Builds, DeviceSpec, Engine, Preprocessing
from pomt_trt.core.storage import store
from pomt_trt.device.engines.tensorrt.plugin_files import Library

GROUPS = "groups"  # in the folder of a device's latency profiles: the groups that they come from
TIMING_CACHE = "timing.cache"  # in the folder of a device's engines, whose name holds the power mode


class Job(NamedTuple):
    """One candidate: its graph, and the hashes of what its engine must be built from."""

    candidate_id: str
    onnx: str
    onnx_sha256: str
    weights_sha256: str  # of weights.bin beside the graph
    expected: Optional[str] = None  # file of its own logits on the golden images, if they are known


class Gate(NamedTuple):
    """The golden check, which each new engine must pass."""

    golden: str  # file
    preprocessing: Preprocessing


class Settings(NamedTuple):
    """How engines are built and timed."""

    threads: int
    waiting: str = "default"
    max_s: float = 0.75  # of timing, for one candidate
    pace_fps: Optional[float] = None  # runs begin at this rate; None: back to back
    cuda_graph: bool = True  # where the engine library can capture one
    plugin: str = "auto"  # graphs with plugins' nodes: auto, on, off; see plugin_files.forms
    plugin_library: Optional[Library] = None  # for those
    gpu: Optional[str] = None  # build ahead of time for such GPUs, see device/engines/ahead; None: for the one here


class Request(NamedTuple):
    """One group. If R = 0 is among the jobs, it comes first."""

    device: DeviceSpec
    engines: str  # folder
    latency: Optional[str]  # folder; None: build only
    jobs: Tuple[Job, ...]
    reference: Job
    settings: Settings
    precision: str = "fp32"
    fp32_nodes: Tuple[str, ...] = ()
    plugin: Optional[Library] = None
    gate: Optional[Gate] = None  # None: engines of this library need no check
    known: Tuple[Job, ...] = ()  # of known latency: references besides R = 0
    energy: bool = False  # only measure the energy of a run of each job's engine, and add it to its profile
    rebuild: bool = False  # only build each job a second time, without timing cache, and keep the better engine
    ahead: Tuple[str, ...] = ()  # folders of engines that were built ahead of time for this GPU, the best first


def engine_inputs(
    hashes: Tuple[str, str],
    device: DeviceSpec,
    settings: Settings,
    precision: str,
    plugin: Optional[Library],
) -> Dict[str, str]:
    """What an engine is built from. If one of them changes, the engine is built anew.

    Args:
        hashes: sha256 of the graph and of its weights.
    """
    inputs = {"onnx": hashes[0], "weights": hashes[1], "device": device.id, "threads": str(settings.threads)}
    inputs.update(precision=precision, cuda_graph="on" if settings.cuda_graph else "off")
    return inputs if plugin is None else dict(inputs, plugin=plugin.sha256)


def inputs_of(job: Job, request: Request) -> Dict[str, str]:
    """engine_inputs of a job."""
    hashes = (job.onnx_sha256, job.weights_sha256)
    return engine_inputs(hashes, request.device, request.settings, request.precision, request.plugin)


def profile_inputs(record: Engine, request: Request) -> Dict[str, str]:
    """latency_inputs of an engine."""
    return latency_inputs(record.sha256, request.settings)


def latency_inputs(engine_sha256: str, settings: Settings) -> Dict[str, str]:
    """What a latency belongs to. If one of them changes, the engine is timed anew.

    So a curve never mixes paced profiles with others.
    """
    return dict(timing_inputs(settings), engine=engine_sha256)


def timing_inputs(settings: Settings) -> Dict[str, str]:
    """How engines of a group are run."""
    pace = "none" if settings.pace_fps is None else repr(float(settings.pace_fps))
    return {"threads": str(settings.threads), "waiting": settings.waiting, "pace": pace}


def next_group(folder: str) -> str:
    """A file for one more group, numbered from 1."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return os.path.join(folder, "{:04d}.json".format(1 + max([_number(name) for name in names], default=0)))


def _number(name: str) -> int:
    stem = os.path.splitext(name)[0]
    return int(stem) if stem.isdigit() else 0


def record_of(engine_path: str) -> str:
    """r056.engine's record is r056.json beside it."""
    return os.path.splitext(engine_path)[0] + ".json"


def remember_build(job: Job, request: Request, latency_ms: float) -> None:
    """Adds an engine that was built for a candidate and is not kept; NaN for a build that failed."""
    path = os.path.join(str(request.latency), job.candidate_id + ".builds.json")
    inputs = inputs_of(job, request)
    earlier = other_builds_ms(path, inputs)
    store.write_record(path, Builds(job.candidate_id, request.device.id, earlier + (latency_ms,)), inputs)


def other_builds_ms(path: str, inputs: Dict[str, str]) -> Tuple[float, ...]:
    """Latency in ms of the engines in a file of remember_build; NaN for a build that failed."""
    record = store.read_matching(path, Builds, inputs)
    return record.others_ms if record is not None else ()
