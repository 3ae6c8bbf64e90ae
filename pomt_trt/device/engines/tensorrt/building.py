"""One ONNX graph -> a serialised TensorRT engine, with an account of what the build really did.

On the machine that will run it, where tactics are picked by timing them; a library that compiles in two phases
(TensorRT-RTX) builds anywhere. Leaves out files, but for the timing cache that builds share
(device/engines/tensorrt/backend), and running (trt_runner). TensorRT fails by returning None or False; why is in the
log.
"""

import logging
import os
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set

from pomt_trt.core.errors import BuildFailed
from pomt_trt.core.records import DeviceSpec
from pomt_trt.core.storage import store
from pomt_trt.device.engines.contract import BuildOptions
from pomt_trt.device.engines.tensorrt import gpu_targets, layer_info
from pomt_trt.device.engines.tensorrt.bindings import log_of, monitor_of, named

logger = logging.getLogger(__name__)
WORKSPACE_SHARE = 4  # a quarter of the memory: on a Jetson the processor's too
TIMING_ITERATIONS = 8  # averaged for each tactic; fewer choose by noise
BF16_FROM = (8, 0)  # compute capability: NvInfer.h, BuilderFlag::kBF16, "Ampere and later"
OPTIMISATION_LEVEL = 3  # TensorRT's own default, written down in the record

# What TensorRT says -> the way out. The first that is found counts.
_ADVICE = (
    (r"3840", "TensorRT ranks at most 3840 tokens: take a smaller --img-size or another --method"),
    (r"INT64", "Graphs must have no INT64 inputs: export with pomt-trt export, which makes float32 inputs"),
    (
        r"out ?of ?memory|insufficient memory|OutOfMemory|Could not find any implementation",
        "Close other programs and desktops (sudo systemctl isolate multi-user.target), then run the same command again",
    ),
    (
        r"import initiali[sz]er|import initialzer",  # as TensorRT 10 spells it
        "The weights beside the graph are missing or cut short: copy its whole folder again, or export again",
    ),
    (r"at least one output", "The file is no ONNX graph, or an empty one: copy it again, or export again"),
    (
        r"importer|plugin|opset|unsupported|not supported",
        "This release's parser lacks something in the graph: export for it with pomt-trt export MODEL --target "
        "jetpack-... or tensorrt-rtx (pomt-trt doctor names it)",
    ),
)
_OTHERWISE = "Export again for this board with --target; if it stays, look at the graph with polygraphy run --onnxrt"


class Plan(NamedTuple):
    """A serialised engine."""

    data: bytes
    input_shape: Any  # (batch, channels, height, width)
    details: Dict[str, Any]
    layers: Optional[str]  # the inspector's JSON; None ahead of time, since loading an engine takes a GPU


def build(trt: Any, onnx_path: str, device: DeviceSpec, options: BuildOptions) -> Plan:
    """Parses and builds a graph, whose weights lie beside it.

    Raises: BuildFailed with TensorRT's reason and the way out.
    """
    log = log_of(trt)
    log.clear()
    builder = _made(trt.Builder, log, onnx_path)
    _check_gpu(onnx_path, device, options)
    strong = _strongly_typed(trt, onnx_path, options)
    network = builder.create_network(_network_flags(trt, strong))
    _parse(trt, network, onnx_path)
    config = builder.create_builder_config()
    details = _configure(trt, config, device, options, strong)
    if options.fp32_nodes:
        details["pinned_layers"] = _pin(trt, network, onnx_path, options.fp32_nodes)
    timing_cache = None if "built_for" in details else options.timing_cache
    if timing_cache:
        details["timing_cache"] = _load_cache(config, timing_cache)
        log.clear()  # what it said of a cache explains no failure to come
    monitor = monitor_of(trt, options.progress) if options.progress else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed(trt, onnx_path, log.said())
    data = bytes(plan)
    if timing_cache:
        _save_cache(config, timing_cache)
    if options.gpu is not None:
        return Plan(data, tuple(network.get_input(0).shape), dict(details, ahead_of_time=True), None)
    layers = _inspected(trt, data, onnx_path)
    if "built_for" not in details:  # else the GPU has yet to pick kernels, and layers do not tell what is fused
        details["fused_attention"] = layer_info.fused_attention(layer_info.layers_of(layers))
    return Plan(data, tuple(network.get_input(0).shape), details, layers)


