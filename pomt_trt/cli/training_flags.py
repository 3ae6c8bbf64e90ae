"""Flag groups of `pomt-trt train`, one function each; those that other subcommands have too are in flags.py.

Any machine. Leaves out what the flags do: see pipeline/tasks/train.
"""

import argparse

from pomt_trt.cli import flags


def train(command: argparse.ArgumentParser) -> None:
    """The learned methods, each with its own flags."""
    methods = command.add_subparsers(dest="method", metavar="METHOD")
    methods.required = True
    for name, add, text in (
        ("ltmp", ltmp, "learn thresholds for merging and pruning, on a frozen model"),
        ("cropr", cropr, "learn to score tokens, with auxiliary heads that are dropped afterwards"),
    ):
        added = methods.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for group in (trained_model, flags.work, training, add, flags.as_json):
            group(added)


def trained_model(command: argparse.ArgumentParser) -> None:
    """Which model is trained: as `model`, but for a head of its own file, which no trained folder could name."""
    command.add_argument("model", metavar="MODEL", help="a timm name, local-dir:PATH, digits or scenes (bundled)")
    flags.weights(command.add_argument_group("model"))


def training(command: argparse.ArgumentParser) -> None:
    """How any method is trained."""
    group = command.add_argument_group("training")
    group.add_argument(
        "--data",
        metavar="DIR",
        help="labelled images: class folders, a CSV, or images/ and labels/ (default: a bundled model's own); "
        + flags.EXIF,
    )
    flags.class_order(group)
    group.add_argument(
        "--validation", type=float, default=0.1, metavar="SHARE", help="of the images, to validate with (default: 0.1)"
    )
    group.add_argument(
        "--no-augment", action="store_true", help="images as they are evaluated: no random crop, mirroring or tint"
    )
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the images (default: ltmp 1, cropr 50)")
    group.add_argument("--batch", type=int, default=128, metavar="B", help="images a step and process (default: 128)")
    group.add_argument(
        "--mixed-precision",
        default="no",
        choices=["no", "fp16", "bf16"],
        help="what the model computes in (default: no)",
    )
    group.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read images (default: 0)")
    group.add_argument(
        "--threads", type=int, metavar="N", help="of the CPU, for each process that trains (default: torch's choice)"
    )
    flags.seed(group)


def ltmp(command: argparse.ArgumentParser) -> None:
    """What LTMP learns; defaults are those with which the paper's results were made."""
    group = command.add_argument_group("LTMP")
    group.add_argument(
        "--reduction-target", type=float, default=0.75, metavar="R", help="computation to be left, 0..1 (default: 0.75)"
    )
    group.add_argument(
        "--tau",
        type=float,
        default=0.5,
        metavar="T",
        help="width of the slope by which thresholds learn (default: 0.5)",
    )
    group.add_argument(
        "--merge-rate", type=float, default=5e-3, metavar="LR", help="learning rate of merge thresholds (default: 5e-3)"
    )
    group.add_argument(
        "--prune-rate", type=float, default=5e-6, metavar="LR", help="of prune thresholds (default: 5e-6)"
    )
    group.add_argument(
        "--first-merge", type=float, default=0.9, metavar="T", help="cosine above which merging begins (default: 0.9)"
    )
    group.add_argument(
        "--first-prune", type=float, default=0.0, metavar="T", help="attention share to prune at first (default: 0)"
    )
    group.add_argument(
        "--calibration-images", type=int, default=1000, metavar="N", help="that counts are taken on (default: 1000)"
    )


def cropr(command: argparse.ArgumentParser) -> None:
    """What Cropr learns."""
    group = command.add_argument_group("Cropr")
    group.add_argument("--removed", type=int, required=True, metavar="R", help="tokens cut off after each scored block")
    group.add_argument("--no-llf", action="store_true", help="no last layer fusion: what is cut off stays off")
    group.add_argument("--freeze-backbone", action="store_true", help="train the scorers alone, not the model")
    group.add_argument(
        "--learning-rate", type=float, default=1e-3, metavar="LR", help="highest, for 256 images a step (default: 1e-3)"
    )
    group.add_argument("--weight-decay", type=float, default=0.05, metavar="W", help="of matrices (default: 0.05)")
