"""Everything that compile takes, with its defaults: the same words in Python and on the command line.

Makes Options from keywords, on any machine. Leaves out what the stages do with them.
"""

import math
import os
from typing import List, NamedTuple, Optional

from pomt_trt.core import cpus
from pomt_trt.core.choice.rules import MIN_GAIN, RULES
from pomt_trt.core.data.class_order import CLASS_ORDER_WITHOUT_DATA, NATURAL, STRING
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import Request
from pomt_trt.core.schedules.schedule import parse_range
from pomt_trt.core.storage import learned, store
from pomt_trt.core.targets import ENGINES, PRECISIONS, named
from pomt_trt.device.engines.tensorrt import plugin_files
from pomt_trt.device.timing.engine_records import Settings

SEARCHES = ("adaptive", "exhaustive")
SCHEDULES = ("even", "search")
PLUGIN = ("auto", "on", "off")


WAITING = ("default", "passive")
FEWEST_FRAMES = 12  # in the time of one candidate: three visits of three counted runs, below which noise is not seen


class Choice(NamedTuple):
    """How the winner is chosen."""

    rule: str
    alpha: float
    max_accuracy_drop: float  # fraction
    max_latency_ms: Optional[float]
    min_gain: float  # fraction of the latency of R = 0


class Budget(NamedTuple):
    """How much may be measured."""

    search: str = "exhaustive"  # or exhaustive
    max_builds: Optional[int] = None
    max_time_s: Optional[float] = None


class Options(NamedTuple):
    """What to compile, where, for which target, how to time, and how to choose."""

    request: Request
    work: str
    tokens: Optional[str]  # START:STOP:STEP; None: every count down to a quarter
    target: str
    precision: str  # that engines compute in
    plugin: bool  # whether plugins' nodes remove tokens in the graphs
    engine: str  # auto: what is here, see device/engines/registry.chosen
    settings: Settings
    choice: Choice
    budget: Budget
    keep_engines: bool
    schedule: str = "even"  # or search: over many layers, besides
    energy: bool = False  # measure that of a run of the unreduced model and of the winner


def make(
    model: str,
    work: str,
    *,
    data: Optional[str] = None,
    class_order: Optional[str] = None,
    checkpoint: Optional[str] = None,
    pretrained: bool = False,
    head: Optional[str] = None,
    labels: Optional[str] = None,
    img_size: Optional[int] = None,
    method: str = "pomt",
    layer: Optional[int] = None,
    batch_size: int = 1,
    samples: int = 1000,
    seed: int = 0,
    tokens: Optional[str] = None,
    target: str = "onnxruntime",
    precision: Optional[str] = None,
    engine: str = "auto",
    threads: Optional[int] = None,
    waiting: str = "default",
    max_seconds: float = 0.75,
    pace: Optional[float] = None,
    cuda_graph: str = "on",
    plugin: str = "auto",
    plugin_library: Optional[str] = None,
    rule: str = "step",
    alpha: float = 0.5,
    max_accuracy_drop: float = 1.0,
    max_latency: Optional[float] = None,
    min_gain: float = 100 * MIN_GAIN,
    search: str = "exhaustive",
    max_builds: Optional[int] = None,
    max_time: Optional[float] = None,
    keep_engines: bool = False,
    schedule: str = "even",
    energy: bool = False,
) -> Options:
    """Checked Options from the flags of `pomt-trt compile`.

    Args:
        class_order: how names of classes in the data become the model's classes: natural, string, or a file with a
            name a line; None: as the names say, see core/data/class_order.
        max_accuracy_drop: points (1.0 is one per cent of the images).
        max_latency: ms.
        min_gain: per cent of the latency of R = 0.
        threads: None: as many as this process may use, see core/cpus.
        max_seconds: timing of one candidate at most.
        cuda_graph: on (where TensorRT can be captured) or off.
        plugin: on: graphs in which plugins' nodes remove tokens, and TensorRT engines with the plugin; off: neither;
            auto: graphs without them, and engines of whatever graphs are there (see
            device/engines/tensorrt/plugin_files.forms).
        plugin_library: libpomt_plugins.so; None: the one in plugins/build, if it is there.
        pace: frames per second at which runs begin, as a camera makes them, idle in between; None: back to back.
        search: exhaustive (all engines, which is quick where they build in a moment) or adaptive (few).
        schedule: even (the method's own: in one block, or evenly over all) or search (also schedules over many blocks,
            from this device's block latencies; on one machine that is workstation and device).
        energy: measure what a run of the unreduced model and of the winner costs, on a board that has power sensors.
        max_builds: engines of the method's own schedules at most.
        max_time: minutes of searching at most.
    Raises: UsageError or InputError for what cannot be, before any work is done.
    """
    _check(batch_size >= 1, "--batch-size is {}; it must be 1 or more.".format(batch_size))
    _check(samples >= 1, "--samples is {}; it must be 1 or more.".format(samples))
    _check(not (checkpoint and pretrained), "--checkpoint and --pretrained exclude each other. Give one.")
    _check(
        precision in (None,) + PRECISIONS,
        "--precision is '{}'; give {}.".format(precision, " or ".join(PRECISIONS)),
    )
    named(target).check(precision or "fp32")
    engines = ("auto",) + ENGINES
    _check(engine in engines, "engine '{}' is not known. Choose one of: {}.".format(engine, ", ".join(engines)))
    _check(schedule in SCHEDULES, "--schedule is '{}'; give {}.".format(schedule, " or ".join(SCHEDULES)))
    _check(data is not None or class_order is None, CLASS_ORDER_WITHOUT_DATA)
    if tokens is not None:
        parse_range(tokens)
    model = _absolute_local_dir(model)
    learned_file = learned.file_of(model, method)
    if class_order not in (None, NATURAL, STRING):
        class_order = _existing(class_order, "--class-order")
    request = Request(
        model=model,
        checkpoint=_existing(checkpoint, "--checkpoint"),
        checkpoint_sha256=store.sha256_of(checkpoint) if checkpoint else None,
        pretrained=pretrained,
        head=_existing(head, "--head"),
        labels=_existing(labels, "--labels"),
        image_size=img_size,
        method=method,
        layer=layer,
        batch_size=batch_size,
        data=_existing(data, "--data", folder=True),
        samples=samples,
        seed=seed,
        learned_sha256=store.sha256_of(learned_file) if learned_file else None,
        class_order=class_order,
        class_order_sha256=store.sha256_of(class_order) if class_order and os.path.isabs(class_order) else None,
    )
    return Options(
        request=request,
        work=work,
        tokens=tokens,
        target=target,
        precision=precision or "fp32",
        plugin=plugin == "on",
        engine=engine,
        settings=settings(threads, waiting, max_seconds, pace, cuda_graph, plugin, plugin_library),
        choice=choice(rule, alpha, max_accuracy_drop, max_latency, min_gain),
        budget=budget(search, max_builds, max_time),
        keep_engines=keep_engines,
        schedule=schedule,
        energy=energy,
    )


