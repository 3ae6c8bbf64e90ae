"""A bundle's engines beside the PyTorch eager baseline, all in one interleaved run -> BenchResult and its table.

On the machine that runs engines; eager runs where torch is installed beside it, in a process of its own. Leaves out how
rounds alternate (interleaved_timing.py), and engines that are in no bundle.
"""

import contextlib
import datetime
import importlib.util
import os
import sys
import tempfile
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from pomt_trt.core.errors import InputError, MissingDependency, PomtError, UsageError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Bundle, DeviceSpec
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.core.targets import ENGINES
from pomt_trt.device.board.torch_wheels import advice
from pomt_trt.device.timing import interleaved_timing


class Baseline(NamedTuple):
    """A program that runs a bundle's model without an engine."""

    module: str
    packages: Tuple[str, ...]  # that it needs
    engines: Tuple[str, ...]  # libraries of engines that run on the same processor as it does


# Name -> programs; the first one that can run here does. On a workstation's CPU that is timm itself.
BASELINES: Dict[str, Tuple[Baseline, ...]] = {
    "eager": (
        Baseline("pomt_trt.baselines.timm_eager", ("torch", "timm"), ("onnxruntime",)),
        Baseline("pomt_trt.baselines.board_eager", ("torch",), ENGINES),
    )
}
WAITINGS = ("default", "passive")
PAIRS = (("eager", "chosen"), ("eager", "unreduced"), ("unreduced", "chosen"))
PHOTO_PX = (500, 375)  # width, height of most pictures in ImageNet


class BenchResult(NamedTuple):
    """What a bundle costs here, beside what it replaces. Everything in a setting was timed in turn, in one run."""

    bundle: str
    model: str
    chosen: str  # candidate id
    tokens: Tuple[int, int]  # before and after, of the chosen engine
    batch_size: int
    precision: str  # that the engines compute in
    device: DeviceSpec
    date: str
    image: str  # what the end-to-end member reads
    settings: Tuple[interleaved_timing.Setting, ...]
    not_measured: Dict[str, str]  # name -> why


def bench(
    folder: str,
    *,
    against: Sequence[str] = ("eager",),
    threads: Sequence[int] = (1, 2),
    waitings: Sequence[str] = WAITINGS,
    image: Optional[str] = None,
    max_s: float = 40.0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Optional[Progress] = None,
) -> BenchResult:
    """Times the bundle's chosen and unreduced engine, the whole way from a file, and what they replace.

    Args:
        against: baselines, of BASELINES.
        threads, waitings: each with each is one setting.
        image: file for the end-to-end member; None: a picture of 500 x 375 made of the bundle's first golden input.
        max_s: wall time of one setting, all members together; starting them comes on top.
        progress: one step a setting.
    Raises: InputError, CorruptArtifact, WrongDevice, MissingDependency of the engines; UsageError; PomtError where a
        process dies or hangs. A baseline that cannot start is no error: not_measured says why.
    """
    _check(against, threads, waitings)
    bundle, rule = open_bundle(folder), StoppingRule(max_s=max_s)
    not_measured: Dict[str, str] = {}
    settings = []
    with tempfile.TemporaryDirectory(prefix="pomt-bench-") as temporary:
        photo, described = (image, image) if image else _photo(folder, bundle, temporary)
        commands = _engines(folder, bundle, photo)
        for count, waiting in [(count, waiting) for count in threads for waiting in waitings]:
            with contextlib.ExitStack() as stack:
                members = [interleaved_timing.started(stack, name, commands[name], count, waiting) for name in commands]
                members += _baselines(stack, folder, bundle, against, count, waiting, not_measured)
                settings.append(
                    interleaved_timing.setting(
                        members,
                        PAIRS,
                        threads=count,
                        waiting=waiting,
                        rule=rule,
                        clock=clock,
                        progress=progress.show if progress else lambda text: None,
                    )
                )
            if progress:
                progress.step()
    return _result(folder, bundle, described, settings, not_measured)


def _result(
    folder: str,
    bundle: Bundle,
    image: str,
    settings: List[interleaved_timing.Setting],
    not_measured: Dict[str, str],
) -> BenchResult:
    schedule = bundle.candidate.schedule
    return BenchResult(
        bundle=folder,
        model=bundle.model.name,
        chosen=bundle.candidate.id,
        tokens=(schedule.tokens_before, schedule.tokens_after),
        batch_size=bundle.candidate.batch_size,
        precision=bundle.engine.precision,
        device=bundle.engine.device,
        date=datetime.date.today().isoformat(),
        image=image,
        settings=tuple(settings),
        not_measured=not_measured,
    )


