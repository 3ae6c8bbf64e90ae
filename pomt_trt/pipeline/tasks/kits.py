"""A kit for a board: work folders with graphs and expected logits, for `jetson/field_kit` to build, check and time."""

import contextlib
import logging
import os
from typing import Dict, Iterator

from pomt_trt.core.field_kit import records
from pomt_trt.core.field_kit.records import Kit
from pomt_trt.core.storage import store
from pomt_trt.core.targets import named
from pomt_trt.pipeline import options, run_stages
from pomt_trt.pipeline.session import Scope

# A trained model, whose predictions can be right or wrong, and the model that boards are compared by. The latter has
# random weights, which do not change its latency and need no download.
MODELS = {"digits": "digits", "deit-s": "deit_small_patch16_224"}
TOKENS = "144:144:1"  # of 197: R = 53, where digits keeps its accuracy; a multiple of 16, which kernels like
SAMPLES = 32  # images that engines are held against; of random weights, few have a clear cut in fp16


def make(folder: str, target: str, models: Dict[str, str] = MODELS, tokens: str = TOKENS) -> Kit:
    """Exports each model with R = 0 and one R > 0 in the precisions of field_kit/records; what is there is kept.

    Args:
        folder: of the kit; made if need be.
        target: whose parser shall read the graphs, such as jetpack-6.2.
        models: name of the work folder -> model, as `pomt-trt export` takes it.
        tokens: START:STOP:STEP after the cut.
    Raises: UsageError for a target that is not known; what export and accuracy raise.
    """
    named(target)
    with _random_weights_meant():
        for name, model in models.items():
            work = os.path.join(folder, name)
            for precision in records.PRECISIONS:
                run_stages.export(
                    options.make(model, work, target=target, precision=precision, tokens=tokens, samples=SAMPLES)
                )
            run_stages.accuracy(Scope(work))
    kit = Kit(target, tuple(models))
    store.write_record(os.path.join(folder, records.KIT_FILE), kit)
    return kit


@contextlib.contextmanager
def _random_weights_meant() -> Iterator[None]:
    """Without the advice to give weights, for which a kit has no flag."""
    logger = logging.getLogger("pomt_trt.host.models.loading")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def size_bytes(folder: str) -> int:
    """Of all files in a folder."""
    return sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)