def _made(factory: Any, log: Any, onnx_path: str) -> Any:
    try:
        return factory(log)
    except TypeError as error:  # the C++ factory returned nothing
        raise BuildFailed(
            "TensorRT cannot start to build {}: {} ({}). Is a GPU there, and its driver? Ask: pomt-trt doctor.".format(
                onnx_path, log.said(), error
            )
        ) from error


def _failed(trt: Any, onnx_path: str, reason: str) -> BuildFailed:
    advice = next((way for sign, way in _ADVICE if re.search(sign, reason, re.IGNORECASE)), _OTHERWISE)
    return BuildFailed("{} cannot build {}: {}. {}.".format(named(trt), onnx_path, reason.rstrip(". "), advice))


def _check_gpu(onnx_path: str, device: DeviceSpec, options: BuildOptions) -> None:
    """Raises BuildFailed for bf16 on a GPU without it; TensorRT itself would say so of some layer, or emulate it."""
    if options.gpu is not None:  # not for the GPU here: see trt_gpus.check
        return
    capability = tuple(int(part) for part in (device.compute_capability or "0").split("."))
    if options.precision == "bf16" and capability < BF16_FROM:
        raise BuildFailed(
            "{} is of bf16, and this GPU's compute capability is {}: bf16 is there from {}.{} on (Orin is 8.7). Export "
            "with --precision fp16.".format(onnx_path, device.compute_capability or "not known", *BF16_FROM)
        )


def _strongly_typed(trt: Any, onnx_path: str, options: BuildOptions) -> bool:
    """Whether the graph's own types are binding.

    A graph that is mixed itself needs that; one whose fp32 nodes are only named needs a builder that picks types.

    Raises: BuildFailed where this release has not what the graph was exported for.
    """
    can_pick = hasattr(trt.BuilderFlag, "FP16" if options.precision == "fp32" else options.precision.upper())
    can_bind = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    if options.precision == "fp32":
        return not can_pick
    if can_pick if options.fp32_nodes else can_bind:
        return not options.fp32_nodes
    raise BuildFailed(
        "{} is of a form for {} TensorRT than {}: precision {} is {}. Export for this board: pomt-trt export MODEL "
        "--target jetpack-... --precision {}.".format(
            onnx_path,
            "an older" if options.fp32_nodes else "a newer",
            trt.__version__,
            options.precision,
            "picked by the builder in it" if options.fp32_nodes else "written into it, which 8.x honours loosely",
            options.precision,
        )
    )


def _network_flags(trt: Any, strong: bool) -> int:
    kinds = trt.NetworkDefinitionCreationFlag
    flags = 1 << int(kinds.EXPLICIT_BATCH) if hasattr(kinds, "EXPLICIT_BATCH") else 0
    return flags | 1 << int(kinds.STRONGLY_TYPED) if strong else flags


def _parse(trt: Any, network: Any, onnx_path: str) -> None:
    """Reads the graph into the network.

    Raises: BuildFailed naming the node, or what is wrong with the inputs.
    """
    log = log_of(trt)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(onnx_path):
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        said = "; ".join(_told(error, log.errors) for error in errors[:1]) or log.said()
        raise _failed(trt, onnx_path, said)
    for number in range(network.num_inputs):
        found = network.get_input(number)
        if found.dtype != trt.DataType.FLOAT or -1 in tuple(found.shape):
            reason = "its input {} is {} of shape {}, and must be float32 of a fixed shape".format(
                found.name, found.dtype, tuple(found.shape)
            )
            raise _failed(trt, onnx_path, reason)


def _told(error: Any, logged: List[str]) -> str:
    """A parser's error with its node, which names itself from TensorRT 10 on; before, the log prints it.

    There it stands as [TopK -> "output"], and perhaps as text with a line name: "...".
    """
    if error.node() < 0:
        return " ".join(str(error.desc()).split())
    if hasattr(error, "node_name"):
        name, operator = error.node_name(), error.node_operator()
    else:
        text = " ".join(logged)
        shown = re.search(r'\[(\w+) -> "?([^"\]]*)"?\]', text)
        operator, output = shown.groups() if shown else ("operator not told", "")
        named = re.search(r'(?:^|\s)name: "([^"]*)"', text)
        name = named.group(1) if named else output
    called = "{} '{}'".format(operator, name) if name else operator
    return "node {} ({}): {}".format(error.node(), called, " ".join(str(error.desc()).split()))