def _check(against: Sequence[str], threads: Sequence[int], waitings: Sequence[str]) -> None:
    for what, given, known in (("baseline", against, sorted(BASELINES)), ("waiting", waitings, WAITINGS)):
        for name in given:
            if name not in known:
                raise UsageError("there is no {} '{}'. Choose of: {}.".format(what, name, ", ".join(known)))
    if not threads or not waitings or min(threads) < 1:
        raise UsageError(
            "threads {} and waitings {} make no setting. Give at least one of each, and 1 thread or more.".format(
                list(threads), list(waitings)
            )
        )


def _engines(folder: str, bundle: Bundle, photo: str) -> Dict[str, List[str]]:
    """The commands that time engines; where R = 0 was chosen, there is no other."""
    timed = [sys.executable, "-m", "pomt_trt.device.timing.engine_process", folder]
    commands = {"chosen": timed}
    if bundle.engine.file != bundle.unreduced_engine.file:
        commands["unreduced"] = timed + ["--which", "unreduced"]
    return dict(commands, **{"end-to-end": timed + ["--image", photo]})


def _baselines(
    stack: contextlib.ExitStack,
    folder: str,
    bundle: Bundle,
    against: Sequence[str],
    threads: int,
    waiting: str,
    not_measured: Dict[str, str],
) -> List[interleaved_timing.Member]:
    """The baselines that can be had; what cannot goes into not_measured, and is not tried again."""
    members = []
    for name in (name for name in against if name not in not_measured):
        try:
            command = [sys.executable, "-m", _program(name, bundle.engine.device.engine), "--bundle", folder]
            members.append(interleaved_timing.started(stack, name, command, threads, waiting))
        except PomtError as error:
            not_measured[name] = str(error)
    return members


def _program(name: str, engine: str) -> str:
    """The module that runs a baseline here. Raises MissingDependency where none can."""
    lacking: List[str] = []
    for baseline in (one for one in BASELINES[name] if engine in one.engines):
        lacking = [package for package in baseline.packages if importlib.util.find_spec(package) is None]
        if not lacking:
            return baseline.module
    raise MissingDependency(
        "{} {} not installed here. Install with: {}".format(
            " and ".join(lacking), "is" if len(lacking) == 1 else "are", advice()
        )
    )


def _photo(folder: str, bundle: Bundle, temporary: str) -> Tuple[str, str]:
    """A JPEG file of the usual size, and what it is."""
    if "golden.npz" not in bundle.files:
        raise InputError("{} holds no golden.npz to make a picture of. Give one: --image FILE.".format(folder))
    with np.load(os.path.join(folder, "golden.npz"), allow_pickle=False) as golden:
        pixels = golden["pixels"][0]  # (H, W, C)
    path = os.path.join(temporary, "golden.jpg")
    Image.fromarray(pixels.squeeze()).resize(PHOTO_PX).save(path, quality=90)
    return path, "the first golden input as a JPEG of {} x {}".format(*PHOTO_PX)


def table(result: BenchResult) -> str:
    """The result for people."""
    lines = [
        "{}, batch {}: {} ({} of {} tokens left) on {} {}".format(
            result.model,
            result.batch_size,
            result.chosen,
            result.tokens[1],
            result.tokens[0],
            result.device.engine,
            result.device.engine_version,
        ),
        "{}, {} cores, {}; each setting is one interleaved run; ms with 95 % intervals".format(
            result.device.processor, result.device.cores, result.date
        ),
    ]
    for setting in result.settings:
        lines += [""] + interleaved_timing.lines(setting)
    lines += [""] + _of_eager(result)
    lines += ["end-to-end: decode, preprocess, chosen engine, softmax; reads {}".format(result.image)]
    lines += ["{}: not measured: {}".format(name, reason) for name, reason in sorted(result.not_measured.items())]
    return "\n".join(lines)


def _of_eager(result: BenchResult) -> List[str]:
    """What the eager baseline was, by its own account; nothing where there was none."""
    abouts = [timing.about for setting in result.settings for timing in setting.timings if timing.name == "eager"]
    return [
        "eager: torch {} on {}, {}, {} attention; the engines are {}".format(
            about.get("torch"),
            about.get("device"),
            about.get("dtype"),
            "fused" if about.get("fused_attention") else "plain",
            result.precision,
        )
        for about in abouts[:1]
    ]
