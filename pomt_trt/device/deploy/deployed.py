"""Opens a bundle as the Predictor of its task."""

import logging
import os
from typing import Dict, Optional, Type

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, WrongDevice
from pomt_trt.core.records import (
    BINARY,
    CLASSIFICATION,
    FEATURES,
    MULTILABEL,
    REGRESSION,
    SEGMENTATION,
    Bundle,
    Engine,
)
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.device.checks import golden_check
from pomt_trt.device.deploy.classifier import Classifier, Embedder, MultiLabelClassifier, Regressor
from pomt_trt.device.deploy.predictor import Predictor
from pomt_trt.device.deploy.segmenter import Segmenter
from pomt_trt.device.engines.contract import Runner
from pomt_trt.device.engines.engine import built_elsewhere, check_device, check_files, open_engine, released_elsewhere

logger = logging.getLogger(__name__)
PREDICTORS: Dict[str, Type[Predictor]] = {
    CLASSIFICATION: Classifier,
    SEGMENTATION: Segmenter,
    FEATURES: Embedder,
    BINARY: MultiLabelClassifier,
    MULTILABEL: MultiLabelClassifier,
    REGRESSION: Regressor,
}


def open_predictor(bundle: str, threads: Optional[int] = None, waiting: str = "default") -> Predictor:
    """Checks a bundle and loads its chosen engine.

    Args:
        threads, waiting: see engine.open_engine.

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
    return predictor_of(manifest, open_checked(manifest, manifest.engine, bundle, threads, waiting))


def open_checked(bundle: Bundle, engine: Engine, folder: str, threads: Optional[int], waiting: str) -> Runner:
    """Opens an engine of a bundle. After an upgrade of the board's system it must pass the golden check first.

    Raises: WrongDevice if it is for another device, or after an upgrade does not load or pass.
    """
    upgraded = released_elsewhere(engine.device)
    if upgraded is None:
        return open_engine(engine, folder, threads=threads, waiting=waiting)
    check_device(engine.device)
    check_files(engine, folder)  # before the rest, since an upgrade does not damage files
    try:
        runner = open_engine(engine, folder, threads=threads, waiting=waiting)
    except (CorruptArtifact, BuildFailed) as error:
        raise _refused(upgraded, str(error)) from error
    try:
        _check_golden(runner, bundle, engine, folder, upgraded)
    except BaseException:
        runner.close()
        raise
    return runner


def _check_golden(runner: Runner, bundle: Bundle, engine: Engine, folder: str, upgraded: str) -> None:
    if "golden.npz" not in bundle.files:
        raise _refused(upgraded, "the bundle holds no golden.npz to check it with")
    golden = golden_check.golden(os.path.join(folder, "golden.npz"))
    name = engine.candidate_id + ".npz"
    expected = os.path.join(folder, name) if name in bundle.files else None
    unreduced = engine.candidate_id == bundle.unreduced.id
    result = golden_check.judge(runner, golden, bundle.model.preprocessing, engine.precision, expected, unreduced)
    if not result.passed:
        raise _refused(upgraded, result.reason())
    logger.warning(
        "%s. The engine still computes the expected logits of %d golden images, so it is used. Its latency may differ: "
        "python -m pomt_trt.infer BUNDLE --rebuild builds it anew.",
        upgraded,
        len(golden.pixels),
    )


def _refused(upgraded: str, reason: str) -> WrongDevice:
    return WrongDevice(
        "{}, and {}. Build it anew: python -m pomt_trt.infer BUNDLE --rebuild.".format(upgraded, reason.rstrip(". "))
    )


def predictor_of(bundle: Bundle, runner: Runner) -> Predictor:
    """The Predictor for a bundle's task, on one of its engines that is open."""
    return PREDICTORS[bundle.model.task](bundle, runner)
