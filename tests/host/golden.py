"""Models, inputs and results of the research code."""

import json
from pathlib import Path

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

FOLDER = Path(__file__).parent.parent / "data" / "golden"
WEIGHTS = "weights/"  # before the names of the model's own tensors


def read(name):
    """(description, arrays, timm model) of a case."""
    about = json.loads((FOLDER / f"{name}.json").read_text())
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    vit = VisionTransformer(**about["model"]).eval()
    vit.load_state_dict(
        {key.removeprefix(WEIGHTS): value.float() for key, value in arrays.items() if key.startswith(WEIGHTS)}
    )
    return about, arrays, vit
