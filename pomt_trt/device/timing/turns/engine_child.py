"""The child that times one engine: see device/timing/__main__.

It has a pool of threads of its own, as infer has.
"""

import argparse
import os
from typing import Any, Callable, Sequence, Tuple

import numpy as np

from pomt_trt.core import timing_protocol
from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Engine
from pomt_trt.core.storage import store
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.core.timing_protocol import Prepared
from pomt_trt.device.board import board
from pomt_trt.device.deploy import deployed
from pomt_trt.device.engines.contract import Runner
from pomt_trt.device.engines.engine import open_engine


def prepare(argv: Sequence[str]) -> Prepared:
    """Opens what the arguments name.

    Raises: UsageError; InputError, CorruptArtifact, WrongDevice, MissingDependency of opening an engine.
    """
    arguments = _parser().parse_args(argv)
    run, engine = (_end_to_end if arguments.image else _engine_only)(arguments)
    about = {
        "candidate": engine.candidate_id,
        "engine": engine.device.engine,
        "version": engine.device.engine_version,
        "device": board.processor(),
        "precision": engine.precision,
        "batch_size": engine.input_shape[0],
        "threads": arguments.threads or engine.threads,
        "waiting": arguments.waiting,
    }
    return Prepared(run, about)


def _parser() -> argparse.ArgumentParser:
    parser = timing_protocol.parser("Times one engine on request.", threads=None)  # None: as the engine was built
    parser.add_argument("source", metavar="BUNDLE|ENGINE", help="folder, or r056.engine beside r056.json")
    parser.add_argument("--which", choices=("chosen", "unreduced"), default="chosen", help="of a bundle's two engines")
    parser.add_argument("--image", metavar="FILE", help="end to end: decode this file, preprocess, run, softmax")
    return parser


def _engine_only(arguments: argparse.Namespace) -> Tuple[Callable[[], Any], Engine]:
    """Host array in, host logits out."""
    runner, engine, _ = _opened(arguments)
    image = np.random.RandomState(0).rand(*runner.input_shape).astype(np.float32)
    return lambda: runner.run(image), engine


def _end_to_end(arguments: argparse.Namespace) -> Tuple[Callable[[], Any], Engine]:
    """Files in, probabilities or label maps out: a call of what pomt_trt.load gives, for one full batch."""
    if os.path.isfile(arguments.source):
        raise UsageError("{} has no preprocessing. Give --image with a bundle.".format(arguments.source))
    runner, engine, bundle = _opened(arguments)
    predictor = deployed.predictor_of(bundle, runner)
    paths = [arguments.image] * engine.input_shape[0]
    return lambda: predictor(paths), engine


def _opened(arguments: argparse.Namespace) -> Tuple[Runner, Engine, Any]:
    """The runner, its engine, and the bundle's manifest where the source is a bundle."""
    how, folder = (arguments.threads, arguments.waiting), arguments.source
    if os.path.isfile(folder):
        engine = store.read_record(os.path.splitext(folder)[0] + ".json", Engine).record
        return open_engine(engine, os.path.dirname(folder), *how), engine, None
    bundle = open_bundle(folder, verify=False)  # opening verifies the files that are used
    engine = bundle.engine if arguments.which == "chosen" else bundle.unreduced_engine
    return deployed.open_checked(bundle, engine, folder, *how), engine, bundle
