"""Engines beside PyTorch eager, beside an oracle, and beside the bare session call.

  scripts/bench eager      the R = 0 engine beside plain timm eager (fused attention): at least 1.6 times faster
                           with 2 threads and passive waiting
  scripts/bench pruning    POMT's engine beside an oracle that removes as many tokens by a constant slice at the same
                           place: at most 5 % slower
  scripts/bench infer      a call of pomt_trt.infer's Classifier on a uint8 image in memory, beside the bare session
                           call on the prepared array: at most 5 % slower
  scripts/bench all        these three, as one markdown table

What is compared takes turns in one run. Intervals are 95 %. A bound holds ("yes") where the whole interval is on its
good side. Use a quiet machine: numbers of a busy one are printed as not quotable. Needs the workstation (torch, timm).
Weights are random: they do not change the time.
"""

import argparse
import contextlib
import datetime
import functools
import json
import os
import platform
import sys
import tempfile
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pomt_trt import __version__
from pomt_trt.core import errors, targets, timing_protocol
from pomt_trt.core.progress import Progress
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.core.storage import store
from pomt_trt.device.board import board
from pomt_trt.device.deploy.classifier import Classifier
from pomt_trt.device.engines import contract, engine
from pomt_trt.device.timing.turns import child_turns

REMOVED = (56, 98, 127)
EAGER_BOUND, PRUNING_BOUND, INFER_BOUND = 1.6, 1.05, 1.05
LAYER, IMAGES, BUILD_THREADS = 3, 4, 2


class Number(NamedTuple):
    """One line of the table. bound: None where the issue asks for none; at_least: which side of it is good."""

    what: str
    setting: child_turns.Setting
    ratio: child_turns.Ratio
    bound: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> str:
        """Whether the bound holds: yes, no, open (the interval spans it), or why that cannot be said."""
        low, high = self.ratio.ci
        if self.ratio.doubt:
            return f"not quotable: {self.ratio.doubt}"
        if self.bound is None:
            return ""
        good, bad = (low >= self.bound, high < self.bound) if self.at_least else (high <= self.bound, low > self.bound)
        return "yes" if good else "no" if bad else "open: the interval spans the bound"


def eager(options):
    """The R = 0 engine beside timm, for each number of threads and each kind of waiting."""
    path = engines(options.work, options.model, "pomt")[1]["r000"]
    size = store.read_record(beside(path), engine.Engine).record.input_shape[2]
    programs = {
        "engine": timed(path),
        "eager": ("pomt_trt.baselines.timm_eager", "--model", options.model, "--img-size", str(size)),
    }
    for waiting in options.waiting or ("passive", "default"):
        for threads in options.threads or (2, 1):
            setting = children(programs, [("eager", "engine")], threads, waiting, options)
            bound = EAGER_BOUND if (threads, waiting) == (2, "passive") else None
            yield Number("eager / engine, R = 0", setting, setting.ratios[0], bound, at_least=True)


def pruning(options):
    """POMT beside the oracle, one R after the other."""
    pomt, oracle = (engines(options.work, options.model, method)[1] for method in ("pomt", "oracle"))
    for waiting in options.waiting or ("passive",):
        for threads in options.threads or (2,):
            for removed in REMOVED:
                name = f"r{removed:03d}"
                programs = {"pomt": timed(pomt[name]), "oracle": timed(oracle[name])}
                setting = children(programs, [("pomt", "oracle")], threads, waiting, options)
                yield Number(f"POMT / oracle, R = {removed}", setting, setting.ratios[0], PRUNING_BOUND)


def infer(options):
    """Classifier beside its own session, in this process: one session, one pool, nothing else differs."""
    spec, paths = engines(options.work, options.model, "pomt")
    record = store.read_record(beside(paths["r000"]), engine.Engine).record
    pixels = np.random.RandomState(0).randint(0, 256, (1, *shape_of(spec)), np.uint8)
    for waiting in options.waiting or ("default",):
        for threads in options.threads or (2,):
            with engine.open_engine(record, os.path.dirname(paths["r000"]), threads, waiting) as runner:
                classifier = Classifier(types.SimpleNamespace(model=spec), runner)  # it reads no more of its manifest
                yield from infer_with(classifier, runner, pixels, threads, waiting, options)


def infer_with(classifier, runner, pixels, threads, waiting, options):
    """The numbers of one open engine."""
    batch, session = classifier.normalised(pixels), runner._session  # the bare call has no public way
    calls = {
        "session": lambda: session.run(["logits"], {"image": batch}),
        "logits": lambda: classifier.logits(batch),
        "classifier": lambda: classifier(pixels),
        "preprocessing": lambda: classifier.normalised(pixels),
    }
    members = [child_turns.Member(name, functools.partial(timing_protocol.burst, run)) for name, run in calls.items()]
    pairs = [("classifier", "session"), ("logits", "session"), ("preprocessing", "session")]
    setting = measured(members, pairs, threads, waiting, options)
    call, logits, preprocessing = setting.ratios
    yield Number("Classifier(uint8 image) / session call", setting, call, INFER_BOUND)
    yield Number("Classifier.logits(array) / session call", setting, logits, INFER_BOUND)
    yield Number("preprocessing alone / session call", setting, preprocessing)


def children(programs, pairs, threads, waiting, options):
    """A setting of processes."""
    with contextlib.ExitStack() as stack:
        members = [child_turns.started(stack, name, programs[name], threads, waiting) for name in programs]
        return measured(members, pairs, threads, waiting, options)


