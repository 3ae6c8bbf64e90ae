"""Requests to a worker (device/timing/worker), and the names and inputs of the files that it writes."""

import os
from typing import Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.records import Builds, DeviceSpec, Engine, Preprocessing
from pomt_trt.core.storage import store
from pomt_trt.device.engines.tensorrt.plugin_files import Library

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


class Request(NamedTuple):
    """One group. If R = 0 is among the jobs, it comes first."""

    device: DeviceSpec
    engines: str  # folder
    latency: Optional[str]  # folder; None: build only
    jobs: Tuple[Job, ...]
    reference: Job
    threads: int
    waiting: str
    max_s: float  # timing of one candidate
    pace_fps: Optional[float] = None  # None: back to back
    precision: str = "fp32"
    fp32_nodes: Tuple[str, ...] = ()
    cuda_graph: bool = True
    plugin: Optional[Library] = None
    gate: Optional[Gate] = None  # None: engines of this library need no check
    known: Tuple[Job, ...] = ()  # of known latency: references besides R = 0
    energy: bool = False  # only measure the energy of a run of each job's engine, and add it to its profile
    rebuild: bool = False  # only build each job a second time, without timing cache, and keep the better engine
    gpu: Optional[str] = None  # build ahead of time for these GPUs, see device/engines/ahead; None: for the one here
    ahead: Tuple[str, ...] = ()  # folders of engines that were built ahead of time for this GPU, the best first


def engine_inputs(
    hashes: Tuple[str, str],
    device: DeviceSpec,
    threads: int,
    precision: str = "fp32",
    cuda_graph: bool = True,
    plugin: Optional[Library] = None,
) -> Dict[str, str]:
    """What an engine is built from. If one of them changes, the engine is built anew.

    Args:
        hashes: sha256 of the graph and of its weights.
    """
    inputs = {"onnx": hashes[0], "weights": hashes[1], "device": device.id, "threads": str(threads)}
    inputs.update(precision=precision, cuda_graph="on" if cuda_graph else "off")
    return inputs if plugin is None else dict(inputs, plugin=plugin.sha256)


def inputs_of(job: Job, request: Request) -> Dict[str, str]:
    """engine_inputs of a job."""
    how = (request.device, request.threads, request.precision, request.cuda_graph, request.plugin)
    return engine_inputs((job.onnx_sha256, job.weights_sha256), *how)


def profile_inputs(record: Engine, request: Request) -> Dict[str, str]:
    """latency_inputs of an engine."""
    return latency_inputs(record.sha256, request.threads, request.waiting, request.pace_fps)


def latency_inputs(engine_sha256: str, threads: int, waiting: str, pace_fps: Optional[float]) -> Dict[str, str]:
    """What a latency belongs to. If one of them changes, the engine is timed anew.

    So a curve never mixes paced profiles with others.
    """
    pace = "none" if pace_fps is None else repr(float(pace_fps))
    return {"engine": engine_sha256, "threads": str(threads), "waiting": waiting, "pace": pace}


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