def settings(
    threads: Optional[int],
    waiting: str,
    max_seconds: float,
    pace: Optional[float] = None,
    cuda_graph: str = "on",
    plugin: str = "auto",
    plugin_library: Optional[str] = None,
) -> Settings:
    """How to build and time; see make. Raises: UsageError."""
    _check(threads is None or threads >= 1, "--threads is {}; it must be 1 or more.".format(threads))
    _check(waiting in WAITING, "waiting '{}' is not known. Choose one of: {}.".format(waiting, ", ".join(WAITING)))
    _check(0 < max_seconds < math.inf, "--max-seconds is {}; it must be more than 0.".format(max_seconds))
    if pace is not None:
        _check_pace(pace, max_seconds)
    _check(cuda_graph in ("on", "off"), "--cuda-graph is '{}'; give on or off.".format(cuda_graph))
    _check(plugin in PLUGIN, "--plugin is '{}'; give {}.".format(plugin, ", ".join(PLUGIN)))
    library = plugin_files.found(_existing(plugin_library, "--plugin-library"))
    return Settings(threads or cpus.usable().threads, waiting, max_seconds, pace, cuda_graph == "on", plugin, library)


def _check_pace(pace: float, max_seconds: float) -> None:
    _check(0.001 <= pace < math.inf, "--pace is {}; it must be 0.001 frames per second or more.".format(pace))
    _check(
        pace * max_seconds >= FEWEST_FRAMES,
        "--pace {:g} makes fewer than {} runs in --max-seconds {:g}. Give --max-seconds {:g} or more.".format(
            pace, FEWEST_FRAMES, max_seconds, math.ceil(10 * FEWEST_FRAMES / pace) / 10
        ),
    )


def choice(rule: str, alpha: float, max_accuracy_drop: float, max_latency: Optional[float], min_gain: float) -> Choice:
    """How to choose; see make. Raises: UsageError."""
    _check(rule in RULES, "rule '{}' is not known. Choose one of: {}.".format(rule, ", ".join(RULES)))
    _check(0 <= alpha <= 1, "--alpha is {}; it must lie between 0 and 1.".format(alpha))
    _check(max_accuracy_drop >= 0, "--max-accuracy-drop is {}; it must be 0 or more.".format(max_accuracy_drop))
    _check(max_latency is None or max_latency > 0, "--max-latency is {}; it must be more than 0.".format(max_latency))
    _check(0 <= min_gain < 100, "--min-gain is {}; it must lie between 0 and 100.".format(min_gain))
    return Choice(rule, alpha, max_accuracy_drop / 100, max_latency, min_gain / 100)


def budget(search: str, max_builds: Optional[int], max_time: Optional[float]) -> Budget:
    """How much to measure; see make. Raises: UsageError."""
    _check(search in SEARCHES, "--search is '{}'; give {}.".format(search, " or ".join(SEARCHES)))
    _check(max_builds is None or max_builds >= 1, "--max-builds is {}; it must be 1 or more.".format(max_builds))
    _check(max_time is None or max_time > 0, "--max-time is {}; it must be more than 0 minutes.".format(max_time))
    return Budget(search, max_builds, None if max_time is None else 60 * max_time)


def bench_threads(text: Optional[str]) -> List[int]:
    """'1,2' -> [1, 2]; None: 1 and 2, as far as this process may use them. Raises: UsageError."""
    if text is None:
        return [1, 2][: cpus.usable().threads]
    parts = text.split(",")
    _check(
        all(part.strip().isdecimal() and int(part) > 0 for part in parts), "--threads is '{}'; give 1,2.".format(text)
    )
    return [int(part) for part in parts]


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(message)


def _existing(path: Optional[str], flag: str, folder: bool = False) -> Optional[str]:
    if path is None:
        return None
    if not os.path.exists(path) or (os.path.isdir(path) and not folder):
        kind = "file or folder" if folder else "file"
        raise InputError("{} {} is no {} here. Check the path.".format(flag, path, kind))
    return os.path.abspath(path)


def _absolute_local_dir(model: str) -> str:
    kind, _, path = model.partition(":")
    return "local-dir:" + os.path.abspath(path) if kind == "local-dir" else model
