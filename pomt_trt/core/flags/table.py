"""The table of flags: name, help, type, default, choices and check of each, in the groups that `--help` shows.

COMPILE is what `pomt-trt compile` and pomt_trt.compile_model take. Each flag's help says its unit.
"""

import os
from typing import Any, List, Optional, Tuple

from pomt_trt.core.choice.comparison import METHODS
from pomt_trt.core.choice.rules import MIN_GAIN, RULES
from pomt_trt.core.errors import UsageError
from pomt_trt.core.flags.deployment import THREADS, WAITINGS
from pomt_trt.core.flags.flag import (
    Flag,
    Group,
    at_least,
    between,
    existing_file,
    existing_path,
    more_than_0,
    names,
    whole_numbers,
)
from pomt_trt.core.targets import ENGINES, PRECISIONS, TARGETS

EXIF = "EXIF orientation is ignored, as timm ignores it"
AUTO_ON_OFF = ("auto", "on", "off")


def _absolute_model(name: str, model: str) -> str:
    """local-dir:PATH with an absolute path; another name as it is."""
    kind, _, path = model.partition(":")
    return "local-dir:" + os.path.abspath(path) if kind == "local-dir" else model


def _image_size(name: str, given: Any) -> Tuple[int, int]:
    """224 or '224' -> (224, 224); '64x128' -> (64, 128): height, width. What was checked before stays as it is."""
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(side, int) for side in given):
        return given
    parts = str(given).lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise UsageError("{} is '{}'; give pixels, such as 224, or height x width, such as 64x128.".format(name, given))
    return int(parts[0]), int(parts[-1])


def _token_range(name: str, text: str) -> str:
    from pomt_trt.core.schedules.schedule import parse_range  # here, since each import makes the start slower

    parse_range(text)
    return text


def _class_order(name: str, order: str) -> str:
    from pomt_trt.core.data.class_order import NATURAL, STRING

    return order if order in (NATURAL, STRING) else existing_file(name, order)


def _candidates(name: str, text: str) -> Optional[List[str]]:
    return names(name, text) if text else None


def _baselines(name: str, text: str) -> List[str]:
    return [] if text == "none" else names(name, text)


MODEL = Flag("model", "a timm name, local-dir:PATH, digits or scenes (bundled)", "MODEL", check=_absolute_model)
WORK = Flag("--work", "folder for all results; the same command continues an interrupted run", "DIR", required=True)
WORK_FOLDER = Flag("work", "folder that export or compile made", "WORK")
SOURCE = Flag("source", "folder that compile, bundle or profile made", "BUNDLE|WORK")
CURVE = Flag("curve", "curve that `pomt-trt report` wrote; .gz too", "CURVE.json")
ARCHIVE = Flag("archive", "the .tar.gz that jetson/field_kit made", "ARCHIVE")
ONLY = Flag("--only", "candidates such as r056,r098; R = 0 is always added", "IDS", absent="all", check=_candidates)
AGAINST = Flag("--against", "baselines to time as well, or none", "LIST", default="eager", check=_baselines)
KIT_FOLDER = Flag("--out", "folder of the kit; the same command continues an interrupted run", "DIR", required=True)
BOARDS = tuple(name for name in TARGETS if name != "onnxruntime")
BOARD = Flag("--target", "the board's JetPack: " + ", ".join(BOARDS), "T", choices=BOARDS, required=True)
KEEP_ENGINES = Flag("--keep-engines", "keep the engine files that no rule chooses", type=bool, default=False)
ENERGY = Flag(
    "--energy",
    "measure the energy of a run on a board with power sensors, 8 s an engine (compile: the winner and R = 0)",
    type=bool,
    default=False,
)
GPU = Flag(
    "--gpu",
    "tensorrt-rtx: build ahead of time, without a GPU, for portable (compute capability 8.0 and later) or one of 7.5, "
    "8.6, 8.9, 12.0, 12.1",
    "CC",
    absent="the GPU here, or portable where there is none",
)
TOKENS = Flag(
    "--tokens",
    "token counts to try, such as 196:96:4; R = 0 always",
    "START:STOP:STEP",
    absent="every count down to a quarter",
    check=_token_range,
)
PRECISION = Flag(
    "--precision", "what engines compute in", choices=PRECISIONS, absent="fp32; of a WORK folder, what it holds"
)
PLUGIN = Flag(
    "--plugin",
    "remove tokens by TensorRT plugins; auto: not in export, and in engines where such graphs and the library exist",
    default="auto",
    choices=AUTO_ON_OFF,
)
CANDIDATES = Group("candidates", (TOKENS, PRECISION, PLUGIN))