def measured(members, pairs, threads, waiting, options):
    """A setting, shown on stderr as soon as it is done."""
    rule = StoppingRule(max_s=options.max_seconds)
    with Progress("bench", 1) as bar:
        timed_setting = child_turns.setting(members, pairs, threads, waiting, rule, bar.show)
        bar.step()
    sys.stderr.write("\n".join(child_turns.lines(timed_setting)) + "\n")
    return timed_setting


@functools.cache
def engines(work, model, method):
    """(ModelSpec, {candidate id: engine file}) for R = 0 and REMOVED, built under `work`."""
    from pomt_trt.host.data import image_batches
    from pomt_trt.host.graphs import export
    from pomt_trt.host.models import loading

    register_oracle()
    sys.stderr.write(f"bench: exporting and building {model}, {method}\n")
    loaded, target = loading.load(model), targets.named("onnxruntime")
    spec, folder = loaded.spec, Path(work) / method
    plan = export.Plan(loaded.module, method, LAYER, 1, 0, target)
    grid = export.candidates(plan, spec.tokens, spec.depth, spec.prefix_tokens, (0, *REMOVED))
    graph_set = export.export(plan, grid, image_batches.load(None, spec, IMAGES, 0), folder)
    device, paths = board.device_spec("onnxruntime"), {}
    for candidate in grid:
        graph = folder / "onnx" / graph_set.form / f"{candidate.id}.onnx"
        path = str(folder / "engines" / f"{candidate.id}.engine")
        options = contract.BuildOptions(threads=BUILD_THREADS)
        store.write_record(beside(path), engine.build(str(graph), path, device, candidate.id, options))
        paths[candidate.id] = path
    return spec, paths


def register_oracle():
    """Registers the method `oracle`, which shows what removing tokens costs when choosing them costs nothing."""
    from pomt_trt.host import reducers

    class Oracle(reducers.Reducer):
        """Keeps the first tokens, a constant slice, at the place where POMT acts."""

        method = "oracle"
        default_layer = LAYER

        def reduce(self, tokens, signals):
            """Tokens with x (B, N, C) -> Tokens with x (B, tokens_out, C)."""
            return tokens._replace(x=tokens.x[:, : self.step.tokens_out])

    reducers.METHODS.setdefault("oracle", Oracle)


def timed(path):
    """The child that times this engine."""
    return ("pomt_trt.device.timing.turns.engine_child", path)


def beside(path):
    """An engine's record."""
    return os.path.splitext(path)[0] + ".json"


def shape_of(spec):
    """(height, width, channels) of an image."""
    return spec.preprocessing.height, spec.preprocessing.width, spec.preprocessing.channels


def table(numbers, model):
    """The numbers as markdown, with the machine and the versions that they belong to."""
    import timm
    import torch

    device = board.device_spec("onnxruntime")
    lines = [
        f"{model}, batch 1, fp32. {device.processor}, {device.cores} cores, {device.memory_bytes / 2**30:.0f} GiB; "
        f"pomt-trt {__version__}, onnxruntime {device.engine_version}, torch {torch.__version__}, "
        f"timm {timm.__version__}, Python {platform.python_version()}; {datetime.date.today().isoformat()}. Each line "
        "is one interleaved run.",
        "",
        "| number | threads | waiting | ms | ratio [95 %] | bound | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    for number in numbers:
        latency = {timing.name: timing.latency_ms for timing in number.setting.timings}
        ratio, side = number.ratio, ">=" if number.at_least else "<="
        cells = [
            number.what,
            str(number.setting.threads),
            number.setting.waiting,
            f"{latency[ratio.slower]:.3g} / {latency[ratio.faster]:.3g}",
            f"{ratio.value:.3f} [{ratio.ci[0]:.3f}, {ratio.ci[1]:.3f}]",
            "" if number.bound is None else f"{side} {number.bound}",
            number.holds,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


BENCHMARKS = {"eager": (eager,), "pruning": (pruning,), "infer": (infer,), "all": (eager, pruning, infer)}


def parse(argv):
    """The options; each subcommand takes the same."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS), help="what to measure")
    parser.add_argument("--model", default="deit_small_patch16_224", help="a timm name or digits (%(default)s)")
    parser.add_argument("--threads", type=numbers, metavar="N,N", help="(eager: 2,1; others: 2)")
    parser.add_argument("--waiting", type=waitings, metavar="W,W", help="passive, default (eager both; infer default)")
    parser.add_argument("--max-seconds", type=float, default=40, metavar="S", help="a comparison (%(default)s)")
    parser.add_argument("--work", metavar="DIR", help="folder for graphs and engines, kept (a temporary one, removed)")
    parser.add_argument("--json", action="store_true", help="every sample, instead of the table")
    return parser.parse_args(argv)


def numbers(text):
    """'2,1' -> (2, 1)."""
    return tuple(int(part) for part in text.split(","))


def waitings(text):
    """'passive,default' -> both names."""
    names = tuple(text.split(","))
    if set(names) - {"passive", "default"}:
        raise argparse.ArgumentTypeError(f"'{text}': passive, default, or both with a comma")
    return names


def main(argv):
    """Runs one benchmark; exit code 0 whatever the numbers are: it measures, tests judge."""
    options = parse(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="pomt-bench-") as temporary:
            options.work = options.work or temporary
            results = [number for benchmark in BENCHMARKS[options.benchmark] for number in benchmark(options)]
        print(json.dumps(store.to_json(results)) if options.json else table(results, options.model))
        return 0
    except errors.PomtError as error:
        sys.stderr.write(f"bench: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
