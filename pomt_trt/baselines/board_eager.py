"""The child that times PyTorch eager on a board: a plain ViT from a bundle's plain.json and weights.bin.

Host array in, host logits out, inference mode, as an engine is timed. Needs torch 1.8 or later and Python 3.6 or later,
but no timm.
"""

import argparse
import os
from typing import Any, Sequence

import numpy as np

from pomt_trt.core import timing_protocol
from pomt_trt.core.errors import InputError, MissingDependency, VerificationFailed
from pomt_trt.core.metrics.parity import compare
from pomt_trt.core.records import Bundle, ModelSpec, PlainModel, StoredTensor
from pomt_trt.core.storage import store
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.core.timing_protocol import Prepared, check_waiting
from pomt_trt.device.board import jetson
from pomt_trt.device.board.torch_wheels import advice
from pomt_trt.device.checks import golden_check
from pomt_trt.device.deploy.preprocess import normalise
from pomt_trt.device.engines.traits import traits

PLAIN = "plain.json"
CHECKED_IMAGES = 8
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}  # torch's names of an engine's precision


def prepare(argv: Sequence[str]) -> Prepared:
    """The eager model that the arguments name, ready to run.

    Raises: MissingDependency, UsageError, InputError, CorruptArtifact, VerificationFailed.
    """
    arguments = _parser().parse_args(argv)
    variables = check_waiting(arguments.waiting)
    torch = _torch()
    from pomt_trt.baselines.plain_vit import FUSED, logits

    bundle = open_bundle(arguments.bundle, verify=False)
    device = device_beside(bundle.engine.device.engine)
    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    dtype = DTYPES[bundle.engine.precision] if device.type == "cuda" else "float32"  # the fastest there
    model = load(arguments.bundle, bundle).to(device, getattr(torch, dtype))
    look = bundle.model.preprocessing
    batch_size = bundle.candidate.batch_size
    image = np.random.RandomState(0).rand(batch_size, look.channels, look.height, look.width).astype(np.float32)
    about = {
        "model": bundle.model.name,
        "weights": bundle.model.weights,
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": dtype,
        "engine_precision": bundle.engine.precision,
        "fused_attention": FUSED,
        "tf32": False,
        "golden_error": _golden_error(model, arguments.bundle, bundle),
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "waiting": arguments.waiting,
        "variables": variables,
    }
    return Prepared(lambda: logits(model, image), about)


def _parser() -> argparse.ArgumentParser:
    parser = timing_protocol.parser("Times a ViT in torch on request.", threads=2)
    parser.add_argument("--bundle", required=True, help="the unreduced model of this bundle, in its batch size")
    return parser


def device_beside(engine: str) -> Any:
    """The torch device on which eager runs beside an engine of this library: where the engine runs, and on a Jetson
    its GPU.

    Raises: MissingDependency if torch sees no GPU there, with the wheel to install.
    """
    torch, board = _torch(), jetson.identity()
    if not traits(engine).on_gpu and board is None:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    raise MissingDependency(
        "torch {} sees no GPU on {}, and eager on its CPU would be no baseline. Install a torch with CUDA: {}".format(
            torch.__version__, board.module if board else "this machine", advice()
        )
    )


def load(folder: str, bundle: Bundle) -> Any:
    """The bundle's unreduced model in float32 on the CPU, in eval mode.

    Raises: InputError if the bundle does not say how torch alone runs its weights; CorruptArtifact.
    """
    if PLAIN not in bundle.files:
        raise InputError(
            "{} holds no {}, by which torch alone runs its weights: it was exported by an older release, or the model "
            "is not so plain. Export and bundle it again.".format(folder, PLAIN)
        )
    plain: PlainModel = store.read_record(os.path.join(folder, PLAIN), PlainModel).record
    if bundle.files[WEIGHTS]["sha256"] != plain.weights_sha256:
        raise InputError("{} of {} belongs to other weights. Export and bundle it again.".format(PLAIN, folder))
    return model_of(bundle.model, plain, os.path.join(folder, WEIGHTS))


def model_of(spec: ModelSpec, plain: PlainModel, weights: str) -> Any:
    """The model whose parameters lie in the file `weights`, in float32 on the CPU, in eval mode."""
    torch = _torch()
    from pomt_trt.baselines.plain_vit import Vit

    data = np.memmap(weights, dtype=np.uint8, mode="r")
    state = {name: torch.from_numpy(_values(data, stored)) for name, stored in plain.tensors.items()}
    model = Vit(spec, plain, {name: tuple(value.shape) for name, value in state.items()})
    model.load_state_dict(state)
    return model.eval()


def _values(data: np.ndarray, stored: StoredTensor) -> np.ndarray:
    """A parameter as float32, C-contiguous."""
    is_bf16 = stored.dtype == "bfloat16"  # the upper half of a float32, which numpy has no name for
    dtype = np.dtype(np.uint16 if is_bf16 else stored.dtype)
    raw = data[stored.offset : stored.offset + dtype.itemsize * int(np.prod(stored.shape))]
    values = raw.view(dtype).reshape(stored.shape)
    if is_bf16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return np.array(values.T if stored.transposed else values, np.float32, order="C")


def _golden_error(model: Any, folder: str, bundle: Bundle) -> float:
    """Median relative error of the model's logits on golden inputs.

    Raises: VerificationFailed if it is larger than rounding: then it is another model, with another latency.
    """
    from pomt_trt.baselines.plain_vit import logits

    golden = golden_check.golden(os.path.join(folder, "golden.npz"))
    images = normalise(golden.pixels[:CHECKED_IMAGES], bundle.model.preprocessing)
    result = compare(logits(model, images), golden.logits[:CHECKED_IMAGES], None, bundle.engine.precision)
    if not result.passed:
        raise VerificationFailed(
            "the eager model's logits on golden inputs differ from timm's by {:.1e} of the largest; {:.0e} is allowed. "
            "Report it with the model's name {}.".format(result.error, result.allowed, bundle.model.architecture)
        )
    return result.error


def _torch() -> Any:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a CUDA library that torch is linked with is missing
        raise MissingDependency(
            "the eager baseline runs torch, which cannot be imported here: {}. Install it: {}".format(error, advice())
        ) from error
    return torch
