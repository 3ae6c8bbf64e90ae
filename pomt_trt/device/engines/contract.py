"""What every engine library has in common: options of a build, a loaded engine, the files beside it.

On the machine that runs engines. An engine is a file that turns images into logits; latency, accuracy and tokens are
not its business.
"""

import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from pomt_trt.device.engines.tensorrt.plugin_files import Library


class BuildOptions(NamedTuple):
    """What a build may depend on, besides the graph and the device. A library ignores what it has no use for."""

    threads: int = 2
    precision: str = "fp32"  # fp32, fp16, bf16
    fp32_nodes: Tuple[str, ...] = ()  # named nodes of an fp32 graph that stay fp32; () where the graph itself is mixed
    workspace_bytes: Optional[int] = None  # None: by the device's memory
    timing_cache: Optional[str] = None  # file that builds share; None: nothing is remembered, so tactics are timed anew
    cuda_graph: bool = True  # whether running may capture one
    plugin: Optional[Library] = None  # that the graph needs
    progress: Optional[Callable[[str], None]] = None  # hears how far a build is, where the library tells it
    gpu: Optional[str] = None  # built ahead of time for such GPUs (device/engines/ahead); None: for the one here


class GpuTimes(NamedTuple):
    """Where the time of a run goes on a GPU, between events on its stream."""

    copy_in_ms: float
    compute_ms: float
    copy_out_ms: float


class Runner:
    """A loaded engine: host array in, host logits out. A context manager; use it from one thread at a time."""

    input_shape: Tuple[int, int, int, int]

    def run(self, batch: Any) -> Any:
        """Logits float32 of `batch`, a C-contiguous float32 array of input_shape.

        Their shape is (batch, classes), or (batch, classes, rows, columns) with a row and column for each patch.
        """
        raise NotImplementedError

    def modes(self) -> Optional[Dict[str, Any]]:
        """How it runs, as far as there is a choice: memory, waiting, CUDA graph; None where there is none."""
        return None

    def gpu_times(self, batch: Any) -> Optional[GpuTimes]:
        """Where the time of one run goes; None where no GPU takes part."""
        return None

    def kernels(self) -> Optional[bytes]:
        """What the library compiled to run it here, to be kept beside the engine; None where it keeps nothing."""
        return None

    def close(self) -> None:
        """Gives back what the engine holds; run must not be called again."""

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def layers_of(engine_path: str) -> str:
    """r056.engine's layers, where the library tells them, are r056.layers.json beside it."""
    return os.path.splitext(engine_path)[0] + ".layers.json"
