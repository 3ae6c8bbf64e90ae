#!/usr/bin/env python3
"""Trains the bundled `digits` model and writes it in timm's local-dir format.

A plain timm VisionTransformer on 28x28 grey pictures: 14 x 14 patches and CLS, 197 tokens, as many as a ViT at 224 px.
Since samples are few (1347), it starts from a 2-D sin-cos position embedding and mimetic attention (Trockman and Kolter
2023, arXiv:2305.09828). A run keeps the weights of its last epoch. The held-out quarter is reported and chooses none.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout need not be installed

from scripts.examples import bundled, mimetic

EPILOG = """the shipped weights are three such runs, each going on from the one before:
  --out /tmp/first
  --start /tmp/first --epochs 16 --batch-size 32 --learning-rate 1e-3 --seed 1 --out /tmp/second
  --start /tmp/second --epochs 12 --batch-size 32 --learning-rate 7e-4 --seed 2 --threads 1"""

DIGITS = bundled.Task("digits", tuple(map(str, range(10))), "token", mimetic.initialise)

if __name__ == "__main__":
    bundled.run(DIGITS, bundled.parser(__doc__, EPILOG, DIGITS, epochs=40, learning_rate=2e-3).parse_args())