def _configure(trt: Any, config: Any, device: DeviceSpec, options: BuildOptions, strong: bool) -> Dict[str, Any]:
    """Sets what a build depends on; returns what was set."""
    workspace = options.workspace_bytes or device.memory_bytes // WORKSPACE_SHARE  # 0: not known, the library's default
    if not hasattr(config, "set_memory_pool_limit"):
        config.max_workspace_size = workspace
    elif workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.avg_timing_iterations = TIMING_ITERATIONS
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and it would make fp32 on Orin something else
    details: Dict[str, Any] = {"workspace_bytes": workspace or None, "tf32": False}
    details["timing_iterations"] = TIMING_ITERATIONS
    if hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = details["optimisation_level"] = OPTIMISATION_LEVEL
    if options.fp32_nodes and options.precision != "fp32":
        config.set_flag(getattr(trt.BuilderFlag, options.precision.upper()))
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    details["strongly_typed"] = strong
    details.update(_aimed(trt, config, gpu_targets.target(options.gpu, device)))
    return details


def _aimed(trt: Any, config: Any, gpu: str) -> Dict[str, str]:
    """Has an engine built for such GPUs, where the library compiles in two phases; portable is its default.

    The second phase, on the GPU, picks kernels: no timing cache is of use.
    """
    if not hasattr(config, "num_compute_capabilities"):
        return {}
    if gpu != gpu_targets.PORTABLE:
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(getattr(trt.ComputeCapability, gpu_targets.GPUS[gpu]), 0):
            raise BuildFailed("the library takes no compute capability {}. {}.".format(gpu, log_of(trt).said()))
    return {"built_for": gpu}


def _pin(trt: Any, network: Any, onnx_path: str, names: Any) -> int:
    """Keeps the layers of named nodes, and what they hand on, in fp32; returns how many there are.

    The parser makes one or more layers of a node: NAME, NAME_1, NAME_2 ...
    """
    pinned = 0
    for layer in _named(network, set(names)):
        numbers = [n for n in range(layer.num_outputs) if layer.get_output(n).dtype == trt.DataType.FLOAT]
        for number in numbers:  # others are indices and shapes, which take no precision
            layer.set_output_type(number, trt.DataType.FLOAT)
        if numbers:
            layer.precision = trt.DataType.FLOAT
            pinned += 1
    if not pinned:
        raise BuildFailed(
            "none of the {} nodes that must stay fp32 is found in {}, such as {}: fp16 would overflow there. Export "
            "again: pomt-trt export.".format(len(names), onnx_path, names[0])
        )
    return pinned


def _named(network: Any, names: Set[str]) -> Iterator[Any]:
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        if layer.name in names or re.sub(r"_\d+$", "", layer.name) in names:
            yield layer


def _load_cache(config: Any, path: str) -> str:
    """Gives the build what earlier ones timed; returns whether there was anything, and if it was of use."""
    said = "new"
    data = b""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            data = file.read()
        said = "reused"
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        said = "discarded: it was of another device, driver or TensorRT, or damaged"
        logger.warning("%s is %s. It is made anew.", path, said)
        _take_empty(config)
    return said


def _take_empty(config: Any) -> None:
    cache = config.create_timing_cache(b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise BuildFailed("TensorRT takes not even an empty timing cache. Restart the board and run this again.")


def _save_cache(config: Any, path: str) -> None:
    """For the builds to come, whole or not at all."""
    cache: Optional[Any] = config.get_timing_cache()
    data = cache.serialize() if cache is not None else None
    if data is not None:
        store.write_bytes(path, bytes(data))


def _inspected(trt: Any, data: bytes, onnx_path: str) -> str:
    """The layers of a serialised engine as JSON."""
    log = log_of(trt)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise _failed(trt, onnx_path, "the engine that was built cannot be loaded: " + log.said())
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
