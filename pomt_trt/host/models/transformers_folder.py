"""A folder that Hugging Face transformers wrote, as timm's model: config.json -> module without its weights.

Known are the vision towers of ViT, DeiT, DINOv2 (with registers), DINOv3 and SigLIP. No code of the folder is run.
Source: the configuration classes of transformers 5.24, 2026-11-29.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from timm.layers import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pomt_trt.core.errors import InputError
from pomt_trt.host.models.checkpoints import take_class_and_mean

Config = dict[str, Any]
ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "quick_gelu": "quick_gelu"}
INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
CLASSIFIES = "ForImageClassification"


def is_of_transformers(configuration: Config) -> bool:
    """Whether a config.json is one of transformers, and not of timm."""
    return "model_type" in configuration and "architecture" not in configuration


def made(configuration: Config, folder: Path) -> Any:
    """The timm model that a configuration describes, with random weights.

    Raises: InputError for a model that is not known, or a value of the configuration that timm's model cannot have.
    """
    config = {**configuration, **configuration.get("vision_config", {})}  # SigLIP's has that of its text beside it
    build = _BUILDERS.get(config["model_type"])
    if build is None:
        raise InputError(
            f"{folder} is a folder of transformers with model_type {config['model_type']}: known are "
            f"{', '.join(sorted(_BUILDERS))}. Convert it to timm's names, and give a timm model and --checkpoint FILE."
        )
    config["classes"] = _classes(config)
    try:
        module = build(config)
        look = _look(config, folder)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AssertionError) as error:
        raise InputError(
            f"{folder / 'config.json'} describes no {config['model_type']}: {type(error).__name__} {error}. Fetch it "
            "again from where the weights come from."
        ) from error
    architecture = str((config.get("architectures") or [config["model_type"]])[0])
    module.pretrained_cfg = {"architecture": architecture, "num_classes": config["classes"], **look}
    return module


def _classes(config: Config) -> int:
    """Outputs of the classifier; 0 for a backbone alone."""
    if not any(CLASSIFIES in name for name in config.get("architectures") or ()):
        return 0
    return len(config.get("id2label") or {0: "", 1: ""})  # transformers leaves two classes without names out


def _vit(config: Config) -> Any:
    return VisionTransformer(**_plain(config))


def _deit(config: Config) -> Any:
    if any("WithTeacher" in name for name in config.get("architectures") or ()):
        return VisionTransformerDistilled(**_plain(config))
    return VisionTransformer(**_plain(config), reg_tokens=1)  # the distillation token stays, and has no head


def _dinov2(config: Config) -> Any:
    arguments = _plain(config)
    if config.get("use_swiglu_ffn"):
        hidden = (int(config["hidden_size"] * config["mlp_ratio"]) * 2 // 3 + 7) // 8 * 8
        gated = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 2 * hidden / config["hidden_size"]}
        arguments.update(gated)
    registers = config.get("num_register_tokens", 0)
    arguments.update(init_values=1.0, num_classes=0, reg_tokens=registers, no_embed_class=registers > 0)
    module = VisionTransformer(**arguments)
    if config["classes"]:
        take_class_and_mean(module, config["classes"])
    return module


def _dinov3(config: Config) -> Any:
    biases = [config.get(f"{part}_bias", part != "key") for part in ("query", "key", "value")]
    if biases not in ([True, False, True], [False, False, False]):
        raise ValueError(f"query_bias, key_bias, value_bias = {biases}")
    arguments = _plain(config)
    for name in ("class_token", "act_layer"):
        arguments.pop(name)
    gated = {"swiglu_mlp": True, "swiglu_align_to": 8} if config.get("use_gated_mlp") else {}
    return Eva(
        **{**arguments, "qkv_bias": biases[0], "global_pool": "token", **gated},
        init_values=float(config["layerscale_value"]),
        num_reg_tokens=config["num_register_tokens"],
        rope_type="dinov3",
        rope_temperature=config["rope_theta"],
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        use_fc_norm=False,
    )


def _siglip(config: Config) -> Any:
    pooling = {"global_pool": "avg", "fc_norm": False} if config["classes"] else {"global_pool": "map"}
    return VisionTransformer(**{**_plain(config), **pooling, "class_token": False})


_BUILDERS: dict[str, Callable[[Config], Any]] = {
    "vit": _vit,
    "deit": _deit,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
    "dinov3_vit": _dinov3,
    "siglip_vision_model": _siglip,
}


def _plain(config: Config) -> Config:
    """The arguments that timm's classes share."""
    width, activation = config["hidden_size"], config["hidden_act"]
    if activation not in ACTIVATIONS and not (config.get("use_swiglu_ffn") or config.get("use_gated_mlp")):
        raise ValueError(f"hidden_act = {activation}")
    return {
        "img_size": config["image_size"],
        "patch_size": config["patch_size"],
        "in_chans": config.get("num_channels", 3),
        "num_classes": config["classes"],
        "embed_dim": width,
        "depth": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "mlp_ratio": config["intermediate_size"] / width if "intermediate_size" in config else config["mlp_ratio"],
        "qkv_bias": config.get("qkv_bias", True),
        "norm_layer": partial(nn.LayerNorm, eps=config["layer_norm_eps"]),
        "act_layer": ACTIVATIONS.get(activation, "gelu"),
        "class_token": True,
    }


def _look(config: Config, folder: Path) -> Config:
    """timm's data configuration, from preprocessor_config.json; without one, transformers' defaults of ViT."""
    size = config["image_size"]
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    processor = _json(folder / "preprocessor_config.json")
    channels = config.get("num_channels", 3)
    resize, crop = processor.get("size", {}), processor.get("crop_size", {})
    short = resize if isinstance(resize, int) else resize.get("shortest_edge")
    look = {
        "input_size": (channels, height, width),
        "fixed_input_size": True,
        "mean": tuple(processor.get("image_mean") or (0.5,) * channels),
        "std": tuple(processor.get("image_std") or (0.5,) * channels),
        "interpolation": INTERPOLATIONS[processor.get("resample", 2)],
        "crop_mode": "center" if short else "squash",
        "crop_pct": 1.0,
    }
    if short and processor.get("do_center_crop", True):
        look["crop_pct"] = (crop if isinstance(crop, int) else crop.get("height", height)) / short
    names = config.get("id2label") or {}
    if config["classes"] and names:
        look["label_names"] = [names[number] for number in sorted(names, key=int)]
    return look


def _json(path: Path) -> Config:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