CHECKPOINT = Flag(
    "--checkpoint",
    "weights: .safetensors, .pth without code in it, or the .index.json of shards",
    "FILE",
    check=existing_file,
)
EMA = Flag(
    "--ema",
    "of a checkpoint with both, read the averaged weights (EMA, teacher), or not; auto: where there are some",
    default="auto",
    choices=AUTO_ON_OFF,
)
PRETRAINED = Flag("--pretrained", "timm's own weights, from its hub", type=bool, default=False)
IMG_SIZE = Flag("--img-size", "input in pixels: PX, or HxW", "PX", absent="the model's own", check=_image_size)
LABELS = Flag("--labels", "names of the classes, one a line", "FILE", check=existing_file)
HEAD = Flag("--head", "DINOv2's official linear head", "FILE", check=existing_file)
TASKS = ("auto", "classification", "features", "binary", "multilabel", "regression")
TASK = Flag(
    "--task",
    "what outputs mean: one of several classes, features (a head is taken off), a probability of one label or of each "
    "(sigmoid), or values; auto: by configuration and number of outputs",
    default="auto",
    choices=TASKS,
)
WEIGHTS = Group("model", (CHECKPOINT, EMA, PRETRAINED, IMG_SIZE, LABELS, HEAD, TASK))

METHOD = Group(
    "method",
    (
        Flag("--method", "pomt, pomt-shift, topk, tome, ltmp, cropr, random or none", "M", default="pomt"),
        Flag("--layer", "block in which tokens are removed", "L", int, absent="3 for pomt"),
    ),
)
COMPARED_METHODS = Flag("--methods", "methods to compare", "LIST", default=",".join(METHODS), check=names)

CLASS_ORDER = Flag(
    "--class-order",
    "order of class names in the data: natural (c1 c2 c10, as timm), string (c1 c10 c2, as torchvision), or a FILE "
    "with a name a line in the model's order",
    "ORDER",
    absent="by label names, wnids or class numbers, else natural",
    check=_class_order,
)
TURN = Flag(
    "--exif", "turn pictures by their EXIF orientation, here and in the bundle; timm does not", type=bool, default=False
)
SAMPLES = Flag("--samples", "most images to use", "N", int, 1000, check=at_least(1))
SEED = Flag("--seed", "seed of all random draws", "N", int, 0)
EXPERIMENT = Group(
    "images and target",
    (
        Flag("--batch-size", "images in one call", "B", int, 1, check=at_least(1)),
        Flag(
            "--data",
            "images: class folders, a CSV, images/ and labels/, or no labels; " + EXIF + ", unless --exif",
            "DIR",
            check=existing_path,
        ),
        CLASS_ORDER,
        TURN,
        SAMPLES,
        SEED,
        Flag("--target", "what reads the graphs: " + ", ".join(TARGETS), "T", default="onnxruntime"),
    ),
)

