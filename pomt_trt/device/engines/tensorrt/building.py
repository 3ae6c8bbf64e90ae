"""Builds a serialised TensorRT engine from an ONNX graph, and records the settings of the build.

TensorRT picks tactics by timing them, so it builds on the machine that runs the engine. TensorRT-RTX picks them when it
loads an engine, so it builds anywhere. TensorRT fails by returning None or False; the reason is in the log.
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
WORKSPACE_SHARE = 4  # a quarter of the memory, which on a Jetson the processor uses too
TIMING_ITERATIONS = 8  # averaged for each tactic; with fewer, noise decides
OPTIMISATION_LEVEL = 3  # TensorRT's default; the record states it

# (pattern in TensorRT's reason, advice). The first match counts.
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
    layers: Optional[str]  # the inspector's JSON; None ahead of time, since the inspector needs a GPU


def build(trt: Any, onnx_path: str, device: DeviceSpec, options: BuildOptions) -> Plan:
    """Parses and builds a graph, with its weights in the same folder.

    Raises: BuildFailed with TensorRT's reason and advice.
    """
    log = log_of(trt)
    log.clear()
    builder = _new_builder(trt, onnx_path)
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
        log.clear()  # messages about the cache do not explain a later failure
    monitor = monitor_of(trt, options.progress) if options.progress else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise build_failed(trt, onnx_path, log.reason())
    data = bytes(plan)
    if timing_cache:
        _save_cache(config, timing_cache)
    if options.gpu is not None:
        return Plan(data, tuple(network.get_input(0).shape), dict(details, ahead_of_time=True), None)
    layers = _inspected(trt, data, onnx_path)
    if "built_for" not in details:  # else kernels are picked on loading, and the layers do not show what is fused
        details["fused_attention"] = layer_info.fused_attention(layer_info.parse_layers(layers))
    return Plan(data, tuple(network.get_input(0).shape), details, layers)


def _new_builder(trt: Any, onnx_path: str) -> Any:
    log = log_of(trt)
    try:
        return trt.Builder(log)
    except TypeError as error:  # the C++ factory returned a null pointer
        raise BuildFailed(
            "TensorRT cannot start to build {}: {} ({}). Check the GPU and its driver: pomt-trt doctor.".format(
                onnx_path, log.reason(), error
            )
        ) from error


def build_failed(trt: Any, onnx_path: str, reason: str) -> BuildFailed:
    """The error for a reason that TensorRT gave, with advice."""
    advice = next((text for pattern, text in _ADVICE if re.search(pattern, reason, re.IGNORECASE)), _OTHERWISE)
    return BuildFailed("{} cannot build {}: {}. {}.".format(named(trt), onnx_path, reason.rstrip(". "), advice))


def _check_gpu(onnx_path: str, device: DeviceSpec, options: BuildOptions) -> None:
    """Raises BuildFailed for bf16 on a GPU without it. TensorRT would name some layer, or emulate bf16."""
    if options.gpu is not None:  # another GPU than the one here: gpu_targets.check has checked it
        return
    if options.precision == "bf16" and gpu_targets.numbers(device.compute_capability) < gpu_targets.BF16_FROM:
        raise BuildFailed(
            "{} is in bf16, and this GPU's compute capability is {}: bf16 needs {}.{} or later (Orin has 8.7). Export "
            "with --precision fp16.".format(onnx_path, device.compute_capability or "not known", *gpu_targets.BF16_FROM)
        )


def _strongly_typed(trt: Any, onnx_path: str, options: BuildOptions) -> bool:
    """Whether to build strongly typed: with the types that the graph states.

    A mixed graph needs a strongly typed build. A graph with fp32_nodes needs a weakly typed one, which picks types.

    Raises: BuildFailed if this release lacks the kind of build that the graph was exported for.
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

    Raises: BuildFailed with the node or input at fault.
    """
    log = log_of(trt)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(onnx_path):
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        reason = _parser_error(errors[0], log.errors) if errors else log.reason()
        raise build_failed(trt, onnx_path, reason)
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        if tensor.dtype != trt.DataType.FLOAT or -1 in tuple(tensor.shape):
            reason = "its input {} is {} of shape {}, and must be float32 of a fixed shape".format(
                tensor.name, tensor.dtype, tuple(tensor.shape)
            )
            raise build_failed(trt, onnx_path, reason)


def _parser_error(error: Any, logged: List[str]) -> str:
    """A parser's error with its node. The error names the node from TensorRT 10 on.

    Before, only the log does: as [TopK -> "output"], and perhaps in a line name: "...".
    """
    if error.node() < 0:
        return " ".join(str(error.desc()).split())
    if hasattr(error, "node_name"):
        name, operator = error.node_name(), error.node_operator()
    else:
        text = " ".join(logged)
        arrow = re.search(r'\[(\w+) -> "?([^"\]]*)"?\]', text)
        operator, output = arrow.groups() if arrow else ("operator not known", "")
        line = re.search(r'(?:^|\s)name: "([^"]*)"', text)
        name = line.group(1) if line else output
    node = "{} '{}'".format(operator, name) if name else operator
    return "node {} ({}): {}".format(error.node(), node, " ".join(str(error.desc()).split()))


def _configure(trt: Any, config: Any, device: DeviceSpec, options: BuildOptions, strong: bool) -> Dict[str, Any]:
    """Sets the options of a build, and returns them for the record."""
    workspace = options.workspace_bytes or device.memory_bytes // WORKSPACE_SHARE  # 0: unknown, so the library decides
    if not hasattr(config, "set_memory_pool_limit"):
        config.max_workspace_size = workspace
    elif workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.avg_timing_iterations = TIMING_ITERATIONS
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; an fp32 engine on an Orin would not compute in fp32
    details: Dict[str, Any] = {"workspace_bytes": workspace or None, "tf32": False}
    details["timing_iterations"] = TIMING_ITERATIONS
    if hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = details["optimisation_level"] = OPTIMISATION_LEVEL
    if options.fp32_nodes and options.precision != "fp32":
        config.set_flag(getattr(trt.BuilderFlag, options.precision.upper()))
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    details["strongly_typed"] = strong
    details.update(_set_target(trt, config, gpu_targets.target(options.gpu, device)))
    return details


def _set_target(trt: Any, config: Any, gpu: str) -> Dict[str, str]:
    """Sets the target GPU where the library has such a setting (TensorRT-RTX); its default is portable.

    Such a library picks kernels when it loads the engine, so it needs no timing cache.
    """
    if not hasattr(config, "num_compute_capabilities"):
        return {}
    if gpu != gpu_targets.PORTABLE:
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(getattr(trt.ComputeCapability, gpu_targets.GPUS[gpu]), 0):
            raise BuildFailed("the library takes no compute capability {}. {}.".format(gpu, log_of(trt).reason()))
    return {"built_for": gpu}


def _pin(trt: Any, network: Any, onnx_path: str, names: Any) -> int:
    """Keeps the layers of the named nodes and their outputs in fp32; returns the number of layers.

    The parser makes one or more layers from a node: NAME, NAME_1, NAME_2 ...
    """
    pinned = 0
    for layer in _layers_named(network, set(names)):
        numbers = [n for n in range(layer.num_outputs) if layer.get_output(n).dtype == trt.DataType.FLOAT]
        for number in numbers:  # the others are indices and shapes, which have no precision
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


def _layers_named(network: Any, names: Set[str]) -> Iterator[Any]:
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        if layer.name in names or re.sub(r"_\d+$", "", layer.name) in names:
            yield layer


def _load_cache(config: Any, path: str) -> str:
    """Loads the timing cache of earlier builds; returns for the record whether it was new, reused or discarded."""
    state, data = "new", b""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            state, data = "reused", file.read()
    if not _takes_cache(config, data):
        state = "discarded: it was of another device, driver or TensorRT, or damaged"
        logger.warning("%s is %s. It is made anew.", path, state)
        if not _takes_cache(config, b""):
            raise BuildFailed("TensorRT takes not even an empty timing cache. Restart the board and run this again.")
    return state


def _takes_cache(config: Any, data: bytes) -> bool:
    cache = config.create_timing_cache(data)
    return cache is not None and bool(config.set_timing_cache(cache, False))


def _save_cache(config: Any, path: str) -> None:
    """Stores the timing cache for later builds."""
    cache = config.get_timing_cache()
    data = cache.serialize() if cache is not None else None
    if data is not None:
        store.write_bytes(path, bytes(data))


def _inspected(trt: Any, data: bytes, onnx_path: str) -> str:
    """The layers of a serialised engine as JSON."""
    log = log_of(trt)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise build_failed(trt, onnx_path, "the engine that was built cannot be loaded: " + log.reason())
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
