"""The interface of all engine libraries: build options, and a loaded engine (Runner).

An engine is a file that turns images into logits. It knows nothing of latency, accuracy or tokens.
"""

import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from pomt_trt.device.engines.tensorrt.plugin_files import Library


class BuildOptions(NamedTuple):
    """What a build depends on, besides the graph and the device. A library ignores options that it does not need."""

    threads: int = 2
    precision: str = "fp32"  # fp32, fp16, bf16
    fp32_nodes: Tuple[str, ...] = ()  # nodes of an fp32 graph that stay fp32; () if the graph is mixed
    workspace_bytes: Optional[int] = None  # None: a share of the device's memory
    timing_cache: Optional[str] = None  # file that builds share; None: every build times its tactics again
    cuda_graph: bool = True  # a run may capture one
    plugin: Optional[Library] = None  # that the graph needs
    progress: Optional[Callable[[str], None]] = None  # called with the progress of a build, if the library reports it
    gpu: Optional[str] = None  # build ahead of time for these GPUs (device/engines/ahead); None: for the GPU here


class GpuTimes(NamedTuple):
    """The parts of one run on a GPU, measured between events on its stream."""

    copy_in_ms: float
    compute_ms: float
    copy_out_ms: float


class Runner:
    """A loaded engine: an array in, logits out. It is a context manager. Only one thread at a time may use it."""

    input_shape: Tuple[int, int, int, int]

    def run(self, batch: Any) -> Any:
        """Returns float32 logits of `batch`, a C-contiguous float32 array of input_shape.

        Their shape is (batch, classes), or for segmentation (batch, classes, rows, columns), one cell per patch.
        """
        raise NotImplementedError

    def modes(self) -> Optional[Dict[str, Any]]:
        """How the engine runs: memory, waiting, CUDA graph. None if the library has no such choices."""
        return None

    def gpu_times(self, batch: Any) -> Optional[GpuTimes]:
        """The parts of one run; None on a CPU."""
        return None

    def kernels(self) -> Optional[bytes]:
        """Kernels that the library compiled on loading, to be stored beside the engine; None if it compiles none."""
        return None

    def close(self) -> None:
        """Frees the engine. Do not call run after it."""

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def layers_of(engine_path: str) -> str:
    """Path of the file that lists an engine's layers: r056.engine -> r056.layers.json."""
    return os.path.splitext(engine_path)[0] + ".layers.json"