ENGINE = Group(
    "engine and timing",
    (
        Flag("--engine", "library that runs engines", default="auto", choices=("auto",) + ENGINES),
        THREADS,
        Flag("--waiting", "passive: idle threads sleep", default="default", choices=WAITINGS),
        Flag("--max-seconds", "most seconds to time a candidate", "S", float, 0.75, check=more_than_0(finite=True)),
        Flag("--cuda-graph", "TensorRT: launch a run as one CUDA graph", default="on", choices=("on", "off")),
        Flag("--plugin-library", "libpomt_plugins.so", "FILE", absent="the one in plugins/build", check=existing_file),
        Flag(
            "--pace",
            "frames per second at which runs begin, as from a camera",
            "FPS",
            float,
            absent="back to back",
            check=at_least(0.001, " frames per second", finite=True),
        ),
    ),
)

CHOICE = Group(
    "choice",
    (
        Flag("--rule", "how the winner is chosen", default="step", choices=RULES),
        Flag("--alpha", "weight of latency in the rule utility, 0..1", "A", float, 0.5, check=between(0, 1)),
        Flag("--max-accuracy-drop", "largest loss of accuracy, percentage points", "PT", float, 1.0, check=at_least(0)),
        Flag("--max-latency", "largest latency, milliseconds", "MS", float, absent="any", check=more_than_0()),
        Flag(
            "--min-gain",
            "least gain of a step, per cent of the latency of R = 0",
            "PCT",
            float,
            100 * MIN_GAIN,
            check=between(0, 100, with_high=False),
        ),
    ),
)

MAX_BUILDS = Flag("--max-builds", "most engines to build", "N", int, absent="any", check=at_least(1))
SEARCH = Group(
    "search",
    (
        Flag(
            "--search",
            "exhaustive: measure every candidate; adaptive: few of them",
            default="exhaustive",
            choices=("adaptive", "exhaustive"),
        ),
        MAX_BUILDS,
        Flag("--max-time", "longest search, minutes", "MIN", float, absent="any", check=more_than_0(" minutes")),
    ),
)
SCHEDULE = Group(
    "schedule",
    (Flag("--schedule", "in which blocks tokens are removed", default="even", choices=("even", "search")),),
    "even: the method's own, in one block (pomt) or evenly over all. search: schedules over many blocks as well. Some "
    "30 chains of blocks are timed once on this device, and the loss of accuracy is measured block by block. The best "
    "schedules by both are built, timed and judged with the others. One machine must be workstation and device. What "
    "the search finds can be profiled and selected on other devices like any candidate.",
)

STAGE = (CANDIDATES, ENGINE)
COMPILE = (WEIGHTS, METHOD, EXPERIMENT, *STAGE, CHOICE, SEARCH, SCHEDULE, ENERGY, KEEP_ENGINES)
COMPARE = (COMPARED_METHODS, AGAINST) + tuple(item for item in COMPILE if item not in (METHOD, SCHEDULE))
EXPORT = (WEIGHTS, METHOD, EXPERIMENT, CANDIDATES)

MODELS = (
    Flag(
        "pattern",
        "names of timm to list, as a shell matches them: '*dinov3*'",
        "PATTERN",
        nargs="?",
        absent="a count for each file of timm",
    ),
)

BENCH = (
    AGAINST,
    Flag("--image", "picture for end-to-end times", "FILE", absent="one of the golden images"),
    Flag(
        "--threads",
        "CPU threads to compare with",
        "LIST",
        absent="1,2; 1 where this process may use one",
        check=whole_numbers,
    ),
    Flag("--waiting", "idle threads to compare: default, passive", "LIST", default="default,passive", check=names),
    Flag("--max-seconds", "most seconds to time a setting", "S", float, 40.0, check=more_than_0(finite=True)),
)
EVALUATE = (
    Flag(
        "data",
        "images: class folders, a flat folder with a CSV, or unlabelled; " + EXIF + ", unless compiled with --exif",
        "DATA",
    ),
    CLASS_ORDER,
    SAMPLES,
    SEED._replace(help="seed of the random draw of images"),
    THREADS._replace(absent="as the engine was built"),
)
