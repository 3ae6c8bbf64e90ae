"""Core of the Builder: from a parsed network to a plan, or to None and a reason in the logger.

It checks what TensorRT checks of our way of building: strong typing against precision flags, precision pinned on layers
of integers, and a half precision that the device lacks. Tactics, speed and numbers are no subject here.
"""

import os
import random
import signal
from pathlib import Path
from typing import Any, Dict, List

from . import layers, plan, plugins, refusing
from .basics import say
from .config import ConfigCore, device_header
from .network import NetworkCore
from .tables import MISSING

_STEPS = 10
_FUSES_FROM = (7, 5)  # compute capability with kernels of fused attention; releases with INormalizationLayer have them


class BuilderCore:
    """A Builder."""

    def __init__(self, trt: Any, wrapper: Any, logger: Any) -> None:
        self._trt, self._wrapper, self.logger = trt, wrapper, logger

    def create_network(self, flags: int = 0) -> Any:
        known = sum({1 << flag.value for flag in self._trt.NetworkDefinitionCreationFlag.__members__.values()})
        if int(flags) & ~known:
            say(self.logger, "ERROR", "createNetworkV2: flags {} are not known".format(int(flags)))
            return None
        return self._trt._wrap("INetworkDefinition", NetworkCore(self._trt, self._wrapper, int(flags)))

    def create_builder_config(self) -> Any:
        return self._trt._wrap("IBuilderConfig", ConfigCore(self._trt, self.logger))

    def build_serialized_network(self, network: Any, config: Any, kernel_text: Any = MISSING) -> Any:
        """An IHostMemory, or None with the reason in the logger."""
        net, settings, board = network._core, config._core, self._trt._board
        refusal = refusing.refusal(net, settings)
        if refusal:
            say(self.logger, "ERROR", refusal)
            return None
        path = net.source.path
        if board.fault("out-of-memory", path) is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        if settings.progress_monitor is not None:
            _report(settings.progress_monitor)
        if board.fault("none-build", path) is not None:
            name = net.source.model.nodes[-1].name
            text = "Could not find any implementation for node {{ForeignNode[{}]}} due to insufficient workspace."
            say(self.logger, "ERROR", "Error Code 10: Internal Error ({})".format(text.format(name)))
            return None
        return self._trt.IHostMemory(plan.pack(self._plan(net, settings)))

    def _plan(self, net: NetworkCore, config: ConfigCore) -> plan.Plan:
        assert net.source is not None
        model, board = net.source.model, self._trt._board
        precisions = self._precisions(net, config)
        by_tensor = {name: precisions[layer.name] for layer in net.layers for name in layer.record.outputs}
        header = dict(
            device_header(board),
            compute_capabilities=config.compute_capabilities,
            io=[[each.name, True, net.types[each.name], each.shape] for each in model.inputs]
            + [[each.name, False, net.types[each.name], each.shape] for each in model.outputs],
            flags=[name for name in self._trt.BuilderFlag.__members__ if config.has(name)],
            strongly_typed=net.strongly_typed,
            verbosity=config.profiling_verbosity.name,
            avg_timing_iterations=config.avg_timing_iterations,
            workspace_bytes=self._workspace(config),
            pinned=[layer.name for layer in net.layers if layer.precision_is_set],
            layers=[dict(layer.record._asdict(), precision=precisions[layer.name]) for layer in net.layers],
            tensors=by_tensor,
            fused=self._fused(model, by_tensor),
            extra_ms=random.SystemRandom().uniform(0, float(board.fault("build-noise") or 0)),
            path=net.source.path,
            **self._ways(model),
        )
        folder = Path(net.source.path).parent
        files = {name: (folder / name).read_bytes() for name in model.external_files}
        return plan.Plan(header, net.source.blob, files)

    def _ways(self, model: Any) -> Dict[str, List[str]]:
        """Operators of the nodes that plugins compute, and of those that functions do."""
        found: Dict[str, List[str]] = {"by_plugin": [], "by_function": []}
        for node in model.nodes:
            if node.domain:
                way = plugins.way(node, model, self._trt._board.table.as_new_as)
                found["by_" + way.by].append(node.operator)
        return found

    def _precisions(self, net: NetworkCore, config: ConfigCore) -> Dict[str, str]:
        """Name of the type that each layer computes in."""
        half = config.has("FP16") and not net.strongly_typed
        obeyed = config.has("OBEY_PRECISION_CONSTRAINTS")
        kinds = {}
        for layer in net.layers:
            kinds[layer.name] = layer.get_output(0).dtype.name if layer.num_outputs else "FLOAT"
            if half and kinds[layer.name] == "FLOAT":
                kinds[layer.name] = layer.precision.name if obeyed and layer.precision_is_set else "HALF"
        return kinds

    def _fused(self, model: Any, precisions: Dict[str, str]) -> List[List[str]]:
        capable = self._trt._board.device.compute_capability >= _FUSES_FROM
        if not capable or not hasattr(self._trt, "INormalizationLayer"):
            return []
        return layers.fused_attention(model, lambda name: precisions.get(name) in ("HALF", "BF16"))

    def _workspace(self, config: ConfigCore) -> int:
        if hasattr(self._trt, "MemoryPoolType"):
            workspace = self._trt.MemoryPoolType.WORKSPACE
            if workspace in config.pools or not hasattr(self._trt.IBuilderConfig, "max_workspace_size"):
                return config.get_memory_pool_limit(workspace)
        return getattr(config, "max_workspace_size", 0)


def _report(monitor: Any) -> None:
    """Tells a monitor of the steps of a build."""
    monitor.phase_start("Building Engine", None, _STEPS)
    for step in range(_STEPS):
        monitor.step_complete("Building Engine", step)
    monitor.phase_finish("Building Engine")
