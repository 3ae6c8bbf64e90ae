"""Core of the Runtime: which plans run on this board, and why others do not.

A plan of TensorRT runs where it was made; one of TensorRT-RTX on every GPU that it was made for, which the runtime also
says of a plan without loading it.
"""

from typing import Any, Dict

from . import plan, plugins
from .basics import say
from .config import device_header
from .running import EngineCore


class RuntimeCore:
    """A Runtime."""

    def __init__(self, trt: Any, wrapper: Any, logger: Any) -> None:
        self._trt, self.logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        """The engine, or None with the reason in the logger."""
        try:
            opened = plan.unpack(bytes(serialized_engine))
        except plan.Damaged as error:
            say(self.logger, "ERROR", "Error Code 1: Serialization (Serialization assertion {} failed.)".format(error))
            return None
        made = opened.header
        refusal = self._misplaced(opened) if hasattr(self._trt, "ComputeCapability") else self._foreign(made)
        if not refusal and made["by_plugin"] and not plugins.loaded():
            refusal = "Error Code 4: Internal Error (Cannot find plugin: {}, version: 1, namespace:.)"
            refusal = refusal.format(made["by_plugin"][0])
        if refusal:
            say(self.logger, "ERROR", refusal)
            return None
        return self._trt._wrap("ICudaEngine", EngineCore(self._trt, self.logger, opened))

    def _foreign(self, made: Dict[str, Any]) -> str:
        """Why a plan of another machine or release does not run here; empty where it does."""
        here = device_header(self._trt._board)
        if made["version"] != here["version"]:
            text = "Version tag does not match. Current Version: {}, Serialized Engine Version: {}"
            return "Error Code 1: Serialization ({})".format(text.format(here["version"], made["version"]))
        if made["compute_capability"] != here["compute_capability"]:
            text = "The engine plan file is generated on an incompatible device, expecting compute {} got compute {}, "
            text = text.format(here["compute_capability"], made["compute_capability"])
            return "Error Code 6: API Usage Error ({}please rebuild.)".format(text)
        return ""

    def _misplaced(self, opened: plan.Plan) -> str:
        """Likewise, of a library whose plans run on several GPUs."""
        found = self._diagnostics(opened)
        return "Error Code 1: Serialization (this engine is not valid here: {})".format(found) if found else ""

    def get_engine_validity(self, buffer: Any) -> Any:
        """(validity, diagnostics as a bit mask)."""
        try:
            found = self._diagnostics(plan.unpack(bytes(buffer)))
        except plan.Damaged:
            found = "MALFORMED_ENGINE"
        if found == "CUDA_ERROR":  # as seen: a mask of none, and the reason in the log
            return self._trt.EngineValidity.INVALID, 0
        mask = int(getattr(self._trt.EngineInvalidityDiagnostics, found)) if found else 0
        return getattr(self._trt.EngineValidity, "INVALID" if found else "VALID"), mask

    def _diagnostics(self, opened: plan.Plan) -> str:
        """Why a plan does not run here, as a name of EngineInvalidityDiagnostics; empty where it does."""
        board, made = self._trt._board, opened.header
        if board.fault("no-device") is not None:
            text = "Error reading CUDA GPU properties: cudaError 35: CUDA driver version is insufficient for CUDA "
            say(self.logger, "INTERNAL_ERROR", text + "runtime version. Ensure that the GPU driver is up to date.")
            return "CUDA_ERROR"
        if made["version"] != board.table.version:
            return "VERSION_MISMATCH"
        here = "SM{}{}".format(*board.device.compute_capability)
        fits = here in made["compute_capabilities"] if made["compute_capabilities"] else here not in ("SM75", "SM70")
        return "" if fits else "UNSUPPORTED_CC"
