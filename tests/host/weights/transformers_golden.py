"""What Hugging Face transformers writes and computes for small models, recorded in tests/data/transformers.

`python -m tests.host.weights.transformers_golden` records it anew, where transformers is installed. Weights are not
recorded: both sides draw them by name and shape.
"""

import json
import os
import zlib

import numpy as np
import torch

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "data", "transformers")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
MLP = {"intermediate_size": 64}
NAMES = {"id2label": {0: "cat", 1: "dog", 2: "emu"}}
CASES = {  # name -> class of the model, class of its configuration, arguments
    "vit": ("ViTForImageClassification", "ViTConfig", {**MLP, **NAMES, "hidden_act": "gelu_pytorch_tanh"}),
    "vit-backbone": ("ViTModel", "ViTConfig", {**MLP, "num_channels": 1, "qkv_bias": False}),
    "deit": ("DeiTForImageClassification", "DeiTConfig", {**MLP, **NAMES}),
    "deit-teacher": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", {**MLP, **NAMES}),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", {"mlp_ratio": 2, **NAMES}),
    "dinov2-swiglu": ("Dinov2Model", "Dinov2Config", {"mlp_ratio": 2, "use_swiglu_ffn": True}),
    "dinov2-registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegistersConfig",
        {"mlp_ratio": 2, "num_register_tokens": 3, **NAMES},
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {**MLP, "num_register_tokens": 2}),
    "dinov3-gated": (
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        {**MLP, "num_register_tokens": 2, "use_gated_mlp": True, "hidden_act": "silu"},
    ),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", MLP),
    "siglip-classes": ("SiglipForImageClassification", "SiglipConfig", {"vision": MLP, **NAMES}),
}


def weights(shapes):
    """Tensors of these names and shapes; spread out, so that attention is not flat."""
    state = {}
    for name, shape in shapes.items():
        drawn = np.random.RandomState(zlib.crc32(name.encode())).normal(size=shape)  # its stream is frozen (NEP 19)
        state[name] = torch.from_numpy((0.2 * drawn + (1 if name.endswith("lambda1") else 0)).astype(np.float32))
    return state


def pictures(channels):
    """Two normalised pictures."""
    return torch.from_numpy(np.random.RandomState(0).normal(size=(2, channels, 32, 32)).astype(np.float32))


def recorded(name):
    """The record of a case: config (of config.json), shapes (by name), output (2, classes or width)."""
    with open(os.path.join(FOLDER, name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def _record(name):
    import tempfile

    import transformers
    from safetensors.torch import load_file

    model_class, config_class, given = CASES[name]
    arguments = {**SIZES, **{key: value for key, value in given.items() if key != "vision"}}
    if "vision" in given:
        vision = {**SIZES, **given["vision"]}
        text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
        arguments = {"vision_config": vision, "text_config": {**text, "vocab_size": 8}, **NAMES}
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**arguments)).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        shapes = {key: list(value.shape) for key, value in load_file(os.path.join(folder, "model.safetensors")).items()}
        from safetensors.torch import save_file

        save_file(weights(shapes), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        model = getattr(transformers, model_class).from_pretrained(folder).eval()
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    with torch.no_grad():
        given = model(pictures(arguments.get("num_channels", 3)))
    output = given.logits if "For" in model_class else given.last_hidden_state[:, 0]
    output = given.pooler_output if name == "siglip" else output
    content = {"config": config, "shapes": shapes, "output": np.round(output.numpy().astype(float), 6).tolist()}
    with open(os.path.join(FOLDER, name + ".json"), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    for case in CASES:
        _record(case)
