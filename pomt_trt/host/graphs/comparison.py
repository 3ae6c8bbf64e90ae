"""Logits of PyTorch and of ONNX Runtime, compared."""

from pathlib import Path

import numpy as np
import onnx
import torch

from pomt_trt.core import cpus
from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.metrics import parity
from pomt_trt.host.graphs import plugin_graphs
from pomt_trt.host.models.token_reduction import ReducedViT
from pomt_trt.host.precision import bf16

TOLERANCE = {**parity.TOLERANCE, "fp32": 1e-4}  # of logits, relative to an image's largest


def logits_and_margins(module: ReducedViT, batch: torch.Tensor, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, ...) and smallest score margins (n,) of normalised images (n, C, H, W), `size` at a time."""
    with torch.inference_mode():
        parts = [module.forward_with_margin(part) for part in torch.split(batch, max(size, 16))]
    return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1] for p in parts]).numpy()


def compare(
    path: Path,
    batch: torch.Tensor,
    expected: np.ndarray,
    margins: np.ndarray,
    batch_size: int,
    written: str = "fp32",
) -> float:
    """How far a graph's logits on ONNX Runtime are from PyTorch's, relative to an image's largest logit.

    In fp32 that is the largest difference of all images. In fp16 and bf16 it is the median image's: rounding in earlier
    blocks sometimes swaps tokens. Images whose score margin is within rounding do not count: either token is right.

    Args:
        expected: (n, ...) logits of PyTorch in fp32.
        margins: (n,) smallest score margins.
        written: the graph's precision.
    Raises: VerificationFailed if it exceeds TOLERANCE.
    """
    logits = run_onnx(path, batch.numpy(), batch_size)
    clear = margins > parity.LEAST_MARGIN[written]
    errors = parity.relative_errors(logits, expected)
    judge = np.max if written == "fp32" else np.median
    error = float(judge(errors[clear])) if clear.any() else 0.0 * float(errors.max())  # NaN and infinity stay
    if not error <= TOLERANCE[written]:
        raise VerificationFailed(
            f"{path.name}: logits on ONNX Runtime differ from PyTorch's by {error:.1e} of the largest; "
            f"{TOLERANCE[written]:.0e} is allowed. Update torch and onnxruntime; if it stays, "
            + ("report it with the model's name." if written == "fp32" else "use --precision fp32.")
        )
    return error


def run_onnx(path: Path, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Logits (n, ...) of a graph on ONNX Runtime for images (n, C, H, W); the last batch is padded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = cpus.usable().threads
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    model = onnx.load(str(path), load_external_data=False)
    bf16.make_runnable(model)
    plugin_graphs.make_runnable(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % batch_size, axis=0)])
    parts = np.split(padded, len(padded) // batch_size)
    return np.concatenate([session.run(None, {"image": part})[0] for part in parts])[: len(images)]
