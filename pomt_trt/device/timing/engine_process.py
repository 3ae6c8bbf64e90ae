"""The child process that runs one engine on request: `python -m pomt_trt.device.timing.engine_process BUNDLE|ENGINE`.

Answers core/timing_protocol' protocol; a pool of threads of its own, as infer has. On the machine that runs engines,
without torch. Leaves out when it is asked, and what it is compared with.
"""

import argparse
import os
import sys
from typing import Any, Callable, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Engine
from pomt_trt.core.storage import store
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.core.timing_protocol import Prepared, serve
from pomt_trt.device.board import board
from pomt_trt.device.deploy import deployed
from pomt_trt.device.engines.contract import Runner
from pomt_trt.device.engines.engine import open_engine


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return serve(lambda: _prepared(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pomt_trt.device.timing.engine_process",
        description='Times one engine on request: {"runs": 3} on stdin gives {"samples_ms": [...]} on stdout.',
    )
    parser.add_argument("source", metavar="BUNDLE|ENGINE", help="folder, or r056.engine beside r056.json")
    parser.add_argument("--which", choices=("chosen", "unreduced"), default="chosen", help="of a bundle's two engines")
    parser.add_argument("--image", metavar="FILE", help="end to end: decode this file, preprocess, run, softmax")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: as the engine was built)")
    parser.add_argument("--waiting", choices=("default", "passive"), default="default", help="of idle threads")
    return parser


def _prepared(arguments: argparse.Namespace) -> Prepared:
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


def _engine_only(arguments: argparse.Namespace) -> Tuple[Callable[[], Any], Engine]:
    """Host array in, host logits out."""
    runner, engine, _ = _opened(arguments)
    image = np.random.RandomState(0).rand(*runner.input_shape).astype(np.float32)
    return lambda: runner.run(image), engine


def _end_to_end(arguments: argparse.Namespace) -> Tuple[Callable[[], Any], Engine]:
    """Files in, probabilities or label maps out: what a call of what pomt_trt.load gives takes for one full batch."""
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


if __name__ == "__main__":
    sys.exit(main())
