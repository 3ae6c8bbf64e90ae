#!/usr/bin/env python3
"""Trains the bundled `scenes` model, which labels the pixels of digits, and writes it in timm's local-dir format.

The digits model with a linear head on every patch in place of one on CLS. It starts from the weights of digits, and
learns by the cross-entropy of its logits, upsampled to pixels. A run keeps the weights of its last epoch. The held-out
quarter is reported and chooses none.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout need not be installed

from pomt_trt.core.storage.learned import ZOO
from pomt_trt.host.data import scenes
from scripts.examples import bundled

EPILOG = """the shipped weights:
  scripts/examples/train_scenes.py --batch-size 32 --threads 1"""


@torch.no_grad()
def initialise(model: torch.nn.Module) -> None:
    """The weights of digits, but for its head."""
    state = load_file(Path(ZOO, "digits", "model.safetensors"))
    model.load_state_dict({**state, "head.weight": model.head.weight, "head.bias": model.head.bias})


SCENES = bundled.Task("scenes", scenes.CLASSES, "", initialise)

if __name__ == "__main__":
    bundled.run(SCENES, bundled.parser(__doc__, EPILOG, SCENES, epochs=16, learning_rate=1e-3).parse_args())
