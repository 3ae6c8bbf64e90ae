"""A bundle -> what predicts with it: a Classifier, or a Segmenter where its model labels every patch.

On the machine that runs engines. Leaves out the command line (infer.py).
"""

import logging
from typing import Optional

from pomt_trt.core.bundle import open_bundle
from pomt_trt.core.records import SEGMENTATION, Bundle
from pomt_trt.device.classifier import Classifier
from pomt_trt.device.engine import Runner, built_elsewhere, open_engine
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
    elsewhere = built_elsewhere(manifest.engine)
    if elsewhere is not None:
        logger.warning("%s was chosen on %s, and this is %s: here another count may be the best.", *elsewhere)
    return of(manifest, open_engine(manifest.engine, bundle, threads=threads, waiting=waiting))


def of(bundle: Bundle, runner: Runner) -> Predictor:
    """A bundle with one of its engines, open."""
    return (Segmenter if bundle.model.task == SEGMENTATION else Classifier)(bundle, runner)
