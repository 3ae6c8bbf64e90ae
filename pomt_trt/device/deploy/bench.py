"""A bundle's engines beside the PyTorch eager baseline, timed in turn: Bundle -> BenchResult, and its table."""

import contextlib
import datetime
import importlib.util
import os
import tempfile
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from pomt_trt.core.errors import InputError, MissingDependency, PomtError, UsageError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Bundle, DeviceSpec
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.core.targets import ENGINES
from pomt_trt.device.board.torch_wheels import advice
from pomt_trt.device.timing.turns import child_turns


class Baseline(NamedTuple):
    """A program that runs a bundle's model without an engine (see device/timing/__main__)."""

    module: str
    packages: Tuple[str, ...]  # that it needs
    engines: Tuple[str, ...]  # libraries of engines that run on the same processor as it does


# Name -> programs; the first one that can run here is used. On a workstation's CPU that is timm itself.
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
    """Latencies of a bundle here, and of what it replaces. All members of a setting were timed in turn."""

    bundle: str
    model: str
    chosen: str  # candidate id
    tokens: Tuple[int, int]  # before and after, of the chosen engine
    batch_size: int
    precision: str  # that the engines compute in
    device: DeviceSpec
    date: str
    image: str  # that the end-to-end member reads
    settings: Tuple[child_turns.Setting, ...]
    not_measured: Dict[str, str]  # name -> why


class Options(NamedTuple):
    """What to time. Each number of threads with each kind of waiting is one setting."""

    against: Sequence[str] = ("eager",)  # baselines, of BASELINES
    threads: Sequence[int] = (1, 2)
    waitings: Sequence[str] = WAITINGS
    image: Optional[str] = None  # file for the end-to-end member; None: the bundle's first golden input as a JPEG
    max_s: float = 40.0  # wall time of one setting, all members together; starting them comes on top


def bench(folder: str, options: Options = Options(), progress: Optional[Progress] = None) -> BenchResult:
    """Times the bundle's chosen and unreduced engine, the whole way from a file, and what they replace.

    Args:
        progress: one step a setting.
    Raises: InputError, CorruptArtifact, WrongDevice, MissingDependency of the engines; UsageError; PomtError if a
        process dies or hangs. A baseline that cannot start is no error: not_measured says why.
    """
    _check(options)
    run = _Bench(folder, open_bundle(folder), options, {})
    with tempfile.TemporaryDirectory(prefix="pomt-bench-") as temporary:
        image = options.image
        photo, described = (image, image) if image else _photo(folder, run.bundle, temporary)
        settings = []
        for threads, waiting in [(threads, waiting) for threads in options.threads for waiting in options.waitings]:
            settings.append(run.setting(photo, threads, waiting, progress))
            if progress:
                progress.step()
    return run.result(described, settings)


class _Bench(NamedTuple):
    """A bench that is going on."""

    folder: str
    bundle: Bundle
    options: Options
    not_measured: Dict[str, str]

    def setting(self, photo: str, threads: int, waiting: str, progress: Optional[Progress]) -> child_turns.Setting:
        """All members beside one another, each in a process of its own."""
        rule, told = StoppingRule(max_s=self.options.max_s), progress.show if progress else lambda text: None
        with contextlib.ExitStack() as stack:
            programs = self.programs(photo)
            members = [child_turns.started(stack, name, programs[name], threads, waiting) for name in programs]
            members += self._baselines(stack, threads, waiting)
            return child_turns.setting(members, PAIRS, threads, waiting, rule, told)

    def programs(self, photo: str) -> Dict[str, Tuple[str, ...]]:
        """What times the engines; if R = 0 was chosen, there is no other."""
        timed = ("pomt_trt.device.timing.turns.engine_child", self.folder)
        programs: Dict[str, Tuple[str, ...]] = {"chosen": timed}
        if self.bundle.engine.file != self.bundle.unreduced_engine.file:
            programs["unreduced"] = (*timed, "--which", "unreduced")
        return dict(programs, **{"end-to-end": (*timed, "--image", photo)})

    def _baselines(self, stack: contextlib.ExitStack, threads: int, waiting: str) -> List[child_turns.Member]:
        """The baselines that start; one that does not goes into not_measured, and is not tried again."""
        members = []
        for name in (name for name in self.options.against if name not in self.not_measured):
            try:
                program = (_program(name, self.bundle.engine.device.engine), "--bundle", self.folder)
                members.append(child_turns.started(stack, name, program, threads, waiting))
            except PomtError as error:
                self.not_measured[name] = str(error)
        return members

    def result(self, image: str, settings: Sequence[child_turns.Setting]) -> BenchResult:
        """Everything that was timed. `image` says what the end-to-end member reads."""
        bundle = self.bundle
        schedule = bundle.candidate.schedule
        return BenchResult(
            bundle=self.folder,
            model=bundle.model.name,
            chosen=bundle.candidate.id,
            tokens=(schedule.tokens_before, schedule.tokens_after),
            batch_size=bundle.candidate.batch_size,
            precision=bundle.engine.precision,
            device=bundle.engine.device,
            date=datetime.date.today().isoformat(),
            image=image,
            settings=tuple(settings),
            not_measured=self.not_measured,
        )


def _check(options: Options) -> None:
    for what, given, choices in (
        ("baseline", options.against, sorted(BASELINES)),
        ("waiting", options.waitings, WAITINGS),
    ):
        for name in given:
            if name not in choices:
                raise UsageError("there is no {} '{}'. Choose of: {}.".format(what, name, ", ".join(choices)))
    if not options.threads or not options.waitings or min(options.threads) < 1:
        raise UsageError(
            "threads {} and waitings {} make no setting. Give at least one of each, and 1 thread or more.".format(
                list(options.threads), list(options.waitings)
            )
        )


def _program(name: str, engine: str) -> str:
    """The module that runs a baseline here. Raises MissingDependency if none can."""
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
        "{0.model}, batch {0.batch_size}: {0.chosen} ({0.tokens[1]} of {0.tokens[0]} tokens left) on {0.device.engine} "
        "{0.device.engine_version}".format(result),
        "{0.device.processor}, {0.device.cores} cores, {0.date}; each setting is one interleaved run; ms with 95 % "
        "intervals".format(result),
    ]
    for setting in result.settings:
        lines += [""] + child_turns.lines(setting)
    lines += [""] + _of_eager(result)
    lines += ["end-to-end: decode, preprocess, chosen engine, softmax; reads {}".format(result.image)]
    lines += ["{}: not measured: {}".format(name, reason) for name, reason in sorted(result.not_measured.items())]
    return "\n".join(lines)


def _of_eager(result: BenchResult) -> List[str]:
    """What the eager baseline says of itself; nothing if there was none."""
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
