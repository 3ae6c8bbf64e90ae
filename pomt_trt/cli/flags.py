"""Flag groups of the pomt-trt command, one function each, so that a flag means the same wherever it stands.

Any machine. Leaves out what the flags do: see pipeline/options and commands.
"""

import argparse

from pomt_trt.core.choice.comparison import METHODS
from pomt_trt.core.choice.rules import RULES
from pomt_trt.core.targets import ENGINES, PRECISIONS, TARGETS

PLUGIN = ["auto", "on", "off"]
WAITINGS = ["default", "passive"]
SEARCHES = ["adaptive", "exhaustive"]
SCHEDULES = ["even", "search"]
EXIF = "EXIF orientation is ignored, as timm ignores it"


def model(command: argparse.ArgumentParser) -> None:
    """Which model, and where its weights come from."""
    command.add_argument("model", metavar="MODEL", help="a timm name, local-dir:PATH, digits or scenes (bundled)")
    group = command.add_argument_group("model")
    weights(group)
    group.add_argument("--head", metavar="FILE", help="DINOv2's official linear head")


def weights(group: argparse._ActionsContainer) -> None:
    """Where a model's weights come from."""
    group.add_argument("--checkpoint", metavar="FILE", help="weights: .safetensors, or .pth without code in it")
    group.add_argument("--pretrained", action="store_true", help="timm's own weights, from its hub")
    group.add_argument("--img-size", type=int, metavar="PX", help="another square image size than the model's own")
    group.add_argument("--labels", metavar="FILE", help="names of the classes, one a line")


def method(command: argparse.ArgumentParser) -> None:
    """What removes tokens, and where."""
    group = command.add_argument_group("method")
    methods = "pomt, pomt-shift, topk, tome, ltmp, cropr, random or none (default: pomt)"
    group.add_argument("--method", default="pomt", metavar="M", help=methods)
    group.add_argument("--layer", type=int, metavar="L", help="block in which tokens are removed (default: pomt 3)")


def methods(command: argparse.ArgumentParser) -> None:
    """Which methods are compared, and with what else."""
    command.add_argument(
        "--methods", default=",".join(METHODS), metavar="LIST", help="methods (default: {})".format(",".join(METHODS))
    )
    command.add_argument("--against", default="eager", metavar="LIST", help="baselines, or none (default: eager)")


def experiment(command: argparse.ArgumentParser) -> None:
    """On which images, in which batch, for whom."""
    group = command.add_argument_group("what is compared")
    group.add_argument("--batch-size", type=int, default=1, metavar="B", help="images in one call (default: 1)")
    group.add_argument(
        "--data",
        metavar="DIR",
        help="class folders, images and a CSV, images/ and labels/, or images; " + EXIF,
    )
    class_order(group)
    group.add_argument("--samples", type=int, default=1000, metavar="N", help="images at most (default: 1000)")
    seed(group)
    group.add_argument(
        "--target", default="onnxruntime", metavar="T", help="who reads the graphs: " + ", ".join(TARGETS)
    )


def class_order(group: argparse._ActionsContainer) -> None:
    """How names of classes in the data become the model's classes."""
    group.add_argument(
        "--class-order",
        metavar="ORDER",
        help="of class names in the data: natural (c1 c2 c10, as timm), string (c1 c10 c2, as torchvision), or a FILE "
        "with a name a line in the model's order (default: by label names, wnids or class numbers, else natural)",
    )


def seed(group: argparse._ActionsContainer) -> None:
    """Of all that is drawn."""
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: 0)")


def precision(command: argparse.ArgumentParser) -> None:
    """What engines compute in."""
    command.add_argument(
        "--precision", choices=PRECISIONS, help="that engines compute in (default: fp32; for WORK, what it holds)"
    )


def plugin(command: argparse.ArgumentParser) -> None:
    """Whether TensorRT plugins remove tokens."""
    command.add_argument(
        "--plugin",
        default="auto",
        choices=PLUGIN,
        help="remove tokens by TensorRT plugins (default auto: export no; engines if such graphs and the library are "
        "there)",
    )


def tokens(command: argparse.ArgumentParser) -> None:
    """The grid of candidates."""
    command.add_argument(
        "--tokens",
        metavar="START:STOP:STEP",
        help="token counts to try, such as 196:96:4 (default: every count down to a quarter; R = 0 always)",
    )


def work(command: argparse.ArgumentParser) -> None:
    """The work folder, where it may have to be made."""
    command.add_argument("--work", required=True, metavar="DIR", help="folder for everything; a rerun goes on from it")


def work_folder(command: argparse.ArgumentParser) -> None:
    """The work folder of an experiment that exists."""
    command.add_argument("work", metavar="WORK", help="folder that export or compile made")


def engine(command: argparse.ArgumentParser) -> None:
    """How engines are built and timed."""
    group = command.add_argument_group("engine and timing")
    group.add_argument("--engine", default="auto", choices=["auto", *ENGINES], help="default: what is here")
    group.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: as many as this process may use)")
    group.add_argument(
        "--waiting", default="default", choices=["default", "passive"], help="passive: idle threads sleep"
    )
    group.add_argument(
        "--max-seconds", type=float, default=0.75, metavar="S", help="timing of one candidate (default: 0.75)"
    )
    group.add_argument(
        "--cuda-graph",
        default="on",
        choices=["on", "off"],
        help="TensorRT: launch a run as one, where it can (default: on)",
    )
    group.add_argument(
        "--plugin-library", metavar="FILE", help="libpomt_plugins.so (default: plugins/build, where make puts it)"
    )
    group.add_argument(
        "--pace", type=float, metavar="FPS", help="runs begin as a camera's images come (default: back to back)"
    )


