"""The child that times PyTorch eager on the workstation: timm itself, or a candidate of a work folder.

Host array in, host logits out, fp32, fused attention, inference mode, as an engine is timed. A candidate's tokens are
removed as its method does.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from pomt_trt.core import timing_protocol
from pomt_trt.core.errors import InputError, MissingDependency, PomtError
from pomt_trt.core.records import SEGMENTATION, ModelSpec
from pomt_trt.core.storage import experiment
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.core.timing_protocol import Prepared, check_waiting

SIZES = ("depth", "width", "heads", "patch_tokens", "prefix_tokens")  # what a latency depends on


def prepare(argv: Sequence[str]) -> Prepared:
    """The eager model that the arguments name, ready to run.

    Raises: MissingDependency, UsageError, InputError.
    """
    arguments = _parser().parse_args(argv)
    variables = check_waiting(arguments.waiting)
    try:
        import timm
        import torch
    except ImportError as error:
        raise MissingDependency(
            f"the eager baseline runs timm on the workstation: {error}. Install there: pip install 'pomt-trt[host]'"
        ) from error
    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    timm.layers.set_fused_attn(True)
    module, spec, batch_size = _model(arguments)
    look = spec.preprocessing
    image = np.random.RandomState(0).rand(batch_size, look.channels, look.height, look.width).astype(np.float32)

    def run() -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(image)).numpy()

    about = {
        "model": spec.name,
        "weights": spec.weights,
        "torch": str(torch.__version__),
        "timm": str(timm.__version__),
        "device": "cpu",
        "dtype": str(next(module.parameters()).dtype).removeprefix("torch."),
        "fused_attention": all(part.fused_attn for part in module.modules() if hasattr(part, "fused_attn")),
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "waiting": arguments.waiting,
        "variables": variables,
    }
    return Prepared(run, about)


def _parser() -> argparse.ArgumentParser:
    parser = timing_protocol.parser("Times timm's eager model on request.", threads=2)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--bundle", help="the model of this bundle, in its batch size")
    model.add_argument("--model", help="a timm name, local-dir:PATH or digits")
    model.add_argument("--work", help="the model of this work folder, reduced as --candidate")
    parser.add_argument("--candidate", default="r000", metavar="ID", help="with --work, such as r056 (default: r000)")
    parser.add_argument("--img-size", type=int, metavar="N", help="side of the input, pixels (with --model)")
    parser.add_argument("--batch-size", type=int, default=1, metavar="B", help="images in a run (with --model)")
    return parser


def _model(arguments: argparse.Namespace) -> tuple[Any, ModelSpec, int]:
    from pomt_trt.host.models import loading

    if arguments.work:
        return _candidate(WorkFolder(arguments.work), arguments.candidate)
    if not arguments.bundle:
        loaded = loading.load(arguments.model, image_size=arguments.img_size)
        return loaded.module, loaded.spec, arguments.batch_size
    bundle = open_bundle(arguments.bundle, verify=False)
    loaded = _like(bundle.model)
    return loaded.module, loaded.spec, bundle.candidate.batch_size


def _candidate(work: WorkFolder, candidate_id: str) -> tuple[Any, ModelSpec, int]:
    """A candidate of an experiment in eager. R = 0 is timm's own module.

    Raises: InputError if the folder has no such candidate.
    """
    from pomt_trt.host.models import loading
    from pomt_trt.host.models.token_reduction import with_schedule
    from pomt_trt.host.reducers.common import learned

    request = experiment.experiment_of(work).request
    by_id = {candidate.id: candidate for family in experiment.families(work) for candidate in family.candidates}
    if candidate_id not in by_id:
        raise InputError(f"{work.root} has no candidate {candidate_id}. It has: {', '.join(sorted(by_id))}.")
    loaded, candidate = loading.asked_for(request), by_id[candidate_id]
    module: Any = loaded.module
    if candidate.schedule.removed:
        own = learned.asked_for(request, loaded.spec)
        module = with_schedule(
            module, request.method, candidate.schedule, layer=request.layer, seed=request.seed, learned=own
        )
    return module, loaded.spec, candidate.batch_size


def _like(spec: ModelSpec) -> Any:
    """The model that a bundle was made from, or its architecture with random weights, which take the same time.

    Raises: InputError if neither can be loaded.
    """
    from pomt_trt.host.models import loading

    look, reasons = spec.preprocessing, []
    for name in dict.fromkeys((spec.name, spec.architecture)):
        try:
            task = spec.task if name == spec.name and spec.task != SEGMENTATION else "auto"
            loaded = loading.load(name, image_size=(look.height, look.width), task=task)
        except PomtError as error:
            reasons.append(str(error))
            continue
        differences = _differences(loaded.spec, spec)
        if not differences:
            return loaded
        reasons.append(f"{name} is another model here: {differences}")
    raise InputError(
        f"the bundle's model {spec.name} cannot be made: {'; '.join(reasons)}. Put it where it was when the bundle was "
        "made."
    )


def _differences(loaded: ModelSpec, expected: ModelSpec) -> str:
    ours, theirs = _sizes(loaded), _sizes(expected)
    return ", ".join(f"{name} is {ours[name]}, expected {theirs[name]}" for name in ours if ours[name] != theirs[name])


def _sizes(spec: ModelSpec) -> dict[str, Any]:
    look = spec.preprocessing
    return {**{name: getattr(spec, name) for name in SIZES}, "input": (look.channels, look.height, look.width)}
