"""What the stages take: the checked flags of `pomt-trt compile`, which are those of pomt_trt.compile_model.

core/flags/table says what each flag is; here are the checks that concern several flags at once.
"""

import math
import os
from typing import Any, Dict, Mapping, NamedTuple, Optional

from pomt_trt.core import cpus
from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.data.class_order import CLASS_ORDER_WITHOUT_DATA
from pomt_trt.core.errors import UsageError
from pomt_trt.core.flags import flag, table
from pomt_trt.core.records import Request
from pomt_trt.core.storage import learned, store
from pomt_trt.core.storage.shards import sha256_of_weights
from pomt_trt.core.targets import named
from pomt_trt.device.engines.tensorrt import plugin_files
from pomt_trt.device.timing.worker_protocol import Settings

FEWEST_FRAMES = 12  # in the time of one candidate: three bursts of three counted runs, or the noise cannot be estimated


class Budget(NamedTuple):
    """How much may be measured."""

    search: str = "exhaustive"  # or adaptive
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
    choice: Goal
    budget: Budget
    keep_engines: bool
    schedule: str = "even"  # or search: over many blocks, besides
    energy: bool = False  # measure that of a run of the unreduced model and of the winner


def make(model: str, work: str, **flags: Any) -> Options:
    """Checked Options.

    Args:
        **flags: those of `pomt-trt compile` by their Python names, in the units of its --help.
    Raises: TypeError for a flag that does not exist; UsageError or InputError for a value that is not allowed.
    """
    unknown = set(flags) - {one.key for one in flag.flags_of(table.COMPILE)}
    if unknown:
        raise TypeError("compile_model() got an unexpected keyword argument '{}'".format(min(unknown)))
    values = flag.checked((table.MODEL, *table.COMPILE), dict(flags, model=model))
    named(values["target"]).check(values["precision"] or "fp32")
    same = {name: values[name] for name in Options._fields if name in values}
    return Options(
        request=_request(values),
        work=work,
        settings=settings(values),
        choice=choice(values),
        budget=budget(values),
        **dict(same, precision=values["precision"] or "fp32", plugin=values["plugin"] == "on"),
    )


def _request(values: Dict[str, Any]) -> Request:
    """What is compiled, with a hash of each file that its result depends on."""
    if values["checkpoint"] and values["pretrained"]:
        raise UsageError("--checkpoint and --pretrained exclude each other. Give one.")
    if values["ema"] != "auto" and not values["checkpoint"]:
        raise UsageError("--ema {} is given without --checkpoint. Give both, or neither.".format(values["ema"]))
    if values["class_order"] is not None and values["data"] is None:
        raise UsageError(CLASS_ORDER_WITHOUT_DATA)
    order, learned_file = values["class_order"], learned.file_of(values["model"], values["method"])
    same = {name: values[name] for name in Request._fields if name in values}
    height, width = values["img_size"] or (None, None)
    return Request(
        image_size=height,
        image_width=None if width == height else width,
        checkpoint_sha256=sha256_of_weights(values["checkpoint"]) if values["checkpoint"] else None,
        learned_sha256=_sha256(learned_file),
        class_order_sha256=_sha256(order if order and os.path.isabs(order) else None),
        **same,
    )


def _sha256(path: Optional[str]) -> Optional[str]:
    return store.sha256_of(path) if path else None


def settings(given: Mapping[str, Any]) -> Settings:
    """How to build and time, by the flags of table.ENGINE and --plugin.

    Raises: UsageError, InputError.
    """
    values = flag.checked((table.ENGINE, table.PLUGIN), given)
    _check_pace(values["pace"], values["max_seconds"])
    return Settings(
        threads=values["threads"] or cpus.usable().threads,
        waiting=values["waiting"],
        max_s=values["max_seconds"],
        pace_fps=values["pace"],
        cuda_graph=values["cuda_graph"] == "on",
        plugin=values["plugin"],
        plugin_library=plugin_files.found(values["plugin_library"]),
    )


def _check_pace(pace: Optional[float], max_seconds: float) -> None:
    if pace is not None and pace * max_seconds < FEWEST_FRAMES:
        raise UsageError(
            "--pace {:g} makes fewer than {} runs in --max-seconds {:g}. Give --max-seconds {:g} or more.".format(
                pace, FEWEST_FRAMES, max_seconds, math.ceil(10 * FEWEST_FRAMES / pace) / 10
            )
        )


def choice(given: Mapping[str, Any]) -> Goal:
    """The goal of the choice, by the flags of table.CHOICE. Raises: UsageError."""
    values = flag.checked((table.CHOICE,), given)
    return Goal(
        values["rule"],
        values["alpha"],
        values["max_accuracy_drop"] / 100,
        values["max_latency"],
        values["min_gain"] / 100,
    )


def budget(given: Mapping[str, Any]) -> Budget:
    """How much to measure, by the flags of table.SEARCH. Raises: UsageError."""
    values = flag.checked((table.SEARCH,), given)
    minutes = values["max_time"]
    return Budget(values["search"], values["max_builds"], None if minutes is None else 60 * minutes)
