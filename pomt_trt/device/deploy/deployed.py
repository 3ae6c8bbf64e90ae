"""A bundle -> what predicts with it: a Classifier, or a Segmenter where its model labels every patch.

On the machine that runs engines. Leaves out the command line (infer.py).
"""

import logging
import os
from typing import Optional

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, WrongDevice
from pomt_trt.core.records import SEGMENTATION, Bundle, Engine
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.device.checks import golden_check
from pomt_trt.device.deploy.classifier import Classifier
from pomt_trt.device.deploy.predictor import Predictor
from pomt_trt.device.deploy.segmenter import Segmenter
from pomt_trt.device.engines.contract import Runner
from pomt_trt.device.engines.engine import built_elsewhere, check_device, check_files, open_engine, released_elsewhere

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
    return of(manifest, open_one(manifest, manifest.engine, bundle, threads, waiting))


def open_one(bundle: Bundle, engine: Engine, folder: str, threads: Optional[int], waiting: str) -> Runner:
    """Opens one of a bundle's engines. After an upgrade of the board's system it first has to pass the golden gate.

    Raises: WrongDevice where it is of another device, or no longer loads or computes what it should.
    """
    upgraded = released_elsewhere(engine.device)
    if upgraded is None:
        return open_engine(engine, folder, threads=threads, waiting=waiting)
    check_device(engine.device)
    check_files(engine, folder)  # first: damage is no matter of releases
    try:
        runner = open_engine(engine, folder, threads=threads, waiting=waiting)
    except (CorruptArtifact, BuildFailed) as error:
        raise _refused(upgraded, str(error)) from error
    try:
        _check_answers(runner, bundle, engine, folder, upgraded)
    except BaseException:
        runner.close()
        raise
    return runner


def _check_answers(runner: Runner, bundle: Bundle, engine: Engine, folder: str, upgraded: str) -> None:
    if "golden.npz" not in bundle.files:
        raise _refused(upgraded, "the bundle holds no golden.npz to check it with")
    golden = golden_check.golden(os.path.join(folder, "golden.npz"))
    own = engine.candidate_id + ".npz"
    expected = os.path.join(folder, own) if own in bundle.files else None
    unreduced = engine.candidate_id == bundle.unreduced.id
    found = golden_check.judge(runner, golden, bundle.model.preprocessing, engine.precision, expected, unreduced)
    if not found.passed:
        raise _refused(upgraded, found.reason())
    logger.warning(
        "%s. On %d golden images it still computes what it should, so it is used. Its latency may be another: "
        "python -m pomt_trt.infer BUNDLE --rebuild builds it anew.",
        upgraded,
        len(golden.pixels),
    )


def _refused(upgraded: str, reason: str) -> WrongDevice:
    return WrongDevice(
        "{}, and {}. Build it anew: python -m pomt_trt.infer BUNDLE --rebuild.".format(upgraded, reason.rstrip(". "))
    )


def of(bundle: Bundle, runner: Runner) -> Predictor:
    """A bundle with one of its engines, open."""
    return (Segmenter if bundle.model.task == SEGMENTATION else Classifier)(bundle, runner)