def energy(command: argparse.ArgumentParser) -> None:
    """Whether energy is measured."""
    command.add_argument(
        "--energy",
        action="store_true",
        help="measure what a run costs on a board with power sensors, 8 s an engine (compile: the winner and R = 0)",
    )


def gpu(command: argparse.ArgumentParser) -> None:
    """For which GPUs engines are built that are not here."""
    command.add_argument(
        "--gpu",
        metavar="CC",
        help="tensorrt-rtx: build ahead of time, without a GPU, for portable (compute capability 8.0 and later) or one "
        "of 7.5, 8.6, 8.9, 12.0, 12.1 (default: for the GPU here, or portable where there is none)",
    )


def only(command: argparse.ArgumentParser) -> None:
    """Some candidates of the grid."""
    command.add_argument("--only", metavar="IDS", help="candidates such as r056,r098; R = 0 is always added")


def choice(command: argparse.ArgumentParser) -> None:
    """How the winner is chosen."""
    group = command.add_argument_group("choice")
    group.add_argument("--rule", default="step", choices=list(RULES), help="how the winner is chosen (default: step)")
    group.add_argument(
        "--alpha", type=float, default=0.5, metavar="A", help="utility's weight of latency (default: 0.5)"
    )
    group.add_argument("--max-accuracy-drop", type=float, default=1.0, metavar="PT", help="points (default: 1)")
    group.add_argument("--max-latency", type=float, metavar="MS", help="milliseconds (default: any)")
    group.add_argument(
        "--min-gain", type=float, default=5.0, metavar="PCT", help="least gain of a step (default: 5 %%)"
    )


def search(command: argparse.ArgumentParser) -> None:
    """How much is measured."""
    group = command.add_argument_group("search")
    group.add_argument("--search", default="exhaustive", choices=SEARCHES, help="all, or few (default: exhaustive)")
    max_builds(group)
    group.add_argument("--max-time", type=float, metavar="MIN", help="minutes of searching at most (default: any)")


def schedule(command: argparse.ArgumentParser) -> None:
    """Whether tokens may go in many blocks."""
    group = command.add_argument_group(
        "schedule",
        "even: the method's own, in one block (pomt) or evenly over all. search: besides, schedules over many blocks. "
        "Chains of blocks are timed once on this device (some 30 engines), the loss of cuts is measured block by "
        "block, and the best schedules that both promise are built, timed and judged with the others. Needs "
        "workstation and device in one; what it finds can be profiled and selected on other devices like any "
        "candidate.",
    )
    group.add_argument("--schedule", default="even", choices=SCHEDULES, help="where tokens go (default: even)")


def max_builds(command: argparse._ActionsContainer) -> None:
    """A budget of engines."""
    command.add_argument("--max-builds", type=int, metavar="N", help="engines at most (default: any)")


def curve(command: argparse.ArgumentParser) -> None:
    """A recorded curve."""
    command.add_argument("curve", metavar="CURVE.json", help="curve that report wrote, or of another board; .gz too")


def keep(command: argparse.ArgumentParser) -> None:
    """Whether losers keep their files."""
    command.add_argument("--keep-engines", action="store_true", help="keep the files of engines that no rule names")


def as_json(command: argparse.ArgumentParser) -> None:
    """JSON for machines."""
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def bundle(command: argparse.ArgumentParser) -> None:
    """A bundle."""
    command.add_argument("bundle", metavar="BUNDLE", help="folder that compile or bundle made")


def source(command: argparse.ArgumentParser) -> None:
    """A bundle or a work folder."""
    command.add_argument("source", metavar="BUNDLE|WORK", help="folder that compile, bundle or profile made")


def evaluate(command: argparse.ArgumentParser) -> None:
    """What an engine is evaluated on."""
    command.add_argument(
        "data", metavar="DATA", help="images: class folders, a flat folder with a CSV, or unlabelled; " + EXIF
    )
    class_order(command)
    command.add_argument("--samples", type=int, default=1000, metavar="N", help="images at most (default: 1000)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of their draw (default: 0)")
    command.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: as built)")


def bench(command: argparse.ArgumentParser) -> None:
    """What a bundle is compared with, and how."""
    command.add_argument("--against", default="eager", metavar="LIST", help="baselines, or none (default: eager)")
    command.add_argument("--image", metavar="FILE", help="picture for end-to-end times (default: one of the golden)")
    command.add_argument(
        "--threads", metavar="LIST", help="CPU threads to compare with (default: 1,2; 1 where this process may use one)"
    )
    command.add_argument("--waiting", default="default,passive", metavar="LIST", help="default, passive or both")
    command.add_argument("--max-seconds", type=float, default=40.0, metavar="S", help="for each setting (default: 40)")


def board(command: argparse.ArgumentParser) -> None:
    """The board that a kit is for."""
    boards = [name for name in TARGETS if name != "onnxruntime"]
    command.add_argument(
        "--target", required=True, choices=boards, metavar="T", help="the board's JetPack: " + ", ".join(boards)
    )


def kit(command: argparse.ArgumentParser) -> None:
    """Where a kit goes."""
    command.add_argument("--out", required=True, metavar="DIR", help="folder of the kit; a rerun goes on from it")


def archive(command: argparse.ArgumentParser) -> None:
    """What a board sent."""
    command.add_argument("archive", metavar="ARCHIVE", help="the .tar.gz that jetson/field_kit made")
