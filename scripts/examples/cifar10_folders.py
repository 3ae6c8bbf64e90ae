#!/usr/bin/env python3
"""Writes the pictures of a CIFAR-10 file into a folder for each class, as `pomt-trt train` and `compile` read them.

usage: scripts/examples/cifar10_folders.py NPZ DIR

Data: an .npz file of JPEG bytes: `jpeg` (uint8, concatenated), `offsets` (n + 1), `labels`, `classes`. The bytes are
written as they are.
"""

import argparse
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path, help="such as cifar10_test.npz")
    parser.add_argument("dir", type=Path, help="folder to make")
    arguments = parser.parse_args()
    with np.load(arguments.npz) as data:
        jpeg, offsets = data["jpeg"], data["offsets"]
        names = [str(data["classes"][label]) for label in data["labels"]]
    for name in sorted(set(names)):
        (arguments.dir / name).mkdir(parents=True, exist_ok=True)
    for number, (name, start, end) in enumerate(zip(names, offsets[:-1], offsets[1:], strict=True)):
        (arguments.dir / name / f"{number:05d}.jpg").write_bytes(jpeg[start:end].tobytes())
    print(f"{len(names)} pictures of {len(set(names))} classes in {arguments.dir}")


if __name__ == "__main__":
    main()
