"""The table of flags of `python -m pomt_trt.infer`; other commands share some. It imports little, for a quick start."""

import argparse

from pomt_trt.core.flags.flag import Flag, at_least


def _positive(text: str) -> int:
    """A whole number of at least 1. argparse shows the usage where it is not, since infer has no other check."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("'{}' is not a whole number of at least 1".format(text))
    return int(text)


WAITINGS = ("default", "passive")
BUNDLE = Flag("bundle", "folder that `pomt-trt bundle` or `pomt-trt compile` made", "BUNDLE")
JSON = Flag("--json", "print JSON instead of a table", type=bool, default=False)
THREADS = Flag("--threads", "CPU threads", "N", int, absent="as many as this process may use", check=at_least(1))
INPUTS = Flag("inputs", "image files; folders and what is below them; -: paths from stdin, one a line", "IMAGE|DIR|-")
INFER = (
    Flag("--top-k", "classes to name", "K", _positive, 5),
    Flag(
        "--out",
        "folder for label maps, a PNG of each image's size; of features, a .npy file (images, dimension)",
        "DIR|FILE",
    ),
    JSON._replace(help="one JSON object a line for each image"),
    THREADS._replace(type=_positive, absent="as the engine was built"),
    Flag("--waiting", "passive: idle threads sleep", default="default", choices=WAITINGS),
    Flag("--rebuild", "first build the engines on this device; give images before it", type=bool, default=False),
    Flag("--rebuild-refused", "the same, but only where the engine is refused (exit 8)", type=bool, default=False),
)
