"""A bundle -> what predicts with it: a Classifier, or a Segmenter where its model labels every patch.

On the machine that runs engines. Leaves out the command line (infer.py).
"""

import logging
from typing import Optional

from pomt_trt.core.bundle import open_bundle
from pomt_trt.core.records import SEGMENTATION, Bundle
from pomt_trt.device.classifier import Classifier
from pomt_trt.device.contract import Runner
from pomt_trt.device.engine import open_engine
from pomt_trt.device.predictor import Predictor
from pomt_trt.device.segmenter import Segmenter

logger = logging.getLogger(__name__)


def load(bundle: str, threads: Optional[int] = None, waiting: str = "default") -> Predictor:
    """Opens, verifies and loads a bundle.

    Args:
        threads: of the CPU; None: as many as the engine was built for.
        waiting: 'default' or 'passive', see device.engine.open_engine.

    Raises: InputError, CorruptArtifact, WrongDevice, MissingDependency.
    """
    manifest = open_bundle(bundle)
    if manifest.model.random_weights:
        logger.warning(
            "the weights of %s are random: its predictions mean nothing. Compile it with --pretrained or --checkpoint.",
            manifest.model.name,
        )
    return of(manifest, open_engine(manifest.engine, bundle, threads=threads, waiting=waiting))


def of(bundle: Bundle, runner: Runner) -> Predictor:
    """A bundle with one of its engines, open."""
    return (Segmenter if bundle.model.task == SEGMENTATION else Classifier)(bundle, runner)
