"""Core of the Builder: from a parsed network to a plan, or to None and a reason in the logger.

It checks what TensorRT checks of our way of building: strong typing against precision flags, precision pinned on layers
of integers, and a half precision that the device lacks. Tactics, speed and numbers are no subject here.
"""

import os
import random
import signal
import time
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
        if not self._progress(settings) or board.fault("none-build", path) is not None:
            name = net.source.model.nodes[-1].name
            text = "Could not find any implementation for node {{ForeignNode[{}]}} due to insufficient workspace."
            say(self.logger, "ERROR", "Error Code 10: Internal Error ({})".format(text.format(name)))
            return None
        return self._trt.IHostMemory(plan.pack(self._plan(net, settings)))

    def _progress(self, config: ConfigCore) -> bool:
        """Goes through the steps of a build; False where a monitor cancels it."""
        seconds = float(self._trt._board.fault("slow-build") or 0)
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building Engine", None, _STEPS)
        going_on = True
        for step in range(_STEPS):
            time.sleep(seconds / _STEPS)
            if monitor is not None and monitor.step_complete("Building Engine", step) is False:
                going_on = False
                break
        if monitor is not None:
            monitor.phase_finish("Building Engine")
        return going_on

    def _plan(self, net: NetworkCore, config: ConfigCore) -> plan.Plan:
        assert net.source is not None
        model, board = net.source.model, self._trt._board
        precisions = self._precisions(net, config)
        by_tensor = {name: precisions[layer.name] for layer in net for name in layer._core.record.outputs}
        header = dict(
            device_header(board),
            release=board.table.release,
            compute_capabilities=config.compute_capabilities,
            name=net.name,
            io=[[each.name, True, net.types[each.name], each.shape] for each in model.inputs]
            + [[each.name, False, net.types[each.name], each.shape] for each in model.outputs],
            flags=[name for name in self._trt.BuilderFlag.__members__ if config.has(name)],
            strongly_typed=net.strongly_typed,
            verbosity=config.profiling_verbosity.name,
            optimization_level=config.builder_optimization_level,
            avg_timing_iterations=config.avg_timing_iterations,
            workspace_bytes=self._workspace(config),
            timing_cache=self._use_cache(net, config),
            pinned=[layer.name for layer in net if getattr(layer._core, "precision_is_set", False)],
            layers=[self._described(layer, precisions) for layer in net],
            tensors=by_tensor,
            fused=self._fused(net, by_tensor),
            extra_ms=random.SystemRandom().uniform(0, float(board.fault("build-noise") or 0)),
            path=net.source.path,
            **self._ways(model),
        )
        folder = os.path.dirname(net.source.path)
        files = {}
        for name in model.external_files:
            with open(os.path.join(folder, name), "rb") as file:
                files[name] = file.read()
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
        for layer in net:
            core = layer._core
            kinds[layer.name] = core.get_output(0).dtype.name if core.num_outputs else "FLOAT"
            if half and kinds[layer.name] == "FLOAT":
                kinds[layer.name] = core.precision.name if obeyed and core.precision_is_set else "HALF"
        return kinds

    def _described(self, layer: Any, precisions: Dict[str, str]) -> Dict[str, Any]:
        record = layer._core.record
        return {
            "name": layer.name,
            "kind": record.kind,
            "inputs": record.inputs,
            "outputs": record.outputs,
            "nodes": record.nodes,
            "precision": precisions[layer.name],
        }

    def _fused(self, net: NetworkCore, precisions: Dict[str, str]) -> List[List[str]]:
        capable = self._trt._board.device.compute_capability >= _FUSES_FROM
        if net.source is None or not capable or not hasattr(self._trt, "INormalizationLayer"):
            return []
        return layers.fused_attention(net.source.model, lambda name: precisions.get(name) in ("HALF", "BF16"))

    def _workspace(self, config: ConfigCore) -> int:
        if hasattr(self._trt, "MemoryPoolType"):
            workspace = self._trt.MemoryPoolType.WORKSPACE
            if workspace in config.pools or not hasattr(self._trt.IBuilderConfig, "max_workspace_size"):
                return config.get_memory_pool_limit(workspace)
        return getattr(config, "max_workspace_size", 0)

    def _use_cache(self, net: NetworkCore, config: ConfigCore) -> Dict[str, int]:
        """Looks every kind of layer up in the cache and adds what it lacks; how many were and were not there."""
        if config.cache is None:
            return {"hits": 0, "misses": 0}
        tactics = config.cache._core.tactics
        keys = {"{} {}".format(layer._core.record.kind, len(layer._core.record.inputs)) for layer in net}
        missing = keys - set(tactics)
        tactics.update(dict.fromkeys(missing, 1))
        return {"hits": len(keys) - len(missing), "misses": len(missing)}
